package proxy_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/registry"
)

// A storage that refuses an address which its registry has signed is no no of the registry: the
// registry is asked for another one, then the next source; and where nobody is left, it is not known.
func TestAStorageThatRefusesASignature(t *testing.T) {
	const content = "content"
	d := digest.FromString(content)
	path := "/blobs/" + d.String()
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden} {
		for _, c := range []struct {
			refuses [2]int64 // how often Harbor's storage refuses, and the upstream's; -1: the registry has nothing
			want    int
		}{
			{[2]int64{-1, 1}, 200},
			{[2]int64{1, -1}, 200},
			{[2]int64{9, 0}, 200},
			{[2]int64{9, 1}, 200},
			{[2]int64{-1, 9}, 503},
			{[2]int64{9, 9}, 503},
		} {
			var registries [2]string
			for i, refuses := range c.refuses {
				var refused atomic.Int64
				storage := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					if refused.Add(1) <= refuses {
						w.Header().Set("WWW-Authenticate", `Bearer realm="https://storage.example.net/token"`)
						w.Header().Set("Content-Type", "application/json")
						w.WriteHeader(status)
						fmt.Fprint(w, `{"errors":[{"code":"DENIED","message":"the signature has ended"}]}`)
						return
					}
					fmt.Fprint(w, content)
				}))
				defer storage.Close()
				reg := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					switch {
					case r.URL.Path == "/v2/":
						w.Header().Set("Content-Type", "application/json")
						fmt.Fprint(w, "{}")
					case r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, path) && refuses >= 0:
						http.Redirect(w, r, storage.URL+"/bucket?signature=x", http.StatusTemporaryRedirect)
					default:
						w.Header().Set("Content-Type", "application/json")
						w.WriteHeader(http.StatusNotFound)
						fmt.Fprint(w, `{"errors":[{"code":"NOT_FOUND","message":"artifact not found"}]}`)
					}
				}))
				defer reg.Close()
				registries[i] = reg.URL
			}
			upstream, err := registry.NewSource(registry.SourceConfig{URL: registries[1], Trusted: true})
			if err != nil {
				t.Fatal(err)
			}
			s := &site{edge: startEdge(t, registries[0], t.TempDir(), nil, func(a *access.Config, p *proxy.Config, source *registry.SourceConfig) {
				a.Verifier, source.Username, source.Password = nil, "", ""
				p.Upstreams = map[string]*registry.Source{"cache-dockerhub": upstream}
			})}
			a := s.do(t, http.MethodGet, "/v2/cache-dockerhub/library/app"+path, nil)
			if a.status != c.want || a.status == http.StatusOK && string(a.body) != content || a.header.Get("Www-Authenticate") != "" {
				t.Errorf("storages that say %d, %v times: %d, %v, %s", status, c.refuses, a.status, a.header, a.body)
			}
		}
	}
}
