package source_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/registry"
)

// far is a registry that a test plays, without a network.
type far struct {
	mu     sync.Mutex
	status int // 0: it does not answer
	header http.Header
	after  time.Duration // until it answers
	asked  []string      // paths
	seen   http.Header   // of the last request
	since  time.Time     // when it began to answer so
}

// RoundTrip implements http.RoundTripper.
func (f *far) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	after := f.after
	f.mu.Unlock()
	select {
	case <-time.After(after):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked, f.seen = append(f.asked, r.URL.Path), r.Header
	if f.status == 0 {
		return nil, errors.New("connection refused")
	}
	header := f.header.Clone()
	if header == nil {
		header = http.Header{}
	}
	return &http.Response{StatusCode: f.status, Header: header, Body: io.NopCloser(strings.NewReader("")), Request: r}, nil
}

func (f *far) answers(status int, header http.Header) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status, f.header, f.since = status, header, time.Now()
}

// hangs has nothing answered any more.
func (f *far) hangs() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.after = time.Hour
}

func (f *far) probes() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, path := range f.asked {
		if path == "/v2/" {
			n++
		}
	}
	return n
}

// requests are those that are no probes, nor ask how to log in.
func (f *far) requests() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(slices.DeleteFunc(slices.Clone(f.asked), func(path string) bool { return path == "/v2/" }))
}

func newSource(t *testing.T, ctx context.Context, name string, kind source.Kind) (*source.Source, *far) {
	t.Helper()
	f := &far{status: http.StatusOK}
	r, err := registry.NewSource(registry.SourceConfig{URL: "http://" + name, Wrap: func(http.RoundTripper) http.RoundTripper { return f }})
	if err != nil {
		t.Fatal(err)
	}
	return source.New(ctx, source.Config{Name: name, Datacenter: strings.TrimPrefix(name, "peer-"), Kind: kind, Registry: r}), f
}

// fleet is the sources of a test.
type fleet struct {
	harbor, mad1, drp1, hub             *source.Source
	harborFar, mad1Far, drp1Far, hubFar *far
	routes                              *source.Routes
}

func newFleet(t *testing.T, ctx context.Context) *fleet {
	f := &fleet{}
	f.harbor, f.harborFar = newSource(t, ctx, "harbor", source.Harbor)
	f.mad1, f.mad1Far = newSource(t, ctx, "peer-mad1", source.Peer)
	f.drp1, f.drp1Far = newSource(t, ctx, "peer-drp1", source.Peer)
	f.hub, f.hubFar = newSource(t, ctx, "upstream-dockerhub", source.Upstream)
	table := namespace.NewTable([]namespace.Namespace{
		{Project: "cache-dockerhub", Kind: namespace.Cache, DockerHub: true},
		{Project: "multi-dc-some", Kind: namespace.MultiDC, Homes: []string{"drp1"}},
		{Project: "repl-core", Kind: namespace.Repl, Rules: []namespace.Rule{{From: "cache-dockerhub", Name: "library/*", Tags: "v*", Flatten: -1}}},
	})
	f.routes = source.NewRoutes(f.harbor, []*source.Source{f.mad1, f.drp1}, map[string]*source.Source{"cache-dockerhub": f.hub}, table)
	return f
}

func (f *fleet) route(repo, tag string) []source.Step {
	project, _, _ := strings.Cut(repo, "/")
	return f.routes.Of(f.routes.Namespaces.Of(project), repo, tag)
}

func names(route []source.Step) string {
	var all []string
	for _, s := range route {
		all = append(all, s.Name+":"+s.Repo)
	}
	return strings.Join(all, " ")
}

// down opens the circuit breaker of a source.
func down(t *testing.T, s *source.Source, f *far) {
	t.Helper()
	f.answers(0, nil)
	s.Suspect()
	synctest.Wait()
	if s.Usable() {
		t.Fatalf("%s is down, and usable", s.Name)
	}
}

func inBubble(t *testing.T, test func(t *testing.T, f *fleet)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		test(t, newFleet(t, ctx))
	})
}

func TestWhereARepoIsReadFrom(t *testing.T) {
	f := newFleet(t, t.Context())
	for _, c := range []struct{ repo, tag, want string }{
		{"cache-dockerhub/library/app", "v1", "harbor:R peer-mad1:R peer-drp1:R upstream-dockerhub:library/app"},
		{"cache-unknown/app", "v1", "harbor:R peer-mad1:R peer-drp1:R"},
		{"multi-dc-x/app", "v1", "harbor:R peer-mad1:R peer-drp1:R"},
		{"multi-dc-some/app", "v1", "harbor:R peer-drp1:R peer-mad1:R"},
		{"repl-core/app", "v1", "harbor:R peer-mad1:R peer-drp1:R harbor:cache-dockerhub/library/app upstream-dockerhub:library/app"},
		{"repl-core/app", "", "harbor:R peer-mad1:R peer-drp1:R harbor:cache-dockerhub/library/app upstream-dockerhub:library/app"},
		{"repl-core/app", "latest", "harbor:R peer-mad1:R peer-drp1:R"},
	} {
		if got, want := names(f.route(c.repo, c.tag)), strings.ReplaceAll(c.want, "R", c.repo); got != want {
			t.Errorf("%s:%s: %s, want %s", c.repo, c.tag, got, want)
		}
	}
	if got := names(f.routes.Own(namespace.Namespace{}, "multi-dc-x/app")); got != "harbor:multi-dc-x/app" {
		t.Errorf("a peer's request goes to %s", got)
	}
	if got := names(source.Homes(f.route("multi-dc-some/app", "v1"))); got != "harbor:multi-dc-some/app peer-drp1:multi-dc-some/app" {
		t.Errorf("of its homes: %s", got)
	}
	if got := names(source.Homes(f.route("multi-dc-x/app", "v1"))); got != "harbor:multi-dc-x/app peer-mad1:multi-dc-x/app peer-drp1:multi-dc-x/app" {
		t.Errorf("where all are: %s", got)
	}
}

func TestBlobsAreAskedForWhereTheirManifestWas(t *testing.T) {
	f := newFleet(t, t.Context())
	const repo = "repl-core/app"
	route := f.route(repo, "v1")
	before := names(route)
	if got := names(f.routes.ForBlobs(repo, route)); got != before {
		t.Errorf("of a new repo: %s", got)
	}
	f.routes.Gave(repo, f.drp1)
	want := "harbor:repl-core/app peer-drp1:repl-core/app peer-mad1:repl-core/app harbor:cache-dockerhub/library/app upstream-dockerhub:library/app"
	if got := names(f.routes.ForBlobs(repo, route)); got != want {
		t.Errorf("behind drp1: %s", got)
	}
	if names(route) != before {
		t.Error("the route itself was sorted")
	}
	if got := names(f.routes.ForBlobs("repl-core/other", route)); got != before {
		t.Errorf("of another repo: %s", got)
	}
	f.routes.Gave(repo, f.harbor)
	if got := names(f.routes.ForBlobs(repo, route)); got != before {
		t.Errorf("behind Harbor: %s", got)
	}
}

// One request's failure opens nothing; the probe's does, and probes close it again,
// at longer and longer times.
func TestTheCircuitBreakerIsOpenedByAProbe(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fleet) {
		f.harbor.Suspect()
		synctest.Wait()
		if !f.harbor.Usable() || f.harborFar.probes() != 1 {
			t.Errorf("a probe that was answered: usable %v, %d probes", f.harbor.Usable(), f.harborFar.probes())
		}
		f.harbor.Suspect() // not again at once
		synctest.Wait()
		if f.harborFar.probes() != 1 {
			t.Error("every failure is probed")
		}
		time.Sleep(time.Second)
		down(t, f.harbor, f.harborFar)
		f.harborFar.answers(http.StatusInternalServerError, nil)
		time.Sleep(1500 * time.Millisecond) // the second probe
		if f.harbor.Usable() {
			t.Error("a 500 closes it")
		}
		f.harborFar.answers(http.StatusUnauthorized, nil) // it answers
		time.Sleep(2 * time.Second)
		if !f.harbor.Usable() {
			t.Error("it is not closed")
		}
		probes := f.harborFar.probes()
		time.Sleep(time.Minute)
		if f.harborFar.probes() != probes {
			t.Error("a source that is up is probed")
		}
	})
}

func TestASourceThatIsDownIsWaitedForByNobodyElse(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fleet) {
		route := f.route("cache-dockerhub/library/app", "v1")
		down(t, f.harbor, f.harborFar)
		if !route[0].Skipped(route) || route[1].Skipped(route) {
			t.Error("the source that is down is waited for, or one that is up is not")
		}
		f.hub.Note(registry.KindManifest, &http.Response{StatusCode: 429})
		if route[3].Skipped(route) {
			t.Error("an upstream that asked for a pause says so at once")
		}
		if own := route[:1]; own[0].Skipped(own) || source.AnyUsable(own) {
			t.Error("the only source of a route is left out")
		}
	})
}

func TestProbesOfADeadSourceComeAtLongerAndLongerTimes(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fleet) {
		down(t, f.harbor, f.harborFar)
		for _, c := range []struct {
			after  time.Duration
			probes int
		}{{900 * time.Millisecond, 1}, {1100 * time.Millisecond, 2}, {3100 * time.Millisecond, 3}, {7100 * time.Millisecond, 4}, {15100 * time.Millisecond, 5}, {30200 * time.Millisecond, 6}, {45300 * time.Millisecond, 7}} {
			time.Sleep(c.after - time.Since(f.harborFar.since))
			if n := f.harborFar.probes(); n != c.probes {
				t.Errorf("after %v there were %d probes, want %d", c.after, n, c.probes)
			}
		}
	})
}

func ask(t *testing.T, s *source.Source) (*http.Response, error) {
	t.Helper()
	resp, err := s.Do(t.Context(), registry.Request{Method: http.MethodGet, Kind: registry.KindBlob, Repo: "multi-dc-x/app", Digest: "sha256:0000000000000000000000000000000000000000000000000000000000000000"}, s.Header("Basic client"), time.Minute)
	if err == nil {
		resp.Body.Close()
	}
	return resp, err
}

// What an answer says of the source as a whole is noted; a page is no answer.
func TestAnswersTellHowASourceIs(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fleet) {
		for _, s := range []*source.Source{f.hub, f.harbor, f.mad1} { // they are known before
			if _, err := ask(t, s); err != nil {
				t.Fatal(err)
			}
		}
		f.hubFar.answers(http.StatusTooManyRequests, nil)
		if resp, err := ask(t, f.hub); err != nil || resp.StatusCode != http.StatusTooManyRequests {
			t.Errorf("%v", err)
		}
		before := f.hubFar.requests()
		if _, err := ask(t, f.hub); !errors.Is(err, &registry.Error{Code: registry.CodeTooManyRequests}) || f.hubFar.requests() != before {
			t.Errorf("an upstream that has had enough is asked again: %v", err)
		}
		f.harborFar.answers(http.StatusBadGateway, nil)
		if _, err := ask(t, f.harbor); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if f.harbor.Usable() {
			t.Error("a 502 is not looked into")
		}
		f.mad1Far.answers(http.StatusOK, http.Header{"Content-Type": {"text/html; charset=utf-8"}})
		if _, err := f.mad1.Do(t.Context(), registry.Request{Method: http.MethodHead, Kind: registry.KindManifest, Repo: "multi-dc-x/app", Tag: "v1"}, http.Header{}, 0); err == nil || !outcome.IsDontKnow(err) {
			t.Errorf("a page is %v", err)
		}
	})
}

// Where the edge has no robot at Harbor, the client's own credentials go there, and nowhere else.
func TestCredentialsAreRelayedToHarborAlone(t *testing.T) {
	f := newFleet(t, t.Context())
	f.harbor.Relay = true
	for _, c := range []struct {
		s    *source.Source
		far  *far
		want string
	}{{f.harbor, f.harborFar, "Basic client"}, {f.mad1, f.mad1Far, ""}, {f.hub, f.hubFar, ""}} {
		if _, err := ask(t, c.s); err != nil {
			t.Fatal(err)
		}
		if got := c.far.seen.Get("Authorization"); got != c.want {
			t.Errorf("%s is shown %q", c.s.Name, got)
		}
	}
}

// 95 of 100 answers tell what a source usually takes: one that is slow now and then is not slow.
func TestHedgesWaitAsLongAsASourceUsuallyTakes(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fleet) {
		for i := range 100 {
			f.harborFar.mu.Lock()
			f.harborFar.after = 300 * time.Millisecond
			if i >= 98 {
				f.harborFar.after = 4 * time.Second
			}
			f.harborFar.mu.Unlock()
			if _, err := ask(t, f.harbor); err != nil {
				t.Fatal(err)
			}
		}
		f.harborFar.after = 0
		if usual := f.harbor.Usual(); usual != 300*time.Millisecond {
			t.Errorf("it usually takes %v", usual)
		}
		for _, repo := range []string{replicated, "repl-core/app"} {
			s := &script{replies: map[string]reply{"harbor": {found: "own", after: never}, "peer-mad1": {found: "mad1", after: moment}, "peer-drp1": {err: status(404)}}}
			begun := time.Now()
			if found, err := source.Ask(t.Context(), question(f, repo, "", false), s.ask); found != "mad1" || time.Since(begun) != 600*time.Millisecond+moment {
				t.Errorf("%s: %q, %v after %v", repo, found, err, time.Since(begun))
			}
		}
	})
}
