package proxy_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/registry"
)

// A plain registry may call its token service by the name that the fleet's clients know (Gitea and
// Forgejo, whose ROOT_URL that is, have it at /v2/token): the edge passes on what is asked for there,
// also before anything else was, and whoever asks by whatever name of the edge. One of another
// host's stays that host's.
func TestATokenServiceByTheFleetsName(t *testing.T) {
	for _, c := range []struct {
		realm, asked string // OWN is the edge's own address
		open         bool   // its root asks for nothing; only the repo does
		own          bool
	}{
		{"https://harbor.example.org/v2/token", "/v2/token", false, true},
		{"http://HARBOR.example.org.:80/v2/token", "/v2/token", false, true},
		{"https://harbor.example.org//v2/token", "//v2/token", false, true},
		{"https://harbor.example.org/v2/token", "/v2/token", true, true},
		{"https://edge.example.org:8443/v2/auth/token", "/v2/auth/token", false, true},
		{"OWN/v2/token", "/v2/token", false, true},
		{"https://harbor.example.org/service/token", "/service/token", false, true},
		{"https://harbor.example.org/v2/token", "/v2/tokens", false, false},
		{"https://harbor.example.org:5001/v2/token", "/v2/token", false, false},
		{"https://harbor.example.org.evil.example/v2/token", "/v2/token", false, false},
		{"https://auth.example.net/v2/token", "/v2/token", false, false},
		{"https://auth.example.net//v2/token", "//v2/token", false, false},
	} {
		var edge *httptest.Server
		reg := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			switch {
			case r.URL.Path == c.asked:
				fmt.Fprintf(w, `{"token":%q}`, r.Method+" "+r.Header.Get("Authorization"))
			case c.open && r.URL.Path == "/v2/":
				fmt.Fprint(w, "{}")
			default:
				w.Header().Add("WWW-Authenticate", `Bearer realm="`+strings.Replace(c.realm, "OWN", edge.URL, 1)+`",service="container_registry",scope="*"`)
				w.Header().Add("WWW-Authenticate", `Basic realm="https://harbor.example.org/v2/tokens"`)
				w.WriteHeader(http.StatusUnauthorized)
			}
		}))
		edge = startEdge(t, reg.URL, t.TempDir(), nil, func(a *access.Config, _ *proxy.Config, s *registry.SourceConfig) {
			a.Verifier, s.Username, s.Password = nil, "", ""
			s.Names = []string{"harbor.example.org", "edge.example.org:8443"}
		})
		s := &site{edge: edge}
		login := map[string]string{"Authorization": basicHeader("ann", secret)}
		if c.open {
			s.do(t, http.MethodGet, manifests("plain/app"), nil)
		}
		for _, method := range []string{http.MethodPost, http.MethodGet} {
			a := s.do(t, method, c.asked, login)
			if want := fmt.Sprintf(`{"token":%q}`, method+" "+login["Authorization"]); (string(a.body) == want) != c.own || !c.own && a.status/100 != 4 {
				t.Errorf("%s of %s, whose realm is %s: %d, %s", method, c.asked, c.realm, a.status, a.body)
			}
		}
		_, path, _ := strings.Cut(strings.Replace(c.realm, "OWN", "//x", 1), "//")
		_, path, _ = strings.Cut(path, "/")
		want := `Bearer realm="` + map[bool]string{true: edge.URL + "/" + path, false: c.realm}[c.own || c.asked == "/v2/tokens"] + `",service="container_registry",scope="`
		for _, repo := range []string{"plain/app", "multi-dc-demo/app"} {
			if a := s.do(t, http.MethodGet, manifests(repo), nil); a.status != http.StatusUnauthorized || !strings.HasPrefix(a.header.Get("Www-Authenticate"), want) {
				t.Errorf("%s, of a registry whose realm is %s: %d, %q, want %q", repo, c.realm, a.status, a.header["Www-Authenticate"], want)
			}
		}
		reg.Close()
	}
}
