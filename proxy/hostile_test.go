package proxy_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/registry"
)

// lyingRegistry says that it has any blob, of the given length, and any manifest:
// one that names the blob.
func lyingRegistry(t *testing.T, digest string, length int) *httptest.Server {
	t.Helper()
	manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":%q,"size":%d}]}`, digest, length, digest, length)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.Contains(r.URL.Path, "/manifests/"):
			w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
			fmt.Fprint(w, manifest)
		case strings.Contains(r.URL.Path, "/blobs/"):
			w.Header().Set("Docker-Content-Digest", digest)
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(make([]byte, length)))
		default:
			w.WriteHeader(http.StatusOK)
		}
	}))
	t.Cleanup(srv.Close)
	return srv
}

// A registry that says it has any digest is no key to what came from elsewhere,
// whether before or after it was asked.
func TestALyingUpstreamIsNoKeyToPrivateContent(t *testing.T) {
	secretLayer := image(t, 300<<10, 7)
	digest, layer := layerOf(t, secretLayer)
	evil := lyingRegistry(t, digest, len(layer))
	var s *site
	s = newSite(t, func(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
		upstream, err := registry.NewSource(registry.SourceConfig{URL: evil.URL})
		if err != nil {
			t.Fatal(err)
		}
		p.Namespaces = append(p.Namespaces, proxy.Namespace{Project: "cache-evil", Kind: proxy.KindCache, Upstream: upstream})
	})
	if err := s.harbor.CreateCache("cache-evil", "docker-registry", evil.URL, true); err != nil {
		t.Fatal(err)
	}
	mustPush(t, s.harbor.URL(), "multi-dc-demo/app:v1", secretLayer, s.admin())
	mustPush(t, s.hub.URL(), "library/app:v1", secretLayer, authn.Anonymous)
	attack := func(when string) {
		t.Helper()
		repo := "cache-evil/x/y"
		h := s.anonymous(t, repo)
		s.do(t, http.MethodGet, manifests(repo), h)
		blob := "/v2/" + repo + "/blobs/" + digest
		for _, header := range []map[string]string{h, {"Authorization": h["Authorization"], "Range": "bytes=0-99"}, {"Authorization": h["Authorization"], "Range": "bytes=-100"}} {
			for range 2 {
				a := s.do(t, http.MethodGet, blob, header)
				if len(a.body) > 20 && bytes.Contains(layer, a.body) {
					t.Fatalf("%s: %d bytes of the secret with %v", when, len(a.body), header["Range"])
				}
			}
		}
	}
	blob := "/v2/multi-dc-demo/app/blobs/" + digest
	attack("before it is held")
	same(t, "the owner", s.do(t, http.MethodGet, blob, s.as(t, reader, "multi-dc-demo/app")), layer)
	attack("after it is held")
	// An honest upstream that has it is believed, by its bytes.
	honest := "cache-dockerhub/library/app"
	h := s.anonymous(t, honest)
	for range 2 {
		same(t, "of an honest upstream", s.do(t, http.MethodGet, "/v2/"+honest+"/blobs/"+digest, h), layer)
	}
	attack("at the end")
	same(t, "the owner again", s.do(t, http.MethodGet, blob, s.as(t, reader, "multi-dc-demo/app")), layer)
}
