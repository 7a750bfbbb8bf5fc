package registry

import (
	"slices"
	"testing"
)

// A token service at the registry's own address, however the registry writes that, is reached by
// the address that the client used; what is not changed stays as it was written.
func TestWhereAClientFindsTheTokenService(t *testing.T) {
	const client = "https://registry.example.org:8443"
	front := newSource(t, SourceConfig{URL: "http://own"}).Front(client, "edge.example.org")
	for realm, want := range map[string]string{
		"http://own/v2/auth?x=1":                   client + "/v2/auth?x=1",
		"https://own:443/v2/auth":                  client + "/v2/auth",
		"http://OWN.:80/v2/auth":                   client + "/v2/auth",
		"https://edge.example.org/v2/auth":         client + "/v2/auth",
		"http://registry.example.org:8443/v2/auth": client + "/v2/auth",
		"https://own:5001/service/token":           client + "/service/token", // Harbor's, of whatever is before it

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
