package token_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"example.org/breakwater/registry"
)

// Credentials are refused where Harbor's token service says so, and only there: where it
// cannot say, the request goes on to Harbor itself.
func TestCredentialsThatAreKnownToPermitNothing(t *testing.T) {
	for name, c := range map[string]struct {
		password, repo, action string
		answer                 http.HandlerFunc
		breaks                 func(h *harbor)
		want                   bool
	}{
		"what they permit":     {password: secret, repo: "a/x", action: "pull"},
		"another action":       {password: secret, repo: "a/x", action: "push", want: true},
		"another repo":         {password: secret, repo: "a/y", action: "pull", want: true},
		"a wrong password":     {password: "wrong", repo: "a/x", action: "pull", want: true},
		"forbidden":            {password: secret, repo: "a/x", action: "pull", answer: says(http.StatusForbidden, "application/json", ""), want: true},
		"a token that is none": {password: secret, repo: "a/x", action: "pull", answer: says(http.StatusOK, "application/json", `{"token":"opaque"}`)},
		"a wrong request":      {password: secret, repo: "a/x", action: "pull", answer: says(http.StatusBadRequest, "application/json", "")},
		"a limiter":            {password: secret, repo: "a/x", action: "push", answer: says(http.StatusTooManyRequests, "application/json", "")},
		"Harbor is down":       {password: secret, repo: "a/x", action: "push", breaks: func(h *harbor) { h.down.Store(true) }},
		"its database is down": {password: secret, repo: "a/x", action: "push", breaks: func(h *harbor) { h.noDatabase.Store(true) }},
		"a front in its place": {password: secret, repo: "a/x", action: "push", answer: says(http.StatusNotFound, "text/html", "")},
	} {
		f := newFixture(t)
		f.local.failing(c.answer)
		if c.breaks != nil {
			c.breaks(f.local)
		}
		in := httptest.NewRequestWithContext(t.Context(), http.MethodPut, "/v2/"+c.repo+"/manifests/v1", strings.NewReader("{}"))
		in.SetBasicAuth("ci", c.password)
		in.Header.Set("Content-Type", "application/vnd.oci.image.index.v1+json")
		if got := f.service.Refuses(t.Context(), in, c.repo, c.action); got != c.want {
			t.Errorf("%s: refused: %v", name, got)
		}
		if f.other.times() > 0 {
			t.Errorf("%s: the peer was asked", name)
		}
		for _, r := range f.local.asked {
			q := r.URL.Query()
			if user, password, _ := r.BasicAuth(); r.Method != http.MethodGet || q.Get("scope") != "repository:"+c.repo+":"+c.action || q.Get("service") != registry.HarborService ||
				user != "ci" || password != c.password || r.ContentLength != 0 || r.Host != in.Host {
				t.Errorf("%s: Harbor was asked %s %s as %s for %s", name, r.Method, r.URL, user, r.Host)
			}
		}
	}
}
