package proxy_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/go-digest"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy/peer"
)

// send sends a request with a body to the edge, and follows its Location.
func (s *site) send(t *testing.T, method, target string, header map[string]string, body io.Reader) (status int, location string) {
	t.Helper()
	if strings.HasPrefix(target, "/") {
		target = s.edge.URL + target
	}
	req, err := http.NewRequestWithContext(t.Context(), method, target, body)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body) //nolint:errcheck // the status says
	return resp.StatusCode, resp.Header.Get("Location")
}

func withDigest(location string, d digest.Digest) string {
	separator := "?"
	if strings.Contains(location, "?") {
		separator = "&"
	}
	return location + separator + "digest=" + url.QueryEscape(d.String())
}

func (s *site) asWriter(t *testing.T, repo string) map[string]string {
	return map[string]string{"Authorization": "Bearer " + s.token(t, writer, "repository:"+repo+":pull,push")}
}

// What was pushed is in the store when the push ends, however it was uploaded.
func TestWhatIsPushedIsHeld(t *testing.T) {
	s := newSite(t)
	h := s.asWriter(t, "multi-dc-demo/app")
	uploads := "/v2/multi-dc-demo/app/blobs/uploads/"
	content := bytes.Repeat([]byte("a layer that is pushed. "), 300_000)
	for name, upload := range map[string]func(t *testing.T, content []byte, d digest.Digest) int{
		"one PUT": func(t *testing.T, content []byte, d digest.Digest) int {
			_, location := s.send(t, http.MethodPost, uploads, h, nil)
			status, _ := s.send(t, http.MethodPut, withDigest(location, d), h, bytes.NewReader(content))
			return status
		},
		"one PATCH without a length": func(t *testing.T, content []byte, d digest.Digest) int {
			_, location := s.send(t, http.MethodPost, uploads, h, nil)
			_, location = s.send(t, http.MethodPatch, location, h, io.MultiReader(bytes.NewReader(content)))
			status, _ := s.send(t, http.MethodPut, withDigest(location, d), h, nil)
			return status
		},
		"chunks": func(t *testing.T, content []byte, d digest.Digest) int {
			_, location := s.send(t, http.MethodPost, uploads, h, nil)
			half := len(content) / 2
			for _, part := range [][2]int{{0, half}, {half, len(content)}} {
				header := map[string]string{"Authorization": h["Authorization"], "Content-Range": fmt.Sprintf("%d-%d", part[0], part[1]-1), "Content-Type": "application/octet-stream"}
				_, location = s.send(t, http.MethodPatch, location, header, bytes.NewReader(content[part[0]:part[1]]))
			}
			status, _ := s.send(t, http.MethodPut, withDigest(location, d), h, nil)
			return status
		},
	} {
		t.Run(name, func(t *testing.T) {
			content := append([]byte(name), content...)
			d := digest.FromBytes(content)
			if status := upload(t, content, d); status != http.StatusCreated {
				t.Fatalf("%d", status)
			}
			path := "/v2/multi-dc-demo/app/blobs/" + d.String()
			same(t, "the next pull", s.do(t, http.MethodGet, path, h), content)
			if n := s.harbor.Requests()["GET "+path]; n != 0 {
				t.Errorf("Harbor was asked %d times for what was pushed through the edge", n)
			}
		})
	}
	t.Run("a wrong digest", func(t *testing.T) {
		_, location := s.send(t, http.MethodPost, uploads, h, nil)
		d := digest.FromString("something else")
		if status, _ := s.send(t, http.MethodPut, withDigest(location, d), h, bytes.NewReader(content)); status != http.StatusBadRequest {
			t.Errorf("%d", status)
		}
		if a := s.do(t, http.MethodGet, "/v2/multi-dc-demo/app/blobs/"+d.String(), h); a.status != http.StatusNotFound {
			t.Errorf("%d", a.status)
		}
	})
	t.Run("a session that is cancelled", func(t *testing.T) {
		_, location := s.send(t, http.MethodPost, uploads, h, nil)
		_, location = s.send(t, http.MethodPatch, location, h, bytes.NewReader(content))
		if status, _ := s.send(t, http.MethodDelete, location, h, nil); status != http.StatusNoContent {
			t.Errorf("%d", status)
		}
	})
	t.Run("nothing is left over", func(t *testing.T) {
		waitFor(t, "no temporary files", func() bool {
			all, err := os.ReadDir(s.dir + "/tmp")
			return err == nil && len(all) == 0
		})
	})
}

// While the local Harbor takes nothing, a push into a multi-dc- project goes to a
// peer's, whole, and is pulled from there at once; one into another project is 503.
func TestAPushGoesToAPeer(t *testing.T) {
	t.Parallel() // it waits most of the time
	for name, fault := range map[string]lab.Fault{
		"down": {Name: "down"}, "core down": {Name: "core-down"}, "its database is down": {Name: "db-down"},
		"its registry is down": {Name: "registry-down"}, "hanging": {Name: "hang"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRegion(t)
			s, mad1 := r.sites[0], r.sites[1]
			if err := s.harbor.SetFaults(fault); err != nil {
				t.Fatal(err)
			}
			img := image(t, 1<<20, 1)
			raw, _ := img.RawManifest()
			mustPush(t, s.edge.URL, "multi-dc-demo/app:v1", img, basic(writer, secret))
			same(t, "pulled here", s.do(t, http.MethodGet, manifests("multi-dc-demo/app"), s.as(t, reader, "multi-dc-demo/app")), raw)
			same(t, "pulled there", mad1.do(t, http.MethodGet, manifests("multi-dc-demo/app"), mad1.as(t, reader, "multi-dc-demo/app")), raw)
			if n := count(mad1.harbor.Requests(), "PUT "+manifests("multi-dc-demo/app")); n != 1 {
				t.Errorf("mad1's Harbor has taken %d manifests", n)
			}
			if status, _ := s.send(t, http.MethodPost, "/v2/repl-core/app/blobs/uploads/", s.asWriter(t, "repl-core/app"), nil); status == http.StatusAccepted {
				t.Errorf("an upload into repl-core: %d", status)
			}
		})
	}
}

// Robots pull and push, each with a new token every time, while the local
// Harbor goes and comes back: all of it works, and what was pushed is whole.
func TestRobotsAtWorkWhileHarborGoes(t *testing.T) {
	r, _ := outageClock(t)
	s := r.sites[0]
	robots, rounds := 20, 2
	if trial.Full() {
		robots = 50
	}
	base := image(t, 10<<10, 1)
	for _, site := range r.sites {
		mustPush(t, site.harbor.URL(), "multi-dc-demo/base:v1", base, site.admin())
	}
	raw, _ := base.RawManifest()
	digest, layer := layerOf(t, base)
	pull := func() bool {
		status, token := s.askToken(t, reader, secret, "repository:multi-dc-demo/base:pull")
		m := s.do(t, http.MethodGet, manifests("multi-dc-demo/base"), bearer(token))
		b := s.do(t, http.MethodGet, "/v2/multi-dc-demo/base/blobs/"+digest, bearer(token))
		ok := status == http.StatusOK && bytes.Equal(m.body, raw) && bytes.Equal(b.body, layer)
		if !ok {
			t.Errorf("a pull: token %d, manifest %d, blob %d %v", status, m.status, b.status, b.err)
		}
		return ok
	}
	pull()
	images := make([]v1.Image, robots*rounds)
	for i := range images {
		images[i] = image(t, 20<<10, byte(i))
	}
	var all sync.WaitGroup
	var done atomic.Int64
	for robot := range robots {
		all.Go(func() {
			for round := range rounds {
				i := robot*rounds + round
				if !pull() {
					return
				}
				if err := push(t, s.edge.URL, fmt.Sprintf("multi-dc-demo/app%d:v1", i), images[i], basic(writer, secret)); err != nil {
					t.Errorf("a push: %v", err)
					return
				}
				switch n := int(done.Add(1)); n {
				case robots * rounds / 4:
					s.harbor.SetFaults(lab.Fault{Name: "down"}) //nolint:errcheck // a known fault
				case robots * rounds * 3 / 4:
					s.harbor.SetFaults() //nolint:errcheck // none
				}
			}
		})
	}
	all.Wait()
	for i, img := range images {
		want, _ := img.RawManifest()
		repo := fmt.Sprintf("multi-dc-demo/app%d", i)
		h := s.as(t, reader, repo)
		same(t, "a pushed manifest", s.do(t, http.MethodGet, manifests(repo), h), want)
		digest, layer := layerOf(t, img)
		same(t, "a pushed layer", s.do(t, http.MethodGet, "/v2/"+repo+"/blobs/"+digest, h), layer)
	}
}

// A push whose blobs went to a peer ends there, though the local Harbor is back;
// another that begins now is the local Harbor's.
func TestAPushEndsWhereItBegan(t *testing.T) {
	r := newRegion(t)
	s, mad1 := r.sites[0], r.sites[1]
	h := s.asWriter(t, "multi-dc-demo/app")
	if err := s.harbor.SetFaults(lab.Fault{Name: "down"}); err != nil {
		t.Fatal(err)
	}
	config := []byte("{}")
	d := digest.FromBytes(config)
	status, location := s.send(t, http.MethodPost, "/v2/multi-dc-demo/app/blobs/uploads/", h, nil)
	if status != http.StatusAccepted || !strings.HasPrefix(location, s.edge.URL+"/v2/") {
		t.Fatalf("%d %s", status, location)
	}
	if err := s.harbor.SetFaults(); err != nil {
		t.Fatal(err)
	}
	if status, _ := s.send(t, http.MethodGet, location, h, nil); status != http.StatusNoContent {
		t.Errorf("the session's state: %d", status)
	}
	if status, _ := s.send(t, http.MethodPut, withDigest(location, d), h, bytes.NewReader(config)); status != http.StatusCreated {
		t.Fatalf("the blob: %d", status)
	}
	manifest := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":%q,"size":2},"layers":[]}`, d)
	header := map[string]string{"Authorization": h["Authorization"], "Content-Type": "application/vnd.oci.image.manifest.v1+json"}
	if status, _ := s.send(t, http.MethodPut, manifests("multi-dc-demo/app"), header, bytes.NewReader(manifest)); status != http.StatusCreated {
		t.Fatalf("the manifest: %d", status)
	}
	same(t, "there", mad1.do(t, http.MethodGet, manifests("multi-dc-demo/app"), h), manifest)
	waitFor(t, "an upload at the local Harbor", func() bool {
		_, location := s.send(t, http.MethodPost, "/v2/multi-dc-demo/app/blobs/uploads/", h, nil)
		return location != "" && !strings.Contains(location, "_breakwater")
	})
}

// A push whose blobs are in a Harbor that dies before the manifest comes ends at a
// peer's: what went through the edge is taken there.
func TestAPushWhoseHarborDies(t *testing.T) {
	r := newRegion(t)
	s, mad1 := r.sites[0], r.sites[1]
	h := s.asWriter(t, "multi-dc-demo/app")
	config := []byte(`{"architecture":"amd64"}`)
	d := digest.FromBytes(config)
	_, location := s.send(t, http.MethodPost, "/v2/multi-dc-demo/app/blobs/uploads/", h, nil)
	if status, _ := s.send(t, http.MethodPut, withDigest(location, d), h, bytes.NewReader(config)); status != http.StatusCreated {
		t.Fatal(status)
	}
	image := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},"layers":[]}`, d, len(config))
	index := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":%q,"size":%d}]}`, digest.FromBytes(image), len(image))
	put := func(reference, mediaType string, body []byte) int {
		header := map[string]string{"Authorization": h["Authorization"], "Content-Type": mediaType}
		status, _ := s.send(t, http.MethodPut, "/v2/multi-dc-demo/app/manifests/"+reference, header, bytes.NewReader(body))
		return status
	}
	if status := put(digest.FromBytes(image).String(), "application/vnd.oci.image.manifest.v1+json", image); status != http.StatusCreated {
		t.Fatal(status)
	}
	if err := s.harbor.SetFaults(lab.Fault{Name: "down"}); err != nil {
		t.Fatal(err)
	}
	if status := put("v1", "application/vnd.oci.image.index.v1+json", index); status != http.StatusCreated {
		t.Fatalf("the index: %d", status)
	}
	there := mad1.as(t, reader, "multi-dc-demo/app")
	same(t, "the index", mad1.do(t, http.MethodGet, manifests("multi-dc-demo/app"), there), index)
	same(t, "its image", mad1.do(t, http.MethodGet, "/v2/multi-dc-demo/app/manifests/"+digest.FromBytes(image).String(), there), image)
	same(t, "its config", mad1.do(t, http.MethodGet, "/v2/multi-dc-demo/app/blobs/"+d.String(), there), config)
}

// The mark in an upload session's Location is a datacenter's name, and nothing to dial.
func TestAForgedMark(t *testing.T) {
	r := newRegion(t)
	s := r.sites[0]
	h := s.asWriter(t, "multi-dc-demo/app")
	for _, mark := range []string{"nowhere", "http://127.0.0.1:1", "par1", "..", "harbor"} {
		if status, _ := s.send(t, http.MethodPut, "/v2/multi-dc-demo/app/blobs/uploads/a?_breakwater="+url.QueryEscape(mark), h, strings.NewReader("x")); status != http.StatusNotFound {
			t.Errorf("%s: %d", mark, status)
		}
	}
}

// Where no Harbor takes a push, it is 503, and nothing is half-done.
func TestAPushThatNobodyTakes(t *testing.T) {
	r := newRegion(t)
	s := r.sites[0]
	h := s.asWriter(t, "multi-dc-demo/app")
	r.everywhere(t, lab.Fault{Name: "down"})
	a := s.do(t, http.MethodPost, "/v2/multi-dc-demo/app/blobs/uploads/", h)
	if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" || a.code() != "UNAVAILABLE" {
		t.Errorf("%d %v %s", a.status, a.header, a.body)
	}
}

// A refusal by Harbor is nobody else's business: quota, policy, permission.
func TestARefusedPushIsNotTakenElsewhere(t *testing.T) {
	r := newRegion(t)
	s, mad1 := r.sites[0], r.sites[1]
	for name, h := range map[string]map[string]string{"a reader": s.as(t, reader, "multi-dc-demo/app"), "nobody": {}, "a wrong token": bearer("x.y.z")} {
		if status, _ := s.send(t, http.MethodPost, "/v2/multi-dc-demo/app/blobs/uploads/", h, nil); status != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, status)
		}
	}
	if n := count(mad1.harbor.Requests(), "POST "); n != 0 {
		t.Errorf("a peer's Harbor was asked %d times", n)
	}
	if status, _ := s.send(t, http.MethodPost, peer.Path+"/v2/multi-dc-demo/app/blobs/uploads/", s.asWriter(t, "multi-dc-demo/app"), nil); status != http.StatusForbidden {
		t.Errorf("a client as a peer: %d", status)
	}
}

// A manifest is small: one that is not is refused before Harbor hears of it.
func TestAManifestThatIsTooLarge(t *testing.T) {
	s := newSite(t)
	h := s.asWriter(t, "multi-dc-demo/app")
	endless := io.LimitReader(zeros{}, 1<<30)
	if status, _ := s.send(t, http.MethodPut, manifests("multi-dc-demo/app"), h, endless); status != http.StatusRequestEntityTooLarge {
		t.Errorf("%d", status)
	}
	if n := count(s.harbor.Requests(), "PUT "); n != 0 {
		t.Errorf("Harbor was asked %d times", n)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
