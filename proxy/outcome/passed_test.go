package outcome_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/registry"
)

// What an answer of Harbor says of Harbor, and not of the request, is told from the rest: the
// answers are those of real Harbors, and of what stands before them.
func TestWhatAnAnswerSaysOfHarbor(t *testing.T) {
	const json, page = "application/json; charset=utf-8", "text/html"
	nginx := "<html><head><title>502 Bad Gateway</title></head><body><center><h1>502 Bad Gateway</h1></center><hr><center>nginx</center></body></html>"
	errors := func(code, message string) string {
		return `{"errors":[{"code":"` + code + `","message":"` + message + `"}]}`
	}
	none, empty, basic := http.Header{}, http.Header{"Www-Authenticate": {""}}, http.Header{"Www-Authenticate": {`Basic realm="harbor"`}}
	for name, c := range map[string]struct {
		status int
		header http.Header
		kind   string
		body   string
		want   registry.Code // "": it is about the request
	}{
		"core is dead":                     {502, none, page, nginx, registry.CodeUnavailable},
		"the registry is dead":             {502, none, "", "", registry.CodeUnavailable},
		"core fails":                       {500, none, json, errors("UNKNOWN", "dial tcp 10.0.0.7:6379"), registry.CodeUnavailable},
		"it is being started":              {503, none, page, nginx, registry.CodeUnavailable},
		"nginx gives up":                   {504, none, page, nginx, registry.CodeUnavailable},
		"the database is dead":             {401, empty, json, errors("UNAUTHORIZED", "failed to connect to `user=postgres`: 10.0.0.7:5432"), registry.CodeUnavailable},
		"a 401 that is nobody's":           {401, none, "", "", registry.CodeUnavailable},
		"the project is missing":           {401, empty, json, errors("UNAUTHORIZED", "project a not found: project a not found"), registry.CodeNameUnknown},
		"a wrong password":                 {401, basic, json, errors("UNAUTHORIZED", "unauthorized: unauthorized"), ""},
		"an ingress whose Harbor is gone":  {404, none, "text/plain", "default backend - 404", registry.CodeUnavailable},
		"its page":                         {404, none, page, "<html>", registry.CodeUnavailable},
		"a page to log in":                 {200, none, page, "<html>", registry.CodeUnavailable},
		"a page that forbids":              {403, none, page, "<html>", registry.CodeUnavailable},
		"a manifest that is called a page": {200, http.Header{"Docker-Content-Digest": {"sha256:1"}}, page, "{}", ""},
		"what is not there":                {404, none, json, errors("NOT_FOUND", "artifact a/x:v1 not found"), ""},
		"a registry's bare 404":            {404, none, "", "", ""},
		"a quota":                          {403, none, json, errors("DENIED", "quota"), ""},
		"a policy":                         {412, none, json, errors("PRECONDITION", "policy"), ""},
		"a limiter's page":                 {429, none, page, "<html>", ""},
		"a redirect to the storage":        {307, none, page, `<a href="https://s3">`, ""},
		"a manifest":                       {200, none, "application/vnd.oci.image.manifest.v1+json", "{}", ""},
	} {
		header := c.header.Clone()
		if c.kind != "" {
			header.Set("Content-Type", c.kind)
		}
		resp := &http.Response{StatusCode: c.status, Status: http.StatusText(c.status), Header: header, Body: io.NopCloser(strings.NewReader(c.body))}
		e := outcome.OfHarbor(resp)
		if (e == nil) != (c.want == "") || e != nil && e.Code != c.want {
			t.Errorf("%s: %v, want %q", name, e, c.want)
		}
		if e != nil && (strings.Contains(e.Message, "10.0.0.7") || e.Code == registry.CodeUnavailable && e.RetryAfter == 0) {
			t.Errorf("%s: the client is told %q, %v", name, e.Message, e.RetryAfter)
		}
		if rest, err := io.ReadAll(resp.Body); string(rest) != c.body || err != nil {
			t.Errorf("%s: %q is left of the body, %v", name, rest, err)
		}
	}
}
