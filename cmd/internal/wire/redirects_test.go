package wire

import (
	"fmt"
	"net/http"
	"testing"

	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/secret"
	"example.org/breakwater/internal/trial"
	"example.org/breakwater/registry"
)

// upstreamOf is the upstream of a cache at an address, as a fleet file has it whose cache says
// so much more.
func upstreamOf(t *testing.T, address, more string) *registry.Source {
	t.Helper()
	f, err := fleet.Load("fleet.yaml", fmt.Appendf(nil, "domain: h.example.org\ndatacenters: { par1: { harbor: \"http://127.0.0.1:1\" } }\nprojects: { cache: { up: { endpoint: %q%s } } }\nedge: { plain_http: true }\n", address, more))
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := secret.New(f)
	if err != nil {
		t.Fatal(err)
	}
	source, err := upstream(t.Context(), EdgeConfig{}, secrets, "up", f.Projects.Cache.Items["up"].In("par1"))
	if err != nil {
		t.Fatal(err)
	}
	return source
}

// Where an upstream's redirects may lead inside is what the fleet file says, from one
// reading of it to the next.
func TestRedirectsAreTheFleetFilesToAllow(t *testing.T) {
	upstreams, storage := trial.NewRegistry(t), trial.NewRegistry(t)
	storage.Say("/bucket", trial.Answer{Body: "content"})
	upstreams.Say("/v2/app/tags/list", trial.Answer{Status: http.StatusTemporaryRedirect, Header: http.Header{"Location": {storage.URL + "/bucket"}}})
	var used *registry.Source
	for _, c := range []struct {
		redirects string
		good      bool
	}{
		{"", false},
		{", redirects: [10.0.0.0/8, storage.example.net]", false},
		{", redirects: [127.0.0.0/8]", true},
		{", redirects: []", false},
		{", redirects: [127.0.0.1], datacenters: { par1: { redirects: [] } }", false},
		{", datacenters: { par1: { redirects: [127.0.0.1] } }", true},
	} {
		next := upstreamOf(t, upstreams.URL, c.redirects)
		if used == nil {
			used = next
		}
		used.Use(next)
		resp, err := used.Do(t.Context(), registry.Request{Method: http.MethodGet, Kind: registry.KindTags, Repo: "app"}, nil)
		if (err == nil) != c.good {
			t.Errorf("%q: %v", c.redirects, err)
		}
		if err == nil {
			resp.Body.Close()
		}
	}
}
