package lab

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"example.org/breakwater/internal/trial"
)

// What moves a pull time, as it was recorded: a GET of the manifest that is answered 200, by a
// client that is none of Harbor's own; by a tag that tag's time too. It is known a while later.
func TestPullTimes(t *testing.T) {
	for _, lag := range []time.Duration{0, 50 * time.Millisecond} {
		h, err := StartHarbor(HarborConfig{Dir: t.TempDir(), Key: testKey(), PullLag: lag})
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		h.CreateProject("demo", false)
		h.push(t, "demo/app", "v1", "one")
		times := func() (artifact, tag time.Time) {
			t.Helper()
			var a struct {
				Pulled time.Time `json:"pull_time"`
				Tags   []struct {
					Pulled time.Time `json:"pull_time"`
				}
			}
			h.call(t, http.StatusOK, http.MethodGet, "/api/v2.0/projects/demo/repositories/app/artifacts/v1", "", &a)
			return a.Pulled, a.Tags[0].Pulled
		}
		d := get(t, h, http.MethodHead, "/v2/demo/app/manifests/v1", nil).Header.Get("Docker-Content-Digest")
		for _, c := range []struct {
			what, method, reference string
			header                  map[string]string
			artifact, tag           bool
		}{
			{"a HEAD", http.MethodHead, "v1", nil, false, false},
			{"a 304", http.MethodGet, "v1", map[string]string{"If-None-Match": d}, false, false},
			{"a Harbor", http.MethodGet, "v1", map[string]string{"User-Agent": "harbor-registry-client"}, false, false},
			{"a GET by digest", http.MethodGet, d, nil, true, false},
			{"a GET by tag", http.MethodGet, "v1", nil, true, true},
		} {
			begun, _ := times()
			_, begunTag := times()
			get(t, h, c.method, "/v2/demo/app/manifests/"+c.reference, c.header)
			if lag > 0 {
				if artifact, _ := times(); !artifact.Equal(begun) {
					t.Errorf("%s: it is known at once", c.what)
				}
			}
			trial.Until(t, func() error {
				artifact, tag := times()
				if artifact.Equal(begun) == c.artifact || tag.Equal(begunTag) == c.tag {
					return fmt.Errorf("%s: the artifact's moved %v, want %v; the tag's %v, want %v", c.what, !artifact.Equal(begun), c.artifact, !tag.Equal(begunTag), c.tag)
				}
				return nil
			})
		}
	}
}

func get(t *testing.T, h *Harbor, method, path string, header map[string]string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, h.URL()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(h.Admin())
	for key, value := range header {
		req.Header.Set(key, value)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp
}
