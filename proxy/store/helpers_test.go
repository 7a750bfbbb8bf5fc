package store

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
)

func open(t *testing.T, cfg Config) *Store {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func content(n int) ([]byte, digest.Digest) {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)}).Read(b)
	return b, digest.FromBytes(b)
}

// from returns a source with this Open.
func from(open func(ctx context.Context, offset, length int64) (Body, error)) Source {
	return Source{Name: "test", Open: open}
}

// whole returns a source that sends b and says that the blob's length is size. It counts
// how often it is asked.
func whole(b []byte, calls *atomic.Int64, size int64) Source {
	return from(func(_ context.Context, offset, _ int64) (Body, error) {
		calls.Add(1)
		return Body{ReadCloser: io.NopCloser(bytes.NewReader(b[offset:])), Size: size, Offset: offset}, nil
	})
}

// gated returns a source that sends the first bytes at once, and the rest when the gate
// opens. It counts how often it is asked.
func gated(b []byte, first int, gate <-chan struct{}, calls *atomic.Int64) Source {
	return from(func(ctx context.Context, _, _ int64) (Body, error) {
		calls.Add(1)
		rest := readerFunc(func(p []byte) (int, error) {
			select {
			case <-gate:
				return 0, io.EOF
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		})
		body := io.MultiReader(bytes.NewReader(b[:first]), rest, bytes.NewReader(b[first:]))
		return Body{ReadCloser: io.NopCloser(body), Size: int64(len(b)), Offset: 0}, nil
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// settle waits until the fill of d, if there is one, has ended.
func settle(s *Store, d digest.Digest) {
	s.mu.Lock()
	f := s.fills[d]
	s.mu.Unlock()
	if f != nil {
		<-f.ended
	}
}

// empty fails the test when the store has a blob or a temporary file.
func empty(t *testing.T, s *Store) {
	t.Helper()
	filepath.WalkDir(s.cfg.Dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && e.Name() != "lock" && e.Name() != "format" {
			t.Errorf("left behind: %s", path)
		}
		return err
	})
}

func mustFetch(t *testing.T, s *Store, d digest.Digest, src ...Source) *Reader {
	t.Helper()
	r, err := s.Fetch(t.Context(), d, src...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

type flusher struct{ http.ResponseWriter }

func (w flusher) Write(b []byte) (int, error) {
	n, err := w.ResponseWriter.Write(b)
	w.ResponseWriter.(http.Flusher).Flush()
	return n, err
}

// sampledOut is for cases of which each takes seconds with the race detector: a short run has a third
// of them, other ones each time.
func sampledOut() bool { return testing.Short() && rand.IntN(3) > 0 }
