package proxy_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/golang-jwt/jwt/v5"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"example.org/breakwater/internal/lab"
)

// heard is what reached a Harbor, in order.
type heard struct {
	mu       sync.Mutex
	requests []*http.Request
}

func (h *heard) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.requests = nil
}

// of is what was heard of a repo's content.
func (h *heard) of(repo string) (all []*http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.requests {
		if strings.HasPrefix(r.URL.Path, "/v2/"+repo+"/") {
			all = append(all, r)
		}
	}
	return all
}

// twins is an edge before a Harbor whose every word is heard, in which several repos
// have the same image, so that nothing but the repo's name tells them apart.
type twins struct {
	*site
	*heard
	img                    v1.Image
	manifest, layer        string // digests
	rawManifest, rawLayers []byte
}

func newTwins(t *testing.T, repos ...string) *twins {
	t.Helper()
	w := &twins{site: newSite(t), heard: &heard{}, img: image(t, 100<<10, 1)}
	for _, repo := range repos {
		mustPush(t, w.harbor.URL(), repo+":v1", w.img, w.admin())
	}
	w.manifest = digestOf(t, w.img)
	w.rawManifest, _ = w.img.RawManifest()
	w.layer, w.rawLayers = layerOf(t, w.img)
	harbor := passTo(t, w.harbor.URL())
	front := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		w.requests = append(w.requests, r.Clone(t.Context()))
		w.mu.Unlock()
		harbor.ServeHTTP(rw, r)
	}))
	t.Cleanup(front.Close)
	w.edge = startEdge(t, front.URL, t.TempDir(), &w.harbor.Key().PublicKey)
	return w
}

// paths are the image's manifest and layer in a repo.
func (w *twins) paths(repo string) (manifest, layer string) {
	return "/v2/" + repo + "/manifests/" + w.manifest, "/v2/" + repo + "/blobs/" + w.layer
}

// gives pulls the image through a repo, whole.
func (w *twins) gives(t *testing.T, repo string, h map[string]string) {
	t.Helper()
	manifest, layer := w.paths(repo)
	same(t, manifest, w.do(t, http.MethodGet, manifest, h), w.rawManifest)
	same(t, layer, w.do(t, http.MethodGet, layer, h), w.rawLayers)
}

// refuses asks for the image through a repo, and gets none of it.
func (w *twins) refuses(t *testing.T, repo string, h map[string]string, status int) {
	t.Helper()
	manifest, layer := w.paths(repo)
	for _, path := range []string{manifest, layer} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			if a := w.do(t, method, path, h); a.status != status || strings.Contains(string(a.body), string(w.rawManifest)) {
				t.Errorf("%s %s: %d, want %d", method, path, a.status, status)
			}
		}
	}
}

// What the edge asks Harbor for in a managed project it asks as its own robot, under the
// name of the repo that the client named, and shows nothing of the client's.
func TestHarborIsAskedUnderTheReposOwnName(t *testing.T) {
	w := newTwins(t, "multi-dc-demo/a", "multi-dc-demo/b")
	for _, repo := range []string{"multi-dc-demo/a", "multi-dc-demo/b"} { // what b has is held because of a
		w.forget()
		h := w.as(t, reader, repo)
		w.gives(t, repo, h)
		own := w.of(repo)
		if len(own) == 0 {
			t.Errorf("Harbor was not asked for %s", repo)
		}
		for _, r := range own {
			token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
			var claims jwt.RegisteredClaims
			if !ok && r.Header.Get("Authorization") == "" {
				continue // it asks who may, first
			}
			if _, _, err := jwt.NewParser().ParseUnverified(token, &claims); err != nil || claims.Subject != "robot$edge" {
				t.Errorf("%s %s as %q (%v)", r.Method, r.URL.Path, claims.Subject, err)
			}
			if got := r.Header.Get("Accept-Encoding"); got != "identity" {
				t.Errorf("%s %s with the encoding %q", r.Method, r.URL.Path, got)
			}
		}
		for _, other := range []string{"multi-dc-demo/a", "multi-dc-demo/b"} {
			if other != repo && len(w.of(other)) > 0 {
				t.Errorf("Harbor was asked for %s, and the client wanted %s", other, repo)
			}
		}
	}
}

// A digest that one repo has is not had through another: not by who may read that other
// repo, nor by who may read the first.
func TestADigestIsNoKey(t *testing.T) {
	w := newTwins(t, "multi-dc-demo/a", "multi-dc-other/a")
	mustPush(t, w.harbor.URL(), "multi-dc-demo/c:v1", image(t, 1000, 2), w.admin())
	w.harbor.CreateRobot("multi-dc-other", "reader", secret, "pull")
	ofA, ofC, ofOther := w.as(t, reader, "multi-dc-demo/a"), w.as(t, reader, "multi-dc-demo/c"), w.as(t, "robot$multi-dc-other+reader", "multi-dc-other/a")
	w.gives(t, "multi-dc-demo/a", ofA)
	w.forget()
	w.refuses(t, "multi-dc-demo/c", ofC, http.StatusNotFound)
	if len(w.of("multi-dc-demo/c")) == 0 || len(w.of("multi-dc-demo/a")) > 0 {
		t.Error("who knows is Harbor, and of the repo that was named")
	}
	w.forget()
	w.refuses(t, "multi-dc-demo/c", ofA, http.StatusUnauthorized)
	w.refuses(t, "multi-dc-other/a", ofA, http.StatusUnauthorized)
	w.refuses(t, "multi-dc-demo/a", ofOther, http.StatusUnauthorized)
	w.refuses(t, "multi-dc-demo/a", nil, http.StatusUnauthorized)
	w.refuses(t, "plain/a", ofA, http.StatusUnauthorized)
	for _, repo := range []string{"multi-dc-demo/a", "multi-dc-demo/c", "multi-dc-other/a"} {
		for _, r := range w.of(repo) {
			t.Errorf("Harbor was asked %s %s for somebody who may not know", r.Method, r.URL.Path)
		}
	}
	w.gives(t, "multi-dc-other/a", ofOther)
}

// What Harbor's policy refuses in one repo it may allow in another, and each is told what
// is said of it.
func TestAPolicyIsOfOneRepo(t *testing.T) {
	w := newTwins(t, "multi-dc-demo/a", "multi-dc-demo/b")
	a, b := w.as(t, reader, "multi-dc-demo/a"), w.as(t, reader, "multi-dc-demo/b")
	w.gives(t, "multi-dc-demo/a", a)
	w.gives(t, "multi-dc-demo/b", b)
	if err := w.harbor.SetFaults(lab.Fault{Name: "412", Path: "/v2/multi-dc-demo/a/manifests/"}); err != nil {
		t.Fatal(err)
	}
	manifest, _ := w.paths("multi-dc-demo/a")
	for range 2 {
		if got := w.do(t, http.MethodGet, manifest, a); got.status != http.StatusPreconditionFailed {
			t.Errorf("%d", got.status)
		}
		w.gives(t, "multi-dc-demo/b", b)
	}
}

// A delete in one repo leaves the others what they have, while Harbor is there and when
// it is gone; what was deleted is not had through its twin's copy.
func TestADeleteIsOfOneRepo(t *testing.T) {
	w := newTwins(t, "multi-dc-demo/a", "multi-dc-demo/b")
	a, b := w.as(t, reader, "multi-dc-demo/a"), w.as(t, reader, "multi-dc-demo/b")
	w.gives(t, "multi-dc-demo/a", a)
	w.gives(t, "multi-dc-demo/b", b)
	manifest, _ := w.paths("multi-dc-demo/a")
	username, password := w.harbor.Admin()
	if got := w.do(t, http.MethodDelete, manifest, map[string]string{"Authorization": basicHeader(username, password)}); got.status != http.StatusAccepted {
		t.Fatalf("%d %s", got.status, got.body)
	}
	for _, gone := range []bool{false, true} {
		if gone {
			if err := w.harbor.SetFaults(lab.Fault{Name: "down"}); err != nil {
				t.Fatal(err)
			}
		}
		if got := w.do(t, http.MethodGet, manifest, a); got.status != http.StatusNotFound {
			t.Errorf("Harbor gone %t: the digest: %d", gone, got.status)
		}
		tag := http.StatusNotFound
		if gone {
			tag = http.StatusServiceUnavailable // of which this edge saw no push: it may be another's by now
		}
		if got := w.do(t, http.MethodGet, manifests("multi-dc-demo/a"), a); got.status != tag {
			t.Errorf("Harbor gone %t: the tag: %d", gone, got.status)
		}
		w.gives(t, "multi-dc-demo/b", b)
		same(t, "b's tag", w.do(t, http.MethodGet, manifests("multi-dc-demo/b"), b), w.rawManifest)
	}
}

// A plain project's content is Harbor's to give, each time, to the client's own
// credentials, though the edge holds the same digests for a managed one.
func TestAPlainTwinIsHarborsAlone(t *testing.T) {
	w := newTwins(t, "multi-dc-demo/a", "plain/a")
	w.gives(t, "multi-dc-demo/a", w.as(t, reader, "multi-dc-demo/a"))
	username, password := w.harbor.Admin()
	h := map[string]string{"Authorization": basicHeader(username, password)}
	for range 2 {
		w.forget()
		w.gives(t, "plain/a", h)
		if len(w.of("plain/a")) != 2 || len(w.of("multi-dc-demo/a")) > 0 {
			t.Errorf("Harbor heard %d requests of it, %d of its twin", len(w.of("plain/a")), len(w.of("multi-dc-demo/a")))
		}
		for _, r := range w.of("plain/a") {
			if r.Header.Get("Authorization") != h["Authorization"] {
				t.Errorf("%s %s with other credentials", r.Method, r.URL.Path)
			}
		}
	}
}
