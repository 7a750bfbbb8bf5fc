package proxy_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/state"
	"example.org/breakwater/registry"
)

// digestOf is an image's manifest's.
func digestOf(t *testing.T, img v1.Image) string {
	t.Helper()
	d, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d.String()
}

// What a peer only remembers is no reason to give up what is held here: it may be older.
func TestAPeersMemoryDoesNotReplaceACopy(t *testing.T) {
	r := newRegion(t)
	s, mad1 := r.sites[0], r.sites[1]
	older, newer := image(t, 1000, 1), image(t, 1000, 2)
	path, h := manifests("multi-dc-demo/app"), s.as(t, reader, "multi-dc-demo/app")
	for _, site := range []*site{s, mad1} {
		mustPush(t, site.harbor.URL(), "multi-dc-demo/app:v1", older, site.admin())
		if a := site.do(t, http.MethodGet, path, h); a.status != http.StatusOK {
			t.Fatal(a.status)
		}
	}
	mustPush(t, s.harbor.URL(), "multi-dc-demo/app:v1", newer, s.admin())
	raw, _ := newer.RawManifest()
	same(t, "before", s.do(t, http.MethodGet, path, h), raw)
	for _, site := range r.sites {
		if err := site.harbor.SetFaults(lab.Fault{Name: "down"}); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		same(t, "nobody can say", s.do(t, http.MethodGet, path, h), raw)
	}
}

// A peer's Harbor that has no such project says nothing of the upstream.
func TestAProjectThatAPeerLacksIsNoNoOfTheUpstream(t *testing.T) {
	r := newRegion(t)
	s := r.sites[0]
	img := image(t, 1000, 1)
	mustPush(t, r.hub.URL(), "library/app:v1", img, authn.Anonymous)
	h := s.anonymous(t, "cache-dockerhub/library/app")
	for _, peer := range r.sites[1:] {
		r.request(t, http.MethodDelete, peer.harbor.URL()+"/api/v2.0/projects/cache-dockerhub", peer, http.StatusOK)
	}
	if err := s.harbor.SetFaults(lab.Fault{Name: "core-down"}); err != nil {
		t.Fatal(err)
	}
	raw, _ := img.RawManifest()
	same(t, "the upstream has it", s.do(t, http.MethodGet, manifests("cache-dockerhub/library/app"), h), raw)
	digest, layer := layerOf(t, img)
	same(t, "the upstream has it", s.do(t, http.MethodGet, "/v2/cache-dockerhub/library/app/blobs/"+digest, h), layer)
}

// A tag that two edges learnt from each other would else be fresh for ever, while
// the upstream has moved it.
func TestPeersDoNotKeepAnOldTagFreshForEachOther(t *testing.T) {
	var later atomic.Int64
	r := newRegion(t, freshFor(time.Minute), func(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
		p.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	})
	for _, site := range r.sites {
		if err := site.harbor.SetFaults(lab.Fault{Name: "502", Path: "/manifests/"}); err != nil {
			t.Fatal(err)
		}
	}
	s, mad1 := r.sites[0], r.sites[1]
	older, newer := image(t, 1000, 1), image(t, 1000, 2)
	path, h := manifests("cache-dockerhub/library/app"), s.anonymous(t, "cache-dockerhub/library/app")
	mustPush(t, r.hub.URL(), "library/app:v1", older, authn.Anonymous)
	raw, _ := older.RawManifest()
	same(t, "from the upstream", s.do(t, http.MethodGet, path, h), raw)
	later.Store(int64(50 * time.Second))
	if a := mad1.do(t, http.MethodGet, path, h); a.status != http.StatusOK {
		t.Fatal(a.status)
	}
	mustPush(t, r.hub.URL(), "library/app:v1", newer, authn.Anonymous)
	later.Store(int64(70 * time.Second))
	raw, _ = newer.RawManifest()
	same(t, "once it is no longer fresh", s.do(t, http.MethodGet, path, h), raw)
}

// "Not signed" is not said while the upstream, who alone can know, is silent.
func TestNoReferrersIsNotSaidWhileTheUpstreamIsSilent(t *testing.T) {
	for name, faults := range map[string][]lab.Fault{
		"down": {{Name: "down"}}, "500": {{Name: "500"}}, "429": {{Name: "429"}}, "html": {{Name: "html"}},
		"without the API, and the tag's 500": {{Name: "404", Path: "/referrers/"}, {Name: "500", Path: "/manifests/"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRegion(t, remembering(t))
			s := r.sites[0]
			img := image(t, 100, 1)
			mustPush(t, r.hub.URL(), "library/app:v1", img, authn.Anonymous)
			repos := []string{"cache-dockerhub/library/app", "repl-core/app"}
			for _, repo := range repos {
				if _, a := s.referrers(t, repo, img, "", s.header(t, repo)); a.status != http.StatusOK {
					t.Errorf("%s, all well: %d %s", repo, a.status, a.body)
				}
			}
			if err := r.hub.SetFaults(faults...); err != nil {
				t.Fatal(err)
			}
			for _, repo := range repos {
				if _, a := s.referrers(t, repo, img, "", s.header(t, repo)); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
					t.Errorf("%s: %d %s", repo, a.status, a.body)
				}
			}
		})
	}
}

// A tag that was pushed through this edge is not shown as it was before, whatever
// became of Harbor since.
func TestNoOlderCopyAfterAPush(t *testing.T) {
	s := newSite(t)
	older, newer := image(t, 1000, 1), image(t, 1000, 2)
	path, h := manifests("multi-dc-demo/app"), s.as(t, reader, "multi-dc-demo/app")
	mustPush(t, s.edge.URL, "multi-dc-demo/app:v1", older, s.admin())
	mustPush(t, s.edge.URL, "multi-dc-demo/app:v2", older, s.admin())
	raw, _ := older.RawManifest()
	other := "/v2/multi-dc-demo/app/manifests/v2"
	same(t, "before", s.do(t, http.MethodGet, path, h), raw)
	same(t, "before", s.do(t, http.MethodGet, other, h), raw)
	mustPush(t, s.edge.URL, "multi-dc-demo/app:v1", newer, s.admin())
	if err := s.harbor.SetFaults(lab.Fault{Name: "down"}); err != nil {
		t.Fatal(err)
	}
	pushed, _ := newer.RawManifest()
	same(t, "the pushed tag", s.do(t, http.MethodGet, path, h), pushed)
	same(t, "another tag", s.do(t, http.MethodGet, other, h), raw)
	same(t, "by digest", s.do(t, http.MethodGet, "/v2/multi-dc-demo/app/manifests/"+digestOf(t, older), h), raw)
}

// Harbor may have taken a push that its proxy in front has given up.
func TestAPushWithoutAnAnswerMayHaveMovedTheTag(t *testing.T) {
	s := newSite(t)
	harbor := passTo(t, s.harbor.URL())
	var giveUp atomic.Bool
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if giveUp.Load() && r.Method == http.MethodPut {
			harbor.ServeHTTP(httptest.NewRecorder(), r)
			w.WriteHeader(http.StatusGatewayTimeout)
			return
		}
		harbor.ServeHTTP(w, r)
	}))
	defer front.Close()
	s.edge = startEdge(t, front.URL, t.TempDir(), &s.harbor.Key().PublicKey, freshFor(time.Hour))
	path, h := manifests("multi-dc-demo/app"), s.as(t, writer, "multi-dc-demo/app")
	round := func(n int) string {
		body := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[],"annotations":{"round":"%d"}}`, types.OCIImageIndex, n)
		put(t, s, path, h, body)
		return body
	}
	first := round(1)
	same(t, "the first", s.do(t, http.MethodGet, path, h), []byte(first))
	giveUp.Store(true)
	second := round(2)
	giveUp.Store(false)
	trial.Until(t, func() error { // Harbor's breaker may be open for a moment
		if a := s.do(t, http.MethodGet, path, h); a.status != http.StatusOK || string(a.body) != second {
			return fmt.Errorf("the second: %d %s (%s)", a.status, a.body, a.header.Get("Cache-Status"))
		}
		return nil
	})
}

func put(t *testing.T, s *site, path string, header map[string]string, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, s.edge.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", header["Authorization"])
	req.Header.Set("Content-Type", string(types.OCIImageIndex))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

// A cold pull of a cache takes longer than Harbor's other answers. Each peer that
// is asked meanwhile would have its own Harbor pull from the upstream, which counts.
func TestAColdPullOfACacheAsksTheUpstreamOnce(t *testing.T) {
	r := newRegion(t)
	hub := passTo(t, r.hub.URL())
	far := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if strings.Contains(req.URL.Path, "/manifests/") {
			<-time.After(500 * time.Millisecond) // the way there
		}
		hub.ServeHTTP(w, req)
	}))
	defer far.Close()
	for _, s := range r.sites {
		if err := s.harbor.CreateCache("cache-far", "docker-registry", far.URL, true); err != nil {
			t.Fatal(err)
		}
	}
	s, img := r.sites[0], image(t, 1000, 1)
	mustPush(t, r.hub.URL(), "team/app:v1", img, authn.Anonymous)
	raw, _ := img.RawManifest()
	h := s.anonymous(t, "cache-far/team/app")
	r.hub.ResetRequests()
	same(t, "cold", s.do(t, http.MethodGet, manifests("cache-far/team/app"), h), raw)
	for i, peer := range r.sites[1:] {
		if n := count(peer.harbor.Requests(), "GET "+manifests("cache-far/team/app")); n > 0 {
			t.Errorf("Harbor %d was asked too", i+1)
		}
	}
	if n := count(r.hub.Requests(), "GET "+manifests("team/app")); n != 1 {
		t.Errorf("the upstream counts %d pulls", n)
	}
}

// What is held may be evicted while Harbor is asked whether it is still right.
func TestACopyThatGoesWhileHarborIsAskedIsServed(t *testing.T) {
	s := newSite(t)
	harbor, dir := passTo(t, s.harbor.URL()), t.TempDir()
	var evict atomic.Bool
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if evict.Load() && strings.Contains(r.URL.Path, "/manifests/") {
			os.RemoveAll(filepath.Join(dir, "blobs")) //nolint:errcheck // the answer tells
		}
		harbor.ServeHTTP(w, r)
	}))
	defer front.Close()
	s.edge = startEdge(t, front.URL, dir, &s.harbor.Key().PublicKey)
	body := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[],"annotations":{"long":%q}}`, types.OCIImageIndex, strings.Repeat("x", 64<<10))
	path, h := manifests("multi-dc-demo/app"), s.as(t, writer, "multi-dc-demo/app")
	put(t, s, path, h, body)
	same(t, "before", s.do(t, http.MethodGet, path, h), []byte(body))
	evict.Store(true)
	same(t, "while it goes", s.do(t, http.MethodGet, path, h), []byte(body))
}

// What was deleted through the edge does not come back when Harbor goes away: not by a
// tag, not by its digest, not as a blob, not in a list, and not after a restart.
func TestWhatWasDeletedDoesNotComeBack(t *testing.T) {
	path := t.TempDir() + "/state.db"
	var remembered *state.DB
	start := func(a *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
		remembered = openState(t, path)
		a.Members, p.State = remembered, remembered
	}
	s := newSite(t)
	dir := t.TempDir()
	img, other := image(t, 1000, 1), image(t, 1000, 2)
	gone, _ := img.Digest()
	blob, _ := layerOf(t, img)
	h := s.as(t, reader, "multi-dc-demo/app")
	app := "/v2/multi-dc-demo/app/"
	paths := []string{app + "manifests/v1", app + "manifests/stable", app + "manifests/" + gone.String(), app + "blobs/" + blob}
	check := func(when string) {
		t.Helper()
		for _, path := range paths {
			if a := s.do(t, http.MethodGet, path, h); a.status != http.StatusServiceUnavailable && a.status != http.StatusNotFound {
				t.Errorf("%s: %s is %d, %s", when, path, a.status, a.header.Get("Cache-Status"))
			}
		}
		if a := s.do(t, http.MethodGet, app+"tags/list", h); strings.Contains(string(a.body), "stable") {
			t.Errorf("%s: the list is %s", when, a.body)
		}
		if a := s.do(t, http.MethodGet, app+"manifests/other", h); a.status != http.StatusOK {
			t.Errorf("%s: what was not deleted is %d", when, a.status)
		}
	}
	t.Run("while the edge lives", func(t *testing.T) {
		s.edge = startEdge(t, s.harbor.URL(), dir, &s.harbor.Key().PublicKey, start)
		for tag, img := range map[string]v1.Image{"v1": img, "stable": img, "other": other} {
			mustPush(t, s.edge.URL, "multi-dc-demo/app:"+tag, img, basic(writer, secret))
		}
		for _, path := range append(paths, app+"tags/list", app+"manifests/other") {
			if a := s.do(t, http.MethodGet, path, h); a.status != http.StatusOK {
				t.Fatalf("before: %s is %d", path, a.status)
			}
		}
		admin, password := s.harbor.Admin()
		status, _ := s.send(t, http.MethodDelete, app+"manifests/"+gone.String(), map[string]string{"Authorization": basicHeader(admin, password)}, nil)
		if status != http.StatusAccepted {
			t.Fatal(status)
		}
		if err := s.harbor.SetFaults(lab.Fault{Name: "down"}); err != nil {
			t.Fatal(err)
		}
		check("at once")
	})
	if err := remembered.Close(); err != nil {
		t.Fatal(err)
	}
	s.edge = startEdge(t, s.harbor.URL(), dir, &s.harbor.Key().PublicKey, start)
	t.Cleanup(func() { remembered.Close() })
	check("after a restart")
}
