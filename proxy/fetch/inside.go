package fetch

import (
	"encoding/json"
	"errors"
	"mime"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/store"
	"example.org/breakwater/registry"
)

// manifestType returns the media type to serve the manifest with: the source's word,
// because helm's manifests have none inside. An answer that is no manifest at all, as
// a login page with status 200, is an error.
func manifestType(contentType string, body []byte) (string, error) {
	var inside struct {
		SchemaVersion int    `json:"schemaVersion"`
		MediaType     string `json:"mediaType"`
	}
	if err := json.Unmarshal(body, &inside); err != nil || inside.SchemaVersion == 0 && inside.MediaType == "" {
		return "", errors.New("the source sent something that is no manifest")
	}
	switch t := MediaType(contentType); {
	case t != "" && t != "application/octet-stream" && t != "text/plain" && t != "text/html":
		return t, nil
	case inside.MediaType != "":
		return inside.MediaType, nil
	}
	return "application/vnd.oci.image.manifest.v1+json", nil
}

// MediaType is the media type of a Content-Type, without its parameters; "" for none, or
// one that is longer than any (RFC 6838, section 4.2).
func MediaType(contentType string) string {
	t, _, err := mime.ParseMediaType(contentType)
	if err != nil || len(t) > 255 {
		return ""
	}
	return t
}

// named is a blob as a repo's manifests name it.
type named struct {
	repo   string
	digest digest.Digest
}

// learnSizes remembers how long the manifest says its blobs are: Harbor sends a layer
// that it is fetching itself without a length. It is this repo's word, and is not
// believed of another's.
func (f *Fetcher) learnSizes(repo string, manifest []byte) {
	type descriptor struct {
		Digest string `json:"digest"`
		Size   int64  `json:"size"`
	}
	var inside struct {
		Config descriptor   `json:"config"`
		Layers []descriptor `json:"layers"`
	}
	if json.Unmarshal(manifest, &inside) != nil {
		return
	}
	for _, blob := range append(inside.Layers, inside.Config) {
		if d, err := registry.ParseDigest(blob.Digest); err == nil && blob.Size > 0 && blob.Size <= store.MaxBlob {
			f.sizes.Add(named{repo, d}, blob.Size)
		}
	}
}
