package proxy_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/registry"
)

// An upstream that hangs, and Harbor's cache with it, is waited for in full once: whoever
// comes then is told sooner, also of other images; what answers all the same is served; and
// who comes when all is well again is in nobody's queue.
func TestAHangThatIsKnownIsAnsweredSooner(t *testing.T) {
	s := newSite(t, func(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) { p.Deadline = 500 * time.Millisecond })
	pull := func(i int) (answer, time.Duration) {
		repo := fmt.Sprintf("cache-dockerhub/library/hang%d", i)
		h, begun := s.anonymous(t, repo), time.Now()
		return s.do(t, http.MethodGet, manifests(repo), h), time.Since(begun)
	}
	raw := map[int][]byte{}
	for i := range 4 {
		img := image(t, 100, byte(i))
		raw[i], _ = img.RawManifest()
		mustPush(t, s.hub.URL(), fmt.Sprintf("library/hang%d:v1", i), img, authn.Anonymous)
	}
	if err := s.hub.SetFaults(lab.Fault{Name: "hang", Path: "^(GET|HEAD) /v2/library/hang[012]/"}); err != nil {
		t.Fatal(err)
	}
	first, took := pull(0)
	if first.status != http.StatusServiceUnavailable || first.header.Get("Retry-After") == "" {
		t.Fatalf("%d %s", first.status, first.body)
	}
	for i := range 3 { // the same, and others
		if a, sooner := pull(i); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" || sooner >= took {
			t.Errorf("hang%d: %d after %v; the first one after %v", i, a.status, sooner, took)
		}
	}
	served := func(i int) {
		waitFor(t, fmt.Sprintf("an answer for hang%d", i), func() bool {
			a, _ := pull(i)
			return a.status == http.StatusOK && string(a.body) == string(raw[i])
		})
	}
	served(3) // it does not hang
	if err := s.hub.SetFaults(); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		served(i)
	}
}
