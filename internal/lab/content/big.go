package content

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// noiseLayer is an uncompressed layer of one file of pseudo-random bytes. It is
// made anew each time it is read, so that it takes no memory.
type noiseLayer struct {
	name string
	size int64
	once func() (v1.Hash, error)
}

func newNoiseLayer(name string, size int64) *noiseLayer {
	l := &noiseLayer{name: name, size: size}
	l.once = sync.OnceValues(func() (v1.Hash, error) {
		h := sha256.New()
		if err := l.write(h); err != nil {
			return v1.Hash{}, err
		}
		return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.Sum(nil))}, nil
	})
	return l
}

func (l *noiseLayer) write(w io.Writer) error {
	t := tar.NewWriter(w)
	if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: l.name, Mode: 0o444, Size: l.size, ModTime: epoch}); err != nil {
		return err
	}
	var seed [32]byte
	copy(seed[:], l.name)
	if _, err := io.CopyN(t, rand.NewChaCha8(seed), l.size); err != nil {
		return err
	}
	return t.Close()
}

// Digest implements v1.Layer.
func (l *noiseLayer) Digest() (v1.Hash, error) { return l.once() }

// DiffID implements v1.Layer.
func (l *noiseLayer) DiffID() (v1.Hash, error) { return l.once() }

// Compressed implements v1.Layer: noise does not compress.
func (l *noiseLayer) Compressed() (io.ReadCloser, error) { return l.Uncompressed() }

// Uncompressed implements v1.Layer.
func (l *noiseLayer) Uncompressed() (io.ReadCloser, error) {
	r, w := io.Pipe()
	go func() { w.CloseWithError(l.write(w)) }()
	return r, nil
}

// Size implements v1.Layer: the file, its header, and the tar's end.
func (l *noiseLayer) Size() (int64, error) {
	const block = 512
	return block + (l.size+block-1)/block*block + 2*block, nil
}

// MediaType implements v1.Layer.
func (l *noiseLayer) MediaType() (types.MediaType, error) { return types.OCIUncompressedLayer, nil }

// Big is an image of layers of pseudo-random bytes, of these sizes in MiB.
func Big(platform v1.Platform, mebibytes ...int64) (v1.Image, error) {
	var layers []v1.Layer
	for i, n := range mebibytes {
		layers = append(layers, newNoiseLayer(fmt.Sprintf("noise-%d", i), n<<20))
	}
	return imageOf(platform, []string{"/noise-0"}, layers...)
}
