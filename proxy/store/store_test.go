package store

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

func TestCrashLeavesAStoreThatOpens(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	b, d := content(100)
	if err := s.Put(d, b); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a second process: %v", err)
	}
	s.Close()
	half := filepath.Join(dir, "tmp", "fill-123")
	if err := os.WriteFile(half, b[:50], 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, Config{Dir: dir})
	if _, err := os.Stat(half); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("half a fill is still there: %v", err)
	}
	r, err := s.Get(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, _ := io.ReadAll(r); !bytes.Equal(got, b) {
		t.Error("another content after the restart")
	}
}

func TestATruncatedFileIsNotServed(t *testing.T) {
	s := open(t, Config{})
	b, d := content(100)
	if err := s.Put(d, b); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(s.path(d), 50); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), d); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	r := mustFetch(t, s, d, whole(b, new(atomic.Int64), -1))
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, b) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestPutRefusesWrongContent(t *testing.T) {
	s := open(t, Config{})
	_, d := content(10)
	if err := s.Put(d, []byte("x")); !errors.Is(err, ErrWrongContent) {
		t.Error(err)
	}
	if err := s.Put("sha256:../../x", nil); err == nil {
		t.Error("a digest that is a path was taken")
	}
	empty(t, s)
}

// The blobs that were used last before a restart are evicted last after it.
func TestTheOrderOfUseSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	var all []digest.Digest
	for i, n := range []int{400, 401, 402} {
		b, d := content(n)
		if err := s.Put(d, b); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(time.Duration(i-10) * 24 * time.Hour)
		if err := os.Chtimes(s.path(d), at, at); err != nil {
			t.Fatal(err)
		}
		all = append(all, d)
	}
	s.Close()
	s = open(t, Config{Dir: dir})
	<-s.scanned
	r, err := s.Get(t.Context(), all[0]) // the use of the oldest is written to disk
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	s.Close()
	s = open(t, Config{Dir: dir, Size: 900})
	<-s.scanned
	for i, want := range []bool{true, false, true} {
		r, err := s.Get(t.Context(), all[i])
		if (err == nil) != want {
			t.Errorf("blob %d: %v", i, err)
		}
		if err == nil {
			r.Close()
		}
	}
}

func TestABlobIsServedBeforeTheStoreIsListed(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	b, d := content(1000)
	if err := s.Put(d, b); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = open(t, Config{Dir: dir})
	<-s.scanned
	s.mu.Lock() // as if the scan had not ended
	s.blobs, s.scanned = newIndex(), make(chan struct{})
	s.mu.Unlock()
	r, err := s.Get(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, b) || s.blobs.bytes != 1000 {
		t.Errorf("%d bytes, %v; %d listed", len(got), err, s.blobs.bytes)
	}
	if _, other := content(1001); s.blobs.get(other) != nil {
		t.Error("a blob that is not there is listed")
	}
}
