package proxy_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/internal/lab"
)

// What stands before a Harbor that is gone (an ingress, a login page) knows
// nothing of permissions: its answer is not Harbor's yes.
func TestNobodyIsLetInByWhatIsNoRegistry(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"a page": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, "<!doctype html>log in")
		},
		"an ingress without a backend": func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "default backend - 404", http.StatusNotFound)
		},
		"an empty 404": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			img := image(t, 1000, 1)
			mustPush(t, s.harbor.URL(), "multi-dc-demo/app:v1", img, s.admin())
			digest, layer := layerOf(t, img)
			h := s.as(t, reader, "multi-dc-demo/app")
			blob := "/v2/multi-dc-demo/app/blobs/" + digest
			harbor := passTo(t, s.harbor.URL())
			var gone atomic.Bool
			front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if gone.Load() {
					handler(w, r)
					return
				}
				harbor.ServeHTTP(w, r)
			}))
			defer front.Close()
			s.edge = startEdge(t, front.URL, t.TempDir(), &s.harbor.Key().PublicKey)
			same(t, "while Harbor is there", s.do(t, http.MethodGet, blob, h), layer)
			gone.Store(true)
			missing := "/v2/multi-dc-demo/app/blobs/sha256:" + strings.Repeat("1", 64)
			for _, path := range []string{missing, "/v2/multi-dc-demo/app/manifests/v2"} { // nor does it know what is there
				for _, method := range []string{http.MethodGet, http.MethodHead} {
					if a := s.do(t, method, path, h); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
						t.Errorf("%s %s: %d %.100s", method, path, a.status, a.body)
					}
				}
			}
			for _, path := range []string{blob, manifests("multi-dc-demo/app")} {
				a := s.do(t, http.MethodGet, path, map[string]string{"Authorization": basicHeader("anybody", "anything")})
				if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
					t.Errorf("%s: %d %.100s", path, a.status, a.body)
				}
			}
		})
	}
}

// A page in Harbor's place does not make a blob of one project another's.
func TestAPageIsNoProofThatARepoHoldsABlob(t *testing.T) {
	s := newSite(t)
	img := image(t, 1000, 1)
	mustPush(t, s.harbor.URL(), "multi-dc-other/app:v1", img, s.admin())
	digest, layer := layerOf(t, img)
	s.harbor.CreateRobot("multi-dc-other", "reader", secret, "pull")
	same(t, "its own project", s.do(t, http.MethodGet, "/v2/multi-dc-other/app/blobs/"+digest, s.as(t, "robot$multi-dc-other+reader", "multi-dc-other/app")), layer)
	path, h := "/v2/multi-dc-demo/app/blobs/"+digest, s.as(t, reader, "multi-dc-demo/app")
	if err := s.harbor.SetFaults(lab.Fault{Name: "html"}); err != nil {
		t.Fatal(err)
	}
	for _, method := range []string{http.MethodHead, http.MethodGet, http.MethodHead} {
		if a := s.do(t, method, path, h); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
			t.Errorf("while there is a page, %s: %d, %d bytes", method, a.status, len(a.body))
		}
	}
	s.harbor.ClearFaults()
	if a := s.do(t, http.MethodGet, path, h); a.status != http.StatusNotFound {
		t.Errorf("afterwards: %d, %d bytes", a.status, len(a.body))
	}
}

func passTo(t *testing.T, target string) http.Handler {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	return httputil.NewSingleHostReverseProxy(u)
}

// A refusal says the same whether or not the edge holds the content because of another
// project: nobody learns what others pull.
func TestARefusalTellsNothingOfOtherProjects(t *testing.T) {
	s := newSite(t)
	img := image(t, 100<<10, 6)
	mustPush(t, s.harbor.URL(), "multi-dc-other/app:v1", img, s.admin())
	s.harbor.CreateRobot("multi-dc-other", "reader", secret, "pull")
	theirs, layer := layerOf(t, img)
	manifest := digestOf(t, img)
	same(t, "its own project", s.do(t, http.MethodGet, "/v2/multi-dc-other/app/blobs/"+theirs, s.as(t, "robot$multi-dc-other+reader", "multi-dc-other/app")), layer)
	s.do(t, http.MethodGet, "/v2/multi-dc-other/app/manifests/v1", s.as(t, "robot$multi-dc-other+reader", "multi-dc-other/app"))
	nothing := digest.FromString("nothing").String()
	eve := s.as(t, reader, "multi-dc-demo/app")
	for _, kind := range []string{"blobs", "manifests"} {
		held := map[string]string{"blobs": theirs, "manifests": manifest}[kind]
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			ask := func(d string) string {
				a := s.do(t, method, "/v2/multi-dc-demo/app/"+kind+"/"+d, eve)
				a.header.Del("Date")
				return fmt.Sprint(a.status, a.header, strings.ReplaceAll(string(a.body), d, "it"))
			}
			if got, want := ask(held), ask(nothing); got != want || !strings.HasPrefix(want, "404") {
				t.Errorf("%s of %s: %s\nfor what nobody has: %s", method, kind, got, want)
			}
		}
	}
}
