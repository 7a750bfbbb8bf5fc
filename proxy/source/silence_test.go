package source_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"example.org/breakwater/proxy/source"
	"example.org/breakwater/registry"
)

// waitInVain asks for a manifest, which does not come.
func waitInVain(t *testing.T, s *source.Source, f *far, repo string) {
	t.Helper()
	doOnce(t, s, repo)
	f.mu.Lock()
	f.after = time.Minute
	f.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	if _, err := s.Do(ctx, manifestOf(repo), http.Header{}, 0); err == nil {
		t.Errorf("%s answers", s.Name)
	}
	f.mu.Lock()
	f.after = 0
	f.mu.Unlock()
	time.Sleep(time.Second) // the probe that it gets is over
}

func manifestOf(repo string) registry.Request {
	return registry.Request{Method: http.MethodGet, Kind: registry.KindManifest, Repo: repo, Tag: "v1"}
}

// A source that hangs is known to, about that: not about other projects, or with other
// questions. It is no longer when it has answered one, or after half a minute.
func TestWhatASourceIsSilentAbout(t *testing.T) {
	const repo, near, other = "cache-dockerhub/library/app", "cache-dockerhub/library/near", "multi-dc-x/app"
	hangs := func(s *source.Source, repo string, kind registry.Kind) bool {
		return source.Hangs([]source.Step{{Source: s, Repo: repo}}, kind)
	}
	for name, c := range map[string]struct {
		then  func(t *testing.T, f *fleet)
		repo  bool // it hangs there
		near  bool // and in another repo of the project
		short bool // the wait for an answer
	}{
		"nothing since": {func(*testing.T, *fleet) {}, true, true, true},
		"the repo was answered for": {func(t *testing.T, f *fleet) {
			f.harborFar.answers(http.StatusNotFound, nil)
			doOnce(t, f.harbor, repo)
		}, false, false, false},
		"another repo was": {func(t *testing.T, f *fleet) { doOnce(t, f.harbor, near) }, true, false, true},
		"an error": {func(t *testing.T, f *fleet) {
			f.harborFar.answers(http.StatusBadGateway, nil)
			doOnce(t, f.harbor, repo)
		}, true, true, true},
		"a limiter": {func(t *testing.T, f *fleet) {
			f.harborFar.answers(http.StatusTooManyRequests, nil)
			doOnce(t, f.harbor, repo)
		}, false, false, false},
		"half a minute":            {func(*testing.T, *fleet) { time.Sleep(30 * time.Second) }, false, false, false},
		"it is reached otherwise":  {func(t *testing.T, f *fleet) { f.harbor.Use(otherAddress(t)) }, false, false, false},
		"who asked has gone again": {func(t *testing.T, f *fleet) { time.Sleep(30 * time.Second); goAway(t, f.harbor, f.harborFar, repo) }, false, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fleet) {
				waitInVain(t, f.harbor, f.harborFar, repo)
				c.then(t, f)
				if got := hangs(f.harbor, repo, registry.KindManifest); got != c.repo {
					t.Errorf("it hangs: %v", got)
				}
				if got := hangs(f.harbor, near, registry.KindManifest); got != c.near {
					t.Errorf("in the project: %v", got)
				}
				if hangs(f.harbor, other, registry.KindManifest) || hangs(f.harbor, repo, registry.KindTags) || hangs(f.mad1, repo, registry.KindManifest) {
					t.Error("it hangs elsewhere, or with others")
				}
				if name == "it is reached otherwise" {
					return
				}
				f.harborFar.mu.Lock()
				f.harborFar.after = time.Minute
				f.harborFar.mu.Unlock()
				want, begun := deadline, time.Now()
				if c.short {
					want = deadline / 5
				}
				if _, err := f.harbor.Do(t.Context(), manifestOf(repo), http.Header{}, deadline); err == nil || time.Since(begun) != want {
					t.Errorf("after %v: %v", time.Since(begun), err)
				}
			})
		})
	}
}

func doOnce(t *testing.T, s *source.Source, repo string) {
	t.Helper()
	resp, err := s.Do(t.Context(), manifestOf(repo), http.Header{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

// goAway is a client that does not wait.
func goAway(t *testing.T, s *source.Source, f *far, repo string) {
	f.mu.Lock()
	f.after = time.Second
	f.mu.Unlock()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(time.Millisecond, cancel)
	if _, err := s.Do(ctx, manifestOf(repo), http.Header{}, 0); err == nil {
		t.Error("it is answered")
	}
	time.Sleep(time.Second)
}

func otherAddress(t *testing.T) *registry.Source {
	t.Helper()
	r, err := registry.NewSource(registry.SourceConfig{URL: "http://elsewhere.invalid"})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A route hangs where everybody of it is silent or down, and one was waited for in vain; then
// nobody is given long before the next is asked.
func TestARouteThatHangs(t *testing.T) {
	const repo = "cache-dockerhub/library/app"
	inBubble(t, func(t *testing.T, f *fleet) {
		route := f.route(repo, "v1")
		hangs := func() bool { return source.Hangs(route, registry.KindManifest) }
		doOnce(t, f.harbor, repo)
		f.harborFar.answers(http.StatusInternalServerError, nil)
		doOnce(t, f.harbor, repo)
		for _, s := range []*source.Source{f.mad1, f.drp1, f.hub} {
			down(t, s, map[string]*far{"peer-mad1": f.mad1Far, "peer-drp1": f.drp1Far, "upstream-dockerhub": f.hubFar}[s.Name])
		}
		if hangs() {
			t.Error("errors and who is down are no hang")
		}
		f.harborFar.answers(http.StatusOK, nil)
		waitInVain(t, f.harbor, f.harborFar, repo)
		if !hangs() {
			t.Error("it does not hang")
		}
		s := &script{replies: map[string]reply{"harbor": {after: never}, "peer-mad1": {after: never}, "peer-drp1": {after: never}, "upstream-dockerhub": {found: "own"}}}
		begun := time.Now()
		if found, err := source.Ask(t.Context(), question(f, repo, "v1", false), s.ask); found != "own" || time.Since(begun) > 3*deadline {
			t.Errorf("%q, %v after %v", found, err, time.Since(begun))
		}
		f.hubFar.answers(http.StatusOK, nil)
		time.Sleep(10 * time.Second)
		if !f.hub.Usable() || hangs() {
			t.Error("who is back is not asked")
		}
	})
}
