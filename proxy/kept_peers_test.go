package proxy_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/registry"
)

// What one datacenter has kept of a deleted image another one pulls, whole, and with when it was deleted;
// what nobody has kept is not there.
func TestWhatOneDatacenterKeepsAnotherPulls(t *testing.T) {
	r := newRegion(t, remembering(t), func(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
		p.Namespaces[0].Keep = 30 * day
	})
	s, mad1 := r.sites[0], r.sites[1]
	img := image(t, 1000, 1)
	raw, _ := img.RawManifest()
	layer, content := layerOf(t, img)
	mustPush(t, r.hub.URL(), "library/app:v1", img, authn.Anonymous)
	pull := func(s *site) answer { return s.do(t, http.MethodGet, manifests(keptImage), s.anonymous(t, keptImage)) }
	blob := "/v2/" + keptImage + "/blobs/" + layer
	same(t, "mad1 has it", pull(mad1), raw)
	same(t, "mad1 has its layer", mad1.do(t, http.MethodGet, blob, mad1.anonymous(t, keptImage)), content)
	if err := r.hub.SetFaults(lab.Fault{Name: "404"}); err != nil {
		t.Fatal(err)
	}
	since := pull(mad1).header.Get("Breakwater-Deleted-Upstream")
	for range 2 {
		a := pull(s)
		same(t, "par1 has not, and gets it", a, raw)
		if got := a.header.Get("Breakwater-Deleted-Upstream"); got != since || since == "" || !strings.HasPrefix(a.header.Get("Cache-Status"), deleted) {
			t.Errorf("deleted since %q, mad1 says %q (%s)", got, since, a.header.Get("Cache-Status"))
		}
	}
	same(t, "and its layer", s.do(t, http.MethodGet, blob, s.anonymous(t, keptImage)), content)
	if a := s.do(t, http.MethodGet, "/v2/"+keptImage+"/manifests/v2", s.anonymous(t, keptImage)); a.status != http.StatusNotFound {
		t.Errorf("what nobody has: %d %s", a.status, a.body)
	}
}
