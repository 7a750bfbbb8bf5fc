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

// A name server gives a probe half a second; an edge that serves says so whatever its
// Harbor does. What a Harbor that hangs is waited for is 400 ms in all: an answer that
// comes sooner did not wait. A busy machine has more than one try.
func TestHealthDoesNotWaitForAHarborThatHangs(t *testing.T) {
	quick := func() (all bool) {
		s := newSite(t)
		if err := s.harbor.SetFaults(lab.Fault{Name: "hang"}); err != nil {
			t.Fatal(err)
		}
		all = true
		for _, harbor := range []string{"the first question", "a question that goes on"} {
			begun := time.Now()
			a := s.do(t, http.MethodGet, "/breakwater/v1/health", nil)
			all = all && time.Since(begun) < 390*time.Millisecond
			if a.status != http.StatusOK || !strings.Contains(string(a.body), `"serving":true,"harbor":"down"`) {
				t.Errorf("%s: %d %s", harbor, a.status, a.body)
			}
		}
		return all
	}
	for range 10 {
		if quick() {
			return
		}
	}
	t.Error("no answer came sooner than Harbor was given up")
}
