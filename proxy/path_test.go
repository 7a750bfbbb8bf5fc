package proxy_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"example.org/breakwater/internal/lab"
)

// Whoever cleans paths behind the edge, as Harbor's nginx does, would read these
// as the registry's API: pushes that the edge does not see.
func TestRegistryPathsInDisguise(t *testing.T) {
	s := newSite(t)
	s.harbor.ResetRequests()
	for _, path := range []string{
		"//v2/repl-open/app/manifests/v1", "/x/../v2/repl-open/app/manifests/v1", "/./v2/repl-open/app/manifests/v1", "/%2e/v2/repl-open/app/manifests/v1",
		"/c/..%2fv2/repl-open/app/manifests/v1", "/api/%2e%2e/v2/", "//v2", "/service/..//v2/_catalog",
	} {
		for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
			a := s.do(t, method, path, map[string]string{"Authorization": basicHeader("admin", "Harbor12345")})
			if a.status != http.StatusBadRequest || a.code() != "NAME_INVALID" {
				t.Errorf("%s %s: %d %.100s", method, path, a.status, a.body)
			}
		}
	}
	if n := len(s.harbor.Requests()); n != 0 {
		t.Errorf("Harbor was asked: %v", s.harbor.Requests())
	}
}

// A name server gives a probe half a second; an edge that serves says so whatever
// its Harbor does.
func TestHealthDoesNotWaitForAHarborThatHangs(t *testing.T) {
	s := newSite(t)
	if err := s.harbor.SetFaults(lab.Fault{Name: "hang"}); err != nil {
		t.Fatal(err)
	}
	for _, harbor := range []string{"the first look", "a look that goes on"} {
		begun := time.Now()
		a := s.do(t, http.MethodGet, "/breakwater/v1/health", nil)
		if took := time.Since(begun); a.status != http.StatusOK || !strings.Contains(string(a.body), `"serving":true,"harbor":"down"`) || took > 390*time.Millisecond {
			t.Errorf("%s: %d %s after %v", harbor, a.status, a.body, took)
		}
	}
}
