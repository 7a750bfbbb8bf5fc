package proxy_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/warm"
	"example.org/breakwater/registry"
)

// quick has an edge do soon what it does beside requests.
func quick(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
	p.Pace = 20 * time.Millisecond
	p.Freshness = func(namespace.Kind) time.Duration { return time.Minute }
}

// operate sends a question to an edge's admin listener.
func (s *site) operate(t *testing.T, method, path string, question, answer any) int {
	t.Helper()
	mux := http.NewServeMux()
	s.edge.Config.Handler.(*proxy.Handler).Admin(mux)
	text, err := json.Marshal(question)
	if err != nil {
		t.Fatal(err)
	}
	rec := httptest.NewRecorder()
	mux.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), method, path, bytes.NewReader(text)))
	if rec.Code == http.StatusOK {
		if err := json.Unmarshal(rec.Body.Bytes(), answer); err != nil {
			t.Fatal(err)
		}
	}
	return rec.Code
}

// warmed waits until no edge that is asked has anything to warm, and returns how all stand.
func (s *site) warmed(t *testing.T, query string) (all []warm.Status) {
	t.Helper()
	trial.Until(t, func() error {
		if code := s.operate(t, http.MethodGet, "/warm?"+query, nil, &all); code != http.StatusOK {
			return fmt.Errorf("status %d", code)
		}
		for _, status := range all {
			if status.Pending > 0 || status.Error != "" {
				return fmt.Errorf("%+v", status)
			}
		}
		return nil
	})
	return all
}

// pushIndex pushes an image of two platforms, amd64 and arm64, and cosign's signature of it.
func pushIndex(t *testing.T, registryURL, repo, tag string, seed byte) (index v1.ImageIndex, images map[string]v1.Image) {
	t.Helper()
	index, images = v1.ImageIndex(empty.Index), map[string]v1.Image{}
	for i, architecture := range []string{"amd64", "arm64"} {
		img := image(t, 100_000, seed+byte(i))
		images[architecture] = img
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: architecture}}})
	}
	ref, err := name.ParseReference(strings.TrimPrefix(registryURL, "http://")+"/"+repo+":"+tag, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(ref, index); err != nil {
		t.Fatal(err)
	}
	d, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	images["signature"] = image(t, 500, seed+2)
	mustPush(t, registryURL, repo+":"+strings.Replace(d.String(), ":", "-", 1)+".sig", images["signature"], authn.Anonymous)
	return index, images
}

// What a fleet warms its upstream sends once, and each edge has it: a first pull is a hit.
func TestAFleetWarmsOnce(t *testing.T) {
	r := newRegion(t, quick)
	s := r.sites[0]
	var references, blobs []string
	const images = 5
	for i := range images {
		repo := fmt.Sprintf("library/app%d", i)
		_, all := pushIndex(t, r.hub.URL(), repo, "v1", byte(10*i))
		references = append(references, "harbor.example.org/cache-dockerhub/"+strings.TrimPrefix(repo, "library/")+":v1")
		for what, img := range all {
			if what != "arm64" {
				d, _ := layerOf(t, img)
				blobs = append(blobs, "/v2/"+repo+"/blobs/"+d)
			}
		}
		d, _ := layerOf(t, all["arm64"])
		blobs = append(blobs, "-/v2/"+repo+"/blobs/"+d)
	}
	r.hub.ResetRequests()
	var taken warm.Taken
	if code := s.operate(t, http.MethodPost, "/warm", warm.Order{References: references, Platforms: []string{"linux/amd64"}, Fleet: true}, &taken); code != http.StatusOK || len(taken.Images) != images || taken.Refused != nil {
		t.Fatalf("%d: %+v", code, taken)
	}
	for _, status := range s.warmed(t, "fleet=true") {
		if c := status.Kinds[warm.Operator]; c.Warmed != images || c.Failed != 0 {
			t.Errorf("%s: %+v", status.Datacenter, status)
		}
	}
	sent := r.hub.Requests()
	for _, path := range blobs {
		path, other := strings.CutPrefix(path, "-")
		if n := sent["GET "+path]; n != 1 && !other || n != 0 && other {
			t.Errorf("the upstream was asked %d times for %s", n, path)
		}
	}
	r.hub.ResetRequests()
	for _, site := range r.sites {
		for i := range images {
			repo := fmt.Sprintf("cache-dockerhub/library/app%d", i)
			a := site.do(t, http.MethodGet, "/v2/"+repo+"/manifests/v1", site.anonymous(t, repo))
			if a.status != http.StatusOK || !strings.HasPrefix(a.header.Get("Cache-Status"), "breakwater; hit") {
				t.Errorf("%s: %d, %s", repo, a.status, a.header.Get("Cache-Status"))
			}
		}
		for _, path := range blobs {
			path, other := strings.CutPrefix(path, "-")
			if other {
				continue
			}
			path = strings.Replace(path, "/v2/", "/v2/cache-dockerhub/", 1)
			a := site.do(t, http.MethodGet, path, site.anonymous(t, strings.TrimPrefix(path[:strings.Index(path, "/blobs/")], "/v2/")))
			if a.status != http.StatusOK || !strings.HasPrefix(a.header.Get("Cache-Status"), "breakwater; hit") {
				t.Errorf("%s: %d, %s", path, a.status, a.header.Get("Cache-Status"))
			}
		}
	}
	if again := r.hub.Requests(); len(again) != 0 {
		t.Errorf("the upstream was asked for what is warm: %v", again)
	}
}
