package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// item is something to pull: its path on a registry, its digest and its size.
type item struct {
	path, digest string
	size         int64
	part         string // the Range that is asked for, of size bytes; "": all
}

// content is what the origin holds.
type content struct {
	warm, cold, slow, byTag, byDigest item
	pushed                            []byte // the warm blob's bytes, of which new content is made
}

// blob is an uncompressed layer in a file.
type blob struct {
	path string
	hash v1.Hash
	size int64
}

// Digest implements v1.Layer.
func (b *blob) Digest() (v1.Hash, error) { return b.hash, nil }

// DiffID implements v1.Layer.
func (b *blob) DiffID() (v1.Hash, error) { return b.hash, nil }

// Compressed implements v1.Layer.
func (b *blob) Compressed() (io.ReadCloser, error) { return os.Open(b.path) }

// Uncompressed implements v1.Layer.
func (b *blob) Uncompressed() (io.ReadCloser, error) { return os.Open(b.path) }

// Size implements v1.Layer.
func (b *blob) Size() (int64, error) { return b.size, nil }

// MediaType implements v1.Layer.
func (b *blob) MediaType() (types.MediaType, error) { return types.OCIUncompressedLayer, nil }

func (b *blob) item() item {
	return item{path: blobPath(b.hash.String()), digest: b.hash.String(), size: b.size}
}

func blobPath(digest string) string        { return "/v2/" + repo + "/blobs/" + digest }
func manifestPath(reference string) string { return "/v2/" + repo + "/manifests/" + reference }

// writeBlob writes size random bytes into dir, under the name that they are
// served by. The seed makes them the same in every run.
func writeBlob(dir string, seed byte, size int64) (*blob, error) {
	f, err := os.CreateTemp(dir, "blob-")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	hash := sha256.New()
	noise := rand.NewChaCha8([32]byte{seed})
	if _, err := io.Copy(io.MultiWriter(f, hash), io.LimitReader(noise, size)); err != nil {
		return nil, err
	}
	b := &blob{hash: v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(hash.Sum(nil))}, size: size}
	b.path = filepath.Join(dir, b.hash.String())
	if err := os.Chmod(f.Name(), 0o644); err != nil {
		return nil, err
	}
	return b, os.Rename(f.Name(), b.path)
}

// fill makes the content, as files below static and in the origin.
func fill(ctx context.Context, static string, p plan, origin ready) (*content, error) {
	blobs, manifests := filepath.Join(static, filepath.Dir(blobPath("x"))), filepath.Join(static, filepath.Dir(manifestPath("x")))
	for _, dir := range []string{blobs, manifests} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	image := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	image = mutate.ConfigMediaType(image, types.OCIConfigJSON)
	var made []*blob
	for i, size := range []int64{p.Warm, p.Cold, p.Slow} {
		b, err := writeBlob(blobs, byte(i), size)
		if err != nil {
			return nil, fmt.Errorf("make content: %w", err)
		}
		if image, err = mutate.AppendLayers(image, b); err != nil {
			return nil, fmt.Errorf("make content: %w", err)
		}
		made = append(made, b)
	}
	manifest, err := image.RawManifest()
	if err != nil {
		return nil, fmt.Errorf("make content: %w", err)
	}
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256(manifest))
	for _, reference := range []string{tag, digest} {
		if err := os.WriteFile(filepath.Join(manifests, reference), manifest, 0o644); err != nil {
			return nil, err
		}
	}
	login := remote.WithAuth(&authn.Basic{Username: origin.Username, Password: origin.Password})
	for _, url := range []string{origin.URL, origin.Open} {
		ref, err := name.ParseReference(strings.TrimPrefix(url, "http://")+"/"+repo+":"+tag, name.Insecure)
		if err != nil {
			return nil, err
		}
		if err := remote.Write(ref, image, login, remote.WithContext(ctx)); err != nil {
			return nil, fmt.Errorf("push content: %w", err)
		}
	}
	size := int64(len(manifest))
	pushed, err := os.ReadFile(made[0].path)
	if err != nil {
		return nil, err
	}
	return &content{pushed: pushed, warm: made[0].item(), cold: made[1].item(), slow: made[2].item(),
		byTag: item{path: manifestPath(tag), digest: digest, size: size}, byDigest: item{path: manifestPath(digest), digest: digest, size: size}}, nil
}
