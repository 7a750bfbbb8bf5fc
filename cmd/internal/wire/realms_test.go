package wire

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"example.org/breakwater/internal/trial"
	"example.org/breakwater/registry"
)

// Which token services of other domains are shown a cache's login is what the fleet file says,
// from one reading of it to the next.
func TestRealmsAreTheFleetFilesToName(t *testing.T) {
	t.Setenv("BREAKWATER_TEST_UPSTREAM", "hunter2")
	var realm string
	up, tokens := trial.NewRegistry(t), trial.NewRegistry(t)
	realm = strings.Replace(tokens.URL, "127.0.0.1", "localhost", 1) + "/token"
	asks := trial.Answer{Status: http.StatusUnauthorized, Header: http.Header{"Www-Authenticate": {fmt.Sprintf("Bearer realm=%q", realm)}}}
	up.Say("/v2/", asks)
	up.Say("/v2/app/tags/list", asks)
	tokens.Say("/token", trial.Answer{Body: `{"token":"t"}`})
	var used *registry.Source
	for _, c := range []struct {
		realms string
		shown  bool
	}{
		{"", false},
		{", realms: [auth.example.net]", false},
		{", realms: [auth.example.net, localhost]", true},
		{", realms: [localhost], datacenters: { par1: { realms: [auth.example.net] } }", false},
		{", datacenters: { par1: { realms: [LOCALHOST] } }", true},
	} {
		next := upstreamOf(t, up.URL, ", username: u, password: \"env:BREAKWATER_TEST_UPSTREAM\""+c.realms)
		if used == nil {
			used = next
		}
		used.Use(next)
		before := len(tokens.Asked())
		if resp, err := used.Do(t.Context(), registry.Request{Method: http.MethodGet, Kind: registry.KindTags, Repo: "app"}, nil); err == nil {
			resp.Body.Close()
		}
		shown := false
		for _, asked := range tokens.Asked()[before:] {
			_, password, _ := asked.BasicAuth()
			shown = shown || password == "hunter2"
		}
		if shown != c.shown {
			t.Errorf("%q: the login is shown: %t", c.realms, shown)
		}
	}
}
