package fetch

import (
	"encoding/json"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/store"
	"example.org/breakwater/registry"
)

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
