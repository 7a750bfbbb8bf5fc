package store

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"testing"
	"time"
)

// A changed blob is no more trusted because its first reader left early, also
// when the time had come to write its use down.
func TestAChangedBlobIsNotTrustedBeforeItIsProven(t *testing.T) {
	s := open(t, Config{Scrub: -1})
	b, d := content(300 << 10)
	if err := s.Put(d, b); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-2 * markEvery)
	flipped := bytes.Clone(b)
	flipped[0] ^= 1
	if err := os.WriteFile(s.path(d), flipped, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(s.path(d), old, old); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.blobs.get(d).marked = uint32(old.Unix())
	s.mu.Unlock()
	for range 2 {
		r, err := s.Get(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		if _, bare := r.File(); bare {
			t.Error("handed over as it is")
		}
		r.Close() // without having read it
	}
}

// A blob that was used before the last hour is proven once after a start too.
func TestABlobOfYesterdayIsProvenOnceAfterAStart(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir, Scrub: -1})
	b, d := content(300 << 10)
	if err := s.Put(d, b); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-24 * time.Hour)
	if err := os.Chtimes(s.path(d), old, old); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = open(t, Config{Dir: dir, Scrub: -1})
	<-s.scanned
	for i := range 3 {
		r, err := s.Get(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		if _, bare := r.File(); bare != (i > 0) {
			t.Errorf("use %d: handed over as it is: %v", i+1, bare)
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			t.Error(err)
		}
		r.Close()
	}
	if info, err := os.Stat(s.path(d)); err != nil || time.Since(info.ModTime()) > markEvery {
		t.Errorf("its use was not written down: %v, %v", info.ModTime(), err)
	}
}

// Ranges of a blob that is to be proven share one proof: a client that takes a
// layer in parallel does not have it hashed once for each part.
func TestParallelRangesShareOneProof(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir, Scrub: -1})
	b, d := content(1 << 20)
	if err := s.Put(d, b); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = open(t, Config{Dir: dir, Scrub: -1})
	var readers []*Reader
	for range 16 {
		r, err := s.Get(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if _, err := r.Seek(1000, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		readers = append(readers, r)
	}
	gone, cancel := context.WithCancel(t.Context())
	left, err := s.Get(gone, d)
	if err != nil {
		t.Fatal(err)
	}
	defer left.Close()
	if _, err := left.Seek(1000, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	turn := readers[0].direct.proof.turn.taken
	turn <- struct{}{} // somebody proves it
	cancel()
	if _, err := left.Read(make([]byte, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("a client that left waits: %v", err)
	}
	<-turn
	if err := readers[0].direct.proof.whole(); err != nil {
		t.Fatal(err)
	}
	for _, r := range readers[1:] {
		r.direct.proof.file.Close() // none of these has anything to hash
		if err := r.direct.proof.whole(); err != nil {
			t.Errorf("hashed again: %v", err)
		}
	}
}
