// Package content makes what the lab's registries hold: real images, charts and
// signatures that real clients take, built in memory.
package content

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// epoch is when everything here was made, so that it is the same every time.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// Artifact is anything with a manifest and blobs: its bytes are kept as they are.
type Artifact struct {
	manifest  []byte
	mediaType types.MediaType
	blobs     []v1.Layer
}

// RawManifest implements remote.Taggable.
func (a *Artifact) RawManifest() ([]byte, error) { return a.manifest, nil }

// MediaType implements the part of remote.Taggable that names the Content-Type.
func (a *Artifact) MediaType() (types.MediaType, error) { return a.mediaType, nil }

// Digest is the manifest's.
func (a *Artifact) Digest() (v1.Hash, error) {
	h, _, err := v1.SHA256(bytes.NewReader(a.manifest))
	return h, err
}

// descriptor is how manifests here name their blobs.
type descriptor struct {
	MediaType   types.MediaType   `json:"mediaType"`
	Digest      v1.Hash           `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

func describe(l v1.Layer) (d descriptor, err error) {
	if d.Digest, err = l.Digest(); err != nil {
		return d, err
	}
	if d.Size, err = l.Size(); err != nil {
		return d, err
	}
	d.MediaType, err = l.MediaType()
	return d, err
}

// manifest is an OCI image manifest; helm leaves mediaType out.
type manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     types.MediaType   `json:"mediaType,omitempty"`
	ArtifactType  string            `json:"artifactType,omitempty"`
	Config        descriptor        `json:"config"`
	Layers        []descriptor      `json:"layers"`
	Subject       *descriptor       `json:"subject,omitempty"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// newArtifact puts the descriptors of config and layers into the manifest.
func newArtifact(m manifest, config v1.Layer, layers ...v1.Layer) (*Artifact, error) {
	a := &Artifact{mediaType: types.OCIManifestSchema1, blobs: append([]v1.Layer{config}, layers...)}
	m.SchemaVersion, m.Layers = 2, make([]descriptor, len(layers))
	var err error
	if m.Config, err = describe(config); err != nil {
		return nil, err
	}
	for i, l := range layers {
		d, err := describe(l)
		if err != nil {
			return nil, err
		}
		m.Layers[i].MediaType, m.Layers[i].Digest, m.Layers[i].Size = d.MediaType, d.Digest, d.Size
		if annotated, ok := l.(annotatedLayer); ok {
			m.Layers[i].Annotations = annotated.annotations
		}
	}
	a.manifest, err = json.Marshal(m)
	return a, err
}

type annotatedLayer struct {
	v1.Layer
	annotations map[string]string
}

// file is one file of a layer.
type file struct {
	path    string
	mode    int64
	content []byte
	link    string // a symbolic link's target
}

// layerOf packs files into an uncompressed layer.
func layerOf(files ...file) (v1.Layer, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: f.path, Mode: f.mode, Size: int64(len(f.content)), ModTime: epoch, Format: tar.FormatPAX}
		if f.link != "" {
			h.Typeflag, h.Linkname = tar.TypeSymlink, f.link
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return static.NewLayer(b.Bytes(), types.OCIUncompressedLayer), nil
}

// imageOf makes an OCI image for the platform.
func imageOf(p v1.Platform, entrypoint []string, layers ...v1.Layer) (v1.Image, error) {
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for _, l := range layers {
		var err error
		if img, err = mutate.Append(img, mutate.Addendum{Layer: l, MediaType: types.OCIUncompressedLayer, History: v1.History{Created: v1.Time{Time: epoch}, CreatedBy: "breakwater lab"}}); err != nil {
			return nil, err
		}
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.Architecture, config.OS, config.Variant, config.Created = p.Architecture, p.OS, p.Variant, v1.Time{Time: epoch}
	config.Config.Entrypoint, config.Config.Env = entrypoint, []string{"PATH=/usr/bin:/bin"}
	return mutate.ConfigFile(img, config)
}

// Target is a registry that content is pushed to.
type Target struct {
	Host               string // host:port, plain HTTP
	Username, Password string // "" anonymously
}

// Push puts what (a v1.Image, v1.ImageIndex or *Artifact) into the registry
// under repo:tag, or repo@digest.
func (t Target) Push(ctx context.Context, reference string, what any) error {
	ref, err := name.ParseReference(t.Host+"/"+reference, name.Insecure)
	if err != nil {
		return err
	}
	auth := authn.Anonymous
	if t.Username != "" {
		auth = authn.FromConfig(authn.AuthConfig{Username: t.Username, Password: t.Password})
	}
	options := []remote.Option{remote.WithContext(ctx), remote.WithAuth(auth), remote.WithTransport(http.DefaultTransport)}
	switch what := what.(type) {
	case v1.Image:
		err = remote.Write(ref, what, options...)
	case v1.ImageIndex:
		err = remote.WriteIndex(ref, what, options...)
	case *Artifact:
		for _, blob := range what.blobs {
			if annotated, ok := blob.(annotatedLayer); ok {
				blob = annotated.Layer
			}
			if err = remote.WriteLayer(ref.Context(), blob, options...); err != nil {
				break
			}
		}
		if err == nil {
			err = remote.Put(ref, what, options...)
		}
	default:
		err = fmt.Errorf("%T is nothing to push", what)
	}
	if err != nil {
		return fmt.Errorf("push %s: %w", reference, err)
	}
	return nil
}
