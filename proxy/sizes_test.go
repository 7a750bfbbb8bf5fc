package proxy_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/registry"
)

const imageType = "application/vnd.oci.image.manifest.v1+json"

// described is a descriptor of content.
func described(mediaType, content string) string {
	return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, mediaType, digest.FromString(content), len(content))
}

// imageOf is a manifest of an image, padded to a length in bytes; 0: as it comes.
func imageOf(config string, layers []string, length int) string {
	var all []string
	for _, layer := range layers {
		all = append(all, described("application/vnd.oci.image.layer.v1.tar", layer))
	}
	manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s],"annotations":{"x":""}}`,
		imageType, described("application/vnd.oci.image.config.v1+json", config), strings.Join(all, ","))
	if length > len(manifest) {
		manifest = strings.Replace(manifest, `"x":""`, `"x":"`+strings.Repeat("x", length-len(manifest))+`"`, 1)
	}
	return manifest
}

// What is as small or as large as it may be is pushed and pulled: warm, by an edge that holds
// nothing, by a peer, and while Harbor is down. What is larger is refused in a sentence.
func TestContentOfEverySize(t *testing.T) {
	r := newRegion(t)
	s, mad1 := r.sites[0], r.sites[1]
	h := s.asWriter(t, "multi-dc-demo/app")
	blob := func(content string) {
		t.Helper()
		_, location := s.send(t, http.MethodPost, "/v2/multi-dc-demo/app/blobs/uploads/", h, nil)
		if status, _ := s.send(t, http.MethodPut, withDigest(location, digest.FromString(content)), h, strings.NewReader(content)); status != http.StatusCreated {
			t.Fatalf("a blob of %d bytes: %d", len(content), status)
		}
	}
	const config = `{"architecture":"amd64","os":"linux"}`
	blob(config)
	parts := []string{"", "a", strings.Repeat("b", 200<<10)}
	var children []string
	for _, layer := range parts {
		blob(layer)
	}
	for _, child := range []string{imageOf(config, parts, 0), imageOf(config, nil, 0)} {
		if a := s.pushManifest(t, digest.FromString(child).String(), imageType, child); a.status != http.StatusCreated {
			t.Fatalf("a child: %d %s", a.status, a.body)
		}
		children = append(children, slices.Repeat([]string{described(imageType, child)}, 250)...)
	}
	manifests := map[string]struct{ mediaType, body string }{
		"many-layers":  {imageType, imageOf(config, slices.Repeat(parts, 100), 0)},
		"many-images":  {registry.TypeIndex, fmt.Sprintf(`{"schemaVersion":2,"manifests":[%s]}`, strings.Join(children, ","))},
		"largest":      {imageType, imageOf(config, nil, registry.MaxManifest)},
		"without-type": {registry.TypeIndex, `{"schemaVersion":2,"manifests":[]}`},
	}
	for tag, m := range manifests {
		if a := s.pushManifest(t, tag, m.mediaType, m.body); a.status != http.StatusCreated || len(m.body) > registry.MaxManifest {
			t.Fatalf("%s: %d %s", tag, a.status, a.body)
		}
	}
	if a := s.pushManifest(t, "larger", imageType, imageOf(config, nil, registry.MaxManifest+1)); a.status != http.StatusRequestEntityTooLarge || a.code() != "MANIFEST_INVALID" || !strings.Contains(string(a.body), "larger than 4194304 bytes") {
		t.Errorf("a byte more: %d %s", a.status, a.body)
	}
	cold := &site{harbor: s.harbor, edge: startEdge(t, s.harbor.URL(), t.TempDir(), &s.harbor.Key().PublicKey)}
	pulls := func(when string, s *site) {
		t.Helper()
		h := s.as(t, reader, "multi-dc-demo/app")
		for tag, m := range manifests {
			for _, reference := range []string{tag, digest.FromString(m.body).String()} {
				a := s.do(t, http.MethodGet, "/v2/multi-dc-demo/app/manifests/"+reference, h)
				same(t, when+", "+tag, a, []byte(m.body))
				if got := a.header.Get("Content-Type"); got != m.mediaType {
					t.Errorf("%s, %s is called %q", when, tag, got)
				}
			}
		}
		for _, layer := range parts {
			at := "/v2/multi-dc-demo/app/blobs/" + digest.FromString(layer).String()
			if a := s.do(t, http.MethodHead, at, h); a.status != http.StatusOK || a.header.Get("Content-Length") != fmt.Sprint(len(layer)) {
				t.Errorf("%s, a layer of %d bytes, HEAD: %d %v", when, len(layer), a.status, a.header)
			}
			same(t, fmt.Sprintf("%s, a layer of %d bytes", when, len(layer)), s.do(t, http.MethodGet, at, h), []byte(layer))
		}
	}
	pulls("as pushed", s)
	pulls("cold", cold)
	pulls("warm", cold)
	pulls("by a peer", mad1)
	if err := s.harbor.SetFaults(lab.Fault{Name: "500", Path: "/v2/.*/(manifests|blobs)/"}); err != nil {
		t.Fatal(err)
	}
	pulls("while Harbor cannot say", cold)
}
