package proxy_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/state"
	"example.org/breakwater/registry"
)

// count sums the requests whose "METHOD path" begins so.
func count(requests map[string]int, prefix string) (n int) {
	for request, times := range requests {
		if strings.HasPrefix(request, prefix) {
			n += times
		}
	}
	return n
}

func manifests(repo string) string { return "/v2/" + repo + "/manifests/v1" }

// metric returns the value of a gauge on an edge's registry.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	trial.Until(t, func() error {
		if !ok() {
			return errors.New(what + " did not come true")
		}
		return nil
	})
}

// A Harbor that hangs delays a copy by a second at first; once its breaker is
// open by nothing, and it is used again when it is back.
func TestADeadSourceAddsNothingOnceItIsKnown(t *testing.T) {
	t.Parallel() // it waits most of the time
	r := newRegion(t)
	s := r.sites[0]
	img := image(t, 1000, 1)
	mustPush(t, s.harbor.URL(), "multi-dc-demo/app:v1", img, s.admin())
	h := s.as(t, reader, "multi-dc-demo/app")
	raw, _ := img.RawManifest()
	same(t, "before", s.do(t, http.MethodGet, manifests("multi-dc-demo/app"), h), raw)
	if err := s.harbor.SetFaults(lab.Fault{Name: "hang"}); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	same(t, "first", s.do(t, http.MethodGet, manifests("multi-dc-demo/app"), h), raw)
	if took := time.Since(begun); took < 900*time.Millisecond {
		t.Errorf("Harbor was not waited for: %v", took)
	}
	waitFor(t, "an answer without delay", func() bool {
		begun := time.Now()
		same(t, "later", s.do(t, http.MethodGet, manifests("multi-dc-demo/app"), h), raw)
		return time.Since(begun) < 900*time.Millisecond // a Harbor that is waited for delays it by a second
	})
	s.harbor.ClearFaults()
	waitFor(t, "Harbor's answer", func() bool {
		a := s.do(t, http.MethodGet, manifests("multi-dc-demo/app"), h)
		return strings.Contains(a.header.Get("Cache-Status"), "detail=harbor")
	})
}

// Whatever one repo's answers are, the others' are not affected.
func TestOneReposAnswersOpenNoBreaker(t *testing.T) {
	r := newRegion(t)
	s := r.sites[0]
	for i, repo := range []string{"multi-dc-demo/sick", "multi-dc-demo/well"} {
		mustPush(t, s.harbor.URL(), repo+":v1", image(t, 1000, byte(i)), s.admin())
	}
	for _, fault := range []string{"500", "502", "503", "504", "429", "html", "down"} {
		if err := s.harbor.SetFaults(lab.Fault{Name: fault, Path: "multi-dc-demo/sick/"}); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			s.do(t, http.MethodGet, manifests("multi-dc-demo/sick"), s.as(t, reader, "multi-dc-demo/sick"))
		}
		a := s.do(t, http.MethodGet, manifests("multi-dc-demo/well"), s.as(t, reader, "multi-dc-demo/well"))
		if a.status != http.StatusOK || !strings.Contains(a.header.Get("Cache-Status"), "detail=harbor") {
			t.Errorf("after %s: %d, %s", fault, a.status, a.header.Get("Cache-Status"))
		}
	}
}

// Harbor refuses what has become vulnerable: the copy is not a way around it, by
// tag or by digest, while Harbor is well.
func TestPolicyIsNotBypassed(t *testing.T) {
	r := newRegion(t)
	s := r.sites[0]
	img := image(t, 1000, 1)
	mustPush(t, s.harbor.URL(), "multi-dc-demo/app:v1", img, s.admin())
	mustPush(t, r.sites[1].harbor.URL(), "multi-dc-demo/app:v1", img, r.sites[1].admin()) // a peer would serve it
	d, _ := img.Digest()
	h := s.as(t, reader, "multi-dc-demo/app")
	paths := []string{manifests("multi-dc-demo/app"), "/v2/multi-dc-demo/app/manifests/" + d.String()}
	for _, path := range paths {
		if a := s.do(t, http.MethodGet, path, h); a.status != http.StatusOK {
			t.Fatalf("%d", a.status)
		}
	}
	if err := s.harbor.SetFaults(lab.Fault{Name: "412", Path: "/manifests/"}); err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			if a := s.do(t, method, path, h); a.status != http.StatusPreconditionFailed {
				t.Errorf("%s %s: %d", method, path, a.status)
			}
		}
	}
}

// A name that Docker Hub does not have is answered there by 401 after a good
// token: 404 with the sentence here, and it is not asked again and again.
func TestATypo(t *testing.T) {
	r := newRegion(t, freshFor(time.Minute))
	s := r.sites[0]
	if err := r.hub.SetFaults(lab.Fault{Name: "401", Path: content}); err != nil {
		t.Fatal(err)
	}
	h := s.anonymous(t, "cache-dockerhub/library/ngnix")
	r.hub.ResetRequests()
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			a := s.do(t, http.MethodGet, manifests("cache-dockerhub/library/ngnix"), h)
			if a.status != http.StatusNotFound || !strings.Contains(string(a.body), "is not there, or needs credentials") {
				t.Errorf("%d %s", a.status, a.body)
			}
		})
	}
	all.Wait()
	// Each datacenter's Harbor by HEAD, and the edge itself.
	if n := count(r.hub.Requests(), "GET "+manifests("library/ngnix")); n > 1 {
		t.Errorf("the upstream was asked %d times: %v", n, r.hub.Requests())
	}
}

// An upstream that refuses to say, asked because Harbor is down, takes nothing
// away from what is held: not at the first pull, nor while its word is remembered.
func TestACopyOutlivesARefusingUpstream(t *testing.T) {
	var passed atomic.Int64
	r := newRegion(t, freshFor(time.Minute), func(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
		p.Now = func() time.Time { return time.Now().Add(time.Duration(passed.Load())) }
	})
	s, repo := r.sites[0], "cache-dockerhub/library/held"
	mustPush(t, r.hub.URL(), "library/held:v1", image(t, 1000, 1), authn.Anonymous)
	h := s.anonymous(t, repo)
	first := s.do(t, http.MethodGet, manifests(repo), h)
	if err := r.hub.SetFaults(lab.Fault{Name: "401", Path: content}); err != nil {
		t.Fatal(err)
	}
	for _, other := range r.sites {
		if err := other.harbor.SetFaults(lab.Fault{Name: "500", Path: content}); err != nil {
			t.Fatal(err)
		}
	}
	passed.Store(int64(2 * time.Minute))
	for range 3 {
		same(t, "while nobody will say", s.do(t, http.MethodGet, manifests(repo), h), first.body)
	}
}

// An edge that starts while its Harbor and the upstream are dead serves what it had.
func TestARestartWhileEverythingIsDead(t *testing.T) {
	s := newSite(t)
	img := image(t, 100<<10, 3)
	mustPush(t, s.harbor.URL(), "multi-dc-demo/app:v1", img, s.admin())
	raw, _ := img.RawManifest()
	digest, layer := layerOf(t, img)
	path := t.TempDir() + "/state.db"
	var remembered *state.DB
	remembering := func(a *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
		var err error
		if remembered, err = state.Open(path, p.Log); err != nil {
			t.Fatal(err)
		}
		a.Members, p.State = remembered, remembered
	}
	dir := t.TempDir()
	h := s.as(t, reader, "multi-dc-demo/app")
	pull := func(what string) {
		t.Helper()
		same(t, what, s.do(t, http.MethodGet, manifests("multi-dc-demo/app"), h), raw)
		same(t, what, s.do(t, http.MethodGet, "/v2/multi-dc-demo/app/blobs/"+digest, h), layer)
	}
	t.Run("first life", func(t *testing.T) {
		s.edge = startEdge(t, s.harbor.URL(), dir, &s.harbor.Key().PublicKey, remembering)
		pull("before")
	})
	if err := remembered.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.harbor.SetFaults(lab.Fault{Name: "down"}); err != nil {
		t.Fatal(err)
	}
	s.edge = startEdge(t, s.harbor.URL(), dir, &s.harbor.Key().PublicKey, remembering)
	t.Cleanup(func() { remembered.Close() })
	pull("after")
	if a := s.do(t, http.MethodGet, "/v2/multi-dc-demo/app/blobs/"+digest, nil); a.status != http.StatusUnauthorized {
		t.Errorf("without a login: %d", a.status)
	}
}

// However many clients ask for a tag at once, Harbor is asked once for each window.
func TestOneQuestionForATagInAWindow(t *testing.T) {
	var now atomic.Int64
	r := newRegion(t, freshFor(time.Minute), func(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
		p.Now = func() time.Time { return time.Now().Add(time.Duration(now.Load())) }
	})
	s := r.sites[0]
	mustPush(t, s.harbor.URL(), "multi-dc-demo/app:v1", image(t, 1000, 1), s.admin())
	h := s.as(t, reader, "multi-dc-demo/app")
	for window := range 3 {
		s.harbor.ResetRequests()
		var all sync.WaitGroup
		for range 200 {
			all.Go(func() {
				if a := s.do(t, http.MethodGet, manifests("multi-dc-demo/app"), h); a.status != http.StatusOK {
					t.Errorf("%d", a.status)
				}
			})
		}
		all.Wait()
		if n := count(s.harbor.Requests(), "HEAD "+manifests("multi-dc-demo/app")) + count(s.harbor.Requests(), "GET "+manifests("multi-dc-demo/app")); n != 1 {
			t.Errorf("window %d: Harbor was asked %d times", window, n)
		}
		now.Add(int64(2 * time.Minute))
	}
}

// The first pull after a push's 201 shows what was pushed, each time, while
// others pull the same tag without a pause.
func TestAPushIsSeenByTheNextPull(t *testing.T) {
	t.Parallel() // it waits most of the time
	rounds := 1000
	if testing.Short() {
		rounds = 200
	}
	r := newRegion(t)
	s := r.sites[0]
	mustPush(t, s.harbor.URL(), "multi-dc-demo/app:v1", image(t, 1000, 1), s.admin())
	read, write := s.as(t, reader, "multi-dc-demo/app"), s.as(t, writer, "multi-dc-demo/app")
	stop := make(chan struct{})
	var load sync.WaitGroup
	defer load.Wait()
	defer close(stop)
	for range 4 {
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					s.do(t, http.MethodGet, manifests("multi-dc-demo/app"), read)
				}
			}
		})
	}
	// Manifests without blobs: an index of nothing, another each time.
	for i := range rounds {
		body := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[],"annotations":{"round":"%d"}}`, i)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, s.edge.URL+manifests("multi-dc-demo/app"), strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", write["Authorization"])
		req.Header.Set("Content-Type", "application/vnd.oci.image.index.v1+json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusCreated {
			t.Fatalf("push %d: %s", i, resp.Status)
		}
		if a := s.do(t, http.MethodGet, manifests("multi-dc-demo/app"), read); string(a.body) != body {
			t.Fatalf("pull %d: %d %s", i, a.status, a.body)
		}
	}
}

// An upstream with a limit, and a thousand nodes that pull fifty images each:
// nobody fails, and the upstream is asked for little more than the images.
func TestARateLimitedUpstream(t *testing.T) {
	const images, budget = 50, 100
	nodes := 1000
	if testing.Short() {
		nodes = 20
	}
	r := newRegion(t, freshFor(time.Minute))
	target, err := url.Parse(r.hub.URL())
	if err != nil {
		t.Fatal(err)
	}
	var left atomic.Int64
	left.Store(budget)
	pass := httputil.NewSingleHostReverseProxy(target)
	limited := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodGet && strings.Contains(req.URL.Path, "/manifests/") && left.Add(-1) < 0 {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusTooManyRequests)
			fmt.Fprint(w, `{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}`)
			return
		}
		pass.ServeHTTP(w, req)
	}))
	defer limited.Close()
	s := r.sites[0]
	if err := s.harbor.CreateCache("cache-limited", "docker-registry", limited.URL, true); err != nil {
		t.Fatal(err)
	}
	for i := range images {
		mustPush(t, r.hub.URL(), fmt.Sprintf("library/app%d:v1", i), image(t, 100, byte(i)), authn.Anonymous)
	}
	var failed atomic.Int64
	var all sync.WaitGroup
	next := make(chan int)
	for range 32 {
		all.Go(func() {
			for node := range next {
				for i := range images {
					repo := fmt.Sprintf("cache-limited/library/app%d", (node+i)%images)
					if a := s.do(t, http.MethodGet, manifests(repo), s.header(t, repo)); a.status != http.StatusOK {
						failed.Add(1)
					}
				}
			}
		})
	}
	for node := range nodes {
		next <- node
	}
	close(next)
	all.Wait()
	if failed.Load() > 0 {
		t.Errorf("%d pulls failed", failed.Load())
	}
	t.Logf("%d nodes pulled %d images with %d of %d pulls from the upstream", nodes, images, budget-left.Load(), budget)
	if left.Load() < 0 {
		t.Error("the limit was reached")
	}
}

// header is an anonymous token's, got once for each repo.
func (s *site) header(t *testing.T, repo string) map[string]string {
	if h, ok := s.tokens.Load(repo); ok {
		return h.(map[string]string)
	}
	h := s.anonymous(t, repo)
	s.tokens.Store(repo, h)
	return h
}
