package registry

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"testing"
)

// A token service at the registry's own address, however the registry writes that, is reached by
// the address that the client used; what is not changed stays as it was written.
func TestWhereAClientFindsTheTokenService(t *testing.T) {
	const client = "https://registry.example.org:8443"
	front := newSource(t, SourceConfig{URL: "http://own", Names: []string{"fleet.example.org", "par1.example.org:9443"}}).Front(client, "edge.example.org")
	for realm, want := range map[string]string{
		"http://own/v2/auth?x=1":                   client + "/v2/auth?x=1",
		"https://own:443/v2/auth":                  client + "/v2/auth",
		"http://OWN.:80/v2/auth":                   client + "/v2/auth",
		"https://edge.example.org/v2/auth":         client + "/v2/auth",
		"http://registry.example.org:8443/v2/auth": client + "/v2/auth",
		"https://own:5001/service/token":           client + "/service/token", // Harbor's, of whatever is before it

		"http://FLEET.example.org/v2/auth":      client + "/v2/auth", // as the fleet's clients know it
		"https://par1.example.org:9443/v2/auth": client + "/v2/auth",

		"https://par1.example.org/v2/auth":             "https://par1.example.org/v2/auth",
		"https://fleet.example.org:5001/auth":          "https://fleet.example.org:5001/auth",
		"http://own:5001/auth":                         "http://own:5001/auth",
		"https://registry.example.org/v2/auth":         "https://registry.example.org/v2/auth",
		"https://registry.example.org.evil.example/v2": "https://registry.example.org.evil.example/v2",
		"https://auth.example.net/service/token":       "https://auth.example.net/service/token",
		"/v2/auth":                                     "/v2/auth",
		"own":                                          "own",
	} {
		given := `Basic realm="https://own/v2", Bearer realm="` + realm + `",service="its"`
		if got := Rewrite([]string{given}, front.Readdress); !slices.Equal(got, []string{`Basic realm="https://own/v2", Bearer realm="` + want + `",service="its"`}) {
			t.Errorf("%s is %q, want %s", realm, got, want)
		}
	}
	as := []string{`basic realm=zot`, "", `bearer realm=http://elsewhere/auth`}
	if got := Rewrite(as, front.Readdress); !slices.Equal(got, as) {
		t.Errorf("%q is %q", as, got)
	}
}

// The edge's own login is shown at the source itself, not at the name by which the source calls
// itself before clients: who is found there may be another datacenter.
func TestTheLoginIsShownAtTheSourceItself(t *testing.T) {
	for realm, shown := range map[string]bool{"https://fleet.example.net/token": true, "http://FLEET.example.net.:80/token": true, "http://fleet.example.net:5001/token": false} {
		srv, tokens := registryWithTokens(t, func(string) string { return realm }, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "content") })
		s := newSource(t, SourceConfig{URL: srv.URL, Names: []string{"fleet.example.net"}, Username: "robot", Password: "secret"})
		for _, pool := range s.client.Load().pools {
			dial := pool.DialContext
			pool.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
				if "http://"+address != srv.URL {
					return nil, errors.New("nobody is there")
				}
				return dial(ctx, network, address)
			}
		}
		resp, err := s.Do(t.Context(), blobRequest(), nil)
		if err == nil {
			resp.Body.Close()
		}
		if good := err == nil && resp.StatusCode == http.StatusOK; good != shown || (tokens.Load() > 0) != shown {
			t.Errorf("by %s: %v, asked %d times for a token", realm, err, tokens.Load())
		}
	}
}
