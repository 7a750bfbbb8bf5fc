package proxy_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/registry"
)

func before(t *testing.T, target string, strike func(w http.ResponseWriter, r *http.Request) bool) string {
	t.Helper()
	pass := passTo(t, target)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strike(w, r) {
			pass.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(front.Close)
	return front.URL
}

func withUpstream(t *testing.T, url string) option {
	t.Helper()
	upstream, err := registry.NewSource(registry.SourceConfig{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	return func(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
		p.Namespaces = []namespace.Namespace{{Project: "cache-dockerhub", Kind: namespace.Cache, DockerHub: true, Host: "docker.io"}}
		p.Upstreams = map[string]*registry.Source{"cache-dockerhub": upstream}
	}
}

func TestTagsOfAnUpstreamWithPagesOfItsOwnKind(t *testing.T) {
	s := newSite(t)
	upstream := before(t, s.hub.URL(), func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/tags/list") {
			return false
		}
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Query().Get("next_page") == "" {
			w.Header().Set("Link", `</v2/library/app/tags/list?n=2&next_page=gAAAAAB%3D>; rel="next"`)
			fmt.Fprint(w, `{"name":"library/app","tags":["v1","v2"]}`)
			return true
		}
		fmt.Fprint(w, `{"name":"library/app","tags":["v3"]}`)
		return true
	})
	s.edge = startEdge(t, s.harbor.URL(), t.TempDir(), &s.harbor.Key().PublicKey, withUpstream(t, upstream))
	h := s.anonymous(t, "cache-dockerhub/library/app")
	if err := s.harbor.SetFaults(lab.Fault{Name: "500", Path: "/tags/list"}); err != nil {
		t.Fatal(err)
	}
	if tags, a := s.tags(t, "cache-dockerhub/library/app", "", h); fmt.Sprint(tags) != "[v1 v2 v3]" {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestReferrersInPages(t *testing.T) {
	s := newSite(t)
	img := image(t, 100, 1)
	mustPush(t, s.hub.URL(), "library/app:v1", img, authn.Anonymous)
	descriptor := func(n int) string {
		return fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:%064d","size":1}`, n)
	}
	upstream := before(t, s.hub.URL(), func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/referrers/") {
			return false
		}
		w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
		n := 1
		if r.URL.Query().Get("nextToken") == "" {
			w.Header().Set("Link", "<"+r.URL.Path+`?nextToken=x>; rel="next"`)
		} else {
			n = 2
		}
		fmt.Fprintf(w, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[%s]}`, descriptor(n))
		return true
	})
	s.edge = startEdge(t, s.harbor.URL(), t.TempDir(), &s.harbor.Key().PublicKey, withUpstream(t, upstream))
	if digests, a := s.referrers(t, "cache-dockerhub/library/app", img, "", s.anonymous(t, "cache-dockerhub/library/app")); len(digests) != 2 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestAListWithoutAnEndIsNoList(t *testing.T) {
	s := newSite(t)
	img := image(t, 100, 1)
	mustPush(t, s.hub.URL(), "library/app:v1", img, authn.Anonymous)
	filler := strings.Repeat("x", 1<<20)
	var pages atomic.Int64
	upstream := before(t, s.hub.URL(), func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/referrers/") {
			return false
		}
		n := pages.Add(1)
		w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
		w.Header().Set("Link", fmt.Sprintf(`<%s?last=%d>; rel="next"`, r.URL.Path, n))
		fmt.Fprintf(w, `{"schemaVersion":2,"manifests":[{"digest":"sha256:%064d","size":1,"annotations":{"a":"%s"}}]}`, n, filler)
		return true
	})
	s.edge = startEdge(t, s.harbor.URL(), t.TempDir(), &s.harbor.Key().PublicKey, withUpstream(t, upstream))
	_, a := s.referrers(t, "cache-dockerhub/library/app", img, "", s.anonymous(t, "cache-dockerhub/library/app"))
	if a.status != http.StatusServiceUnavailable || pages.Load() > 20 {
		t.Errorf("%d after %d pages of a megabyte", a.status, pages.Load())
	}
}

func TestReferrersByTagFromARegistryThatMindsAccept(t *testing.T) {
	s := newSite(t)
	img := image(t, 100, 1)
	mustPush(t, s.hub.URL(), "library/app:v1", img, authn.Anonymous)
	upstream := before(t, s.hub.URL(), func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case strings.Contains(r.URL.Path, "/referrers/"):
			http.NotFound(w, r)
		case strings.Contains(r.URL.Path, "/manifests/sha256-"):
			w.Header().Set("Content-Type", "application/json")
			if !strings.Contains(r.Header.Get("Accept"), "application/vnd.oci.image.index.v1+json") {
				w.WriteHeader(http.StatusNotFound)
				fmt.Fprint(w, `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"OCI index found, but accept header does not support OCI indexes"}]}`)
				return true
			}
			w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
			fmt.Fprintf(w, `{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:%064d","size":1}]}`, 1)
		default:
			return false
		}
		return true
	})
	s.edge = startEdge(t, s.harbor.URL(), t.TempDir(), &s.harbor.Key().PublicKey, withUpstream(t, upstream))
	if digests, a := s.referrers(t, "cache-dockerhub/library/app", img, "", s.anonymous(t, "cache-dockerhub/library/app")); len(digests) != 1 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestATokenForTheShortNameServesTheFullOne(t *testing.T) {
	s := newSite(t)
	mustPush(t, s.hub.URL(), "library/app:v1", image(t, 1000, 1), authn.Anonymous)
	for _, c := range [][2]string{{"app", "library/app"}, {"library/app", "app"}} {
		h := s.anonymous(t, "cache-dockerhub/"+c[0])
		if a := s.do(t, http.MethodGet, manifests("cache-dockerhub/"+c[1]), h); a.status != http.StatusOK {
			t.Errorf("a token for %s, %s: %d %s", c[0], c[1], a.status, a.body)
		}
	}
	if a := s.do(t, http.MethodGet, manifests("cache-dockerhub/library/other"), s.anonymous(t, "cache-dockerhub/app")); a.status != http.StatusUnauthorized {
		t.Errorf("another image: %d", a.status)
	}
}

func TestABlobThatHarborDidNotAskItsUpstreamFor(t *testing.T) {
	s := newSite(t)
	img := image(t, 1000, 1)
	mustPush(t, s.hub.URL(), "library/app:v1", img, authn.Anonymous)
	harbor := before(t, s.harbor.URL(), func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/blobs/") {
			return false
		}
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown to registry","detail":"sha256"}]}`)
		return true
	})
	digest, layer := layerOf(t, img)
	path := "/v2/cache-dockerhub/library/app/blobs/" + digest
	for _, method := range []string{http.MethodHead, http.MethodGet} {
		s.edge = startEdge(t, harbor, t.TempDir(), &s.harbor.Key().PublicKey)
		if a := s.do(t, method, path, s.anonymous(t, "cache-dockerhub/library/app")); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
			t.Errorf("%s, nobody else to ask: %d %s", method, a.status, a.body)
		}
	}
	s.edge = startEdge(t, harbor, t.TempDir(), &s.harbor.Key().PublicKey, withUpstream(t, s.hub.URL()))
	same(t, "from the upstream", s.do(t, http.MethodGet, path, s.anonymous(t, "cache-dockerhub/library/app")), layer)
}

func TestALoneHarborThatIsKnownToHangDelaysNoCopy(t *testing.T) {
	t.Parallel() // it waits most of the time
	s := newSite(t)
	mustPush(t, s.harbor.URL(), "multi-dc-demo/app:v1", image(t, 1000, 1), s.admin())
	h := s.as(t, reader, "multi-dc-demo/app")
	first := s.do(t, http.MethodGet, manifests("multi-dc-demo/app"), h)
	if err := s.harbor.SetFaults(lab.Fault{Name: "hang"}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "a copy without delay", func() bool {
		begun := time.Now()
		same(t, "the copy", s.do(t, http.MethodGet, manifests("multi-dc-demo/app"), h), first.body)
		return time.Since(begun) < 900*time.Millisecond // a Harbor that is waited for delays it by a second
	})
	s.harbor.ClearFaults()
	waitFor(t, "Harbor's answer", func() bool {
		return strings.Contains(s.do(t, http.MethodGet, manifests("multi-dc-demo/app"), h).header.Get("Cache-Status"), "detail=harbor")
	})
}

func TestASlowRefusalByPolicyCountsForTheNext(t *testing.T) {
	s := newSite(t)
	mustPush(t, s.harbor.URL(), "multi-dc-demo/app:v1", image(t, 1000, 1), s.admin())
	var refuse atomic.Bool
	release, refused := make(chan struct{}), make(chan struct{}, 10)
	harbor := before(t, s.harbor.URL(), func(w http.ResponseWriter, r *http.Request) bool {
		if !refuse.Load() || !strings.Contains(r.URL.Path, "/manifests/") {
			return false
		}
		select {
		case <-release:
		case <-r.Context().Done():
			return true
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusPreconditionFailed)
		fmt.Fprint(w, `{"errors":[{"code":"PROJECTPOLICYVIOLATION","message":"current image is vulnerable"}]}`)
		if r.Method == http.MethodGet {
			refused <- struct{}{}
		}
		return true
	})
	s.edge = startEdge(t, harbor, t.TempDir(), &s.harbor.Key().PublicKey)
	h := s.as(t, reader, "multi-dc-demo/app")
	get := func() answer { return s.do(t, http.MethodGet, manifests("multi-dc-demo/app"), h) }
	first := get()
	refuse.Store(true)
	same(t, "while it is silent", get(), first.body)
	release <- struct{}{} // HEAD
	release <- struct{}{} // GET
	<-refused
	late := make(chan answer, 1)
	for asked := false; !asked; {
		go func() { late <- get() }()
		select {
		case a := <-late: // the look was still ending, and was joined
			if a.status != http.StatusPreconditionFailed {
				t.Fatalf("the next: %d", a.status)
			}
		case release <- struct{}{}: // HEAD
			asked = true
		}
	}
	timer := time.NewTimer(1500 * time.Millisecond) // longer than a copy waits
	select {
	case a := <-late:
		t.Fatalf("the next did not wait: %d", a.status)
	case <-timer.C:
	}
	close(release)
	if a := <-late; a.status != http.StatusPreconditionFailed {
		t.Fatalf("the next: %d", a.status)
	}
	refuse.Store(false)
	same(t, "when it is allowed again", get(), first.body)
}

func TestListsWaitForNobodyWhoIsKnownToBeDown(t *testing.T) {
	t.Parallel() // it waits most of the time
	r := newRegion(t, remembering(t))
	s, mad1 := r.sites[0], r.sites[1]
	img := image(t, 1000, 1)
	mustPush(t, s.harbor.URL(), "multi-dc-demo/app:v1", img, s.admin())
	mustPush(t, mad1.harbor.URL(), "multi-dc-demo/app:v1", img, mad1.admin())
	h := s.as(t, reader, "multi-dc-demo/app")
	if err := s.harbor.SetFaults(lab.Fault{Name: "hang"}); err != nil {
		t.Fatal(err)
	}
	for _, list := range []string{"tags/list", "referrers/" + digestOf(t, img)} {
		waitFor(t, list+" without delay", func() bool {
			begun := time.Now()
			if a := s.do(t, http.MethodGet, "/v2/multi-dc-demo/app/"+list, h); a.status != http.StatusOK {
				t.Errorf("%s: %d %s", list, a.status, a.body)
			}
			return time.Since(begun) < 4*time.Second // a Harbor that is waited for delays it by five
		})
	}
}
