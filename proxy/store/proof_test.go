package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/internal/trial"
)

// A changed blob is not trusted after its first reader left early. That also holds where
// the first use is written to disk, which changes the file's time.
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

// A blob whose last use was more than an hour ago is proven only once after a start.
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
	trial.Until(t, func() error { // nobody waits for that
		if info, err := os.Stat(s.path(d)); err != nil || time.Since(info.ModTime()) > markEvery {
			return fmt.Errorf("its use was not written down: %v, %v", info.ModTime(), err)
		}
		return nil
	})
	r, err := s.Get(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, bare := r.File(); !bare {
		t.Error("to write its use down made it unproven")
	}
}

// Ranges of a blob share one proof. So a layer that a client pulls in parallel is hashed
// once, and not once for each range.
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
	turn <- struct{}{} // another reader proves the blob
	cancel()
	if _, err := left.Read(make([]byte, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("a client that left waits: %v", err)
	}
	<-turn
	if err := readers[0].direct.proof.whole(); err != nil {
		t.Fatal(err)
	}
	for _, r := range readers[1:] {
		r.direct.proof.file.Close() // none of these readers can hash the file
		if err := r.direct.proof.whole(); err != nil {
			t.Errorf("hashed again: %v", err)
		}
	}
}

// Twenty held blobs get a flipped bit, and are read by the same process or after a
// restart, whole or by a range. None is read to its end, and all are fetched again.
func TestRottenBlobsAreNotServed(t *testing.T) {
	for _, restart := range []bool{false, true} {
		for _, ranged := range []bool{false, true} {
			dir := t.TempDir()
			s := open(t, Config{Dir: dir})
			type rotten struct {
				content []byte
				digest  digest.Digest
			}
			var all []rotten
			for i := range 20 {
				b, d := content(1 + i*i*1000)
				if err := s.Put(d, b); err != nil {
					t.Fatal(err)
				}
				all = append(all, rotten{b, d})
				flipped := bytes.Clone(b)
				flipped[len(b)/2] ^= 1
				if err := os.WriteFile(s.path(d), flipped, 0o600); err != nil {
					t.Fatal(err)
				}
				later := time.Now().Add(time.Duration(i+1) * time.Second)
				if err := os.Chtimes(s.path(d), later, later); err != nil {
					t.Fatal(err)
				}
			}
			if restart {
				s.Close()
				s = open(t, Config{Dir: dir})
			}
			for _, blob := range all {
				r, err := s.Get(t.Context(), blob.digest)
				if err != nil {
					t.Fatal(err)
				}
				if ranged {
					if _, err := r.Seek(int64(len(blob.content)-1), io.SeekStart); err != nil {
						t.Fatal(err)
					}
				}
				got, err := io.ReadAll(r)
				r.Close()
				if !errors.Is(err, ErrWrongContent) || len(got) > max(0, len(blob.content)-holdBack) {
					t.Errorf("restart %v, range %v: %d of %d bytes served, %v", restart, ranged, len(got), len(blob.content), err)
				}
				again := mustFetch(t, s, blob.digest, whole(blob.content, new(atomic.Int64), -1))
				if got, err := io.ReadAll(again); err != nil || !bytes.Equal(got, blob.content) {
					t.Errorf("fetched again: %d bytes, %v", len(got), err)
				}
			}
		}
	}
}

// An unchanged blob is proven once after a start, and then handed over as a file.
func TestABlobIsProvenOnceAfterAStart(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	b, d := content(300 << 10)
	if err := s.Put(d, b); err != nil {
		t.Fatal(err)
	}
	file := func(want bool, from int64) {
		t.Helper()
		r, err := s.Get(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if _, bare := r.File(); bare != want {
			t.Errorf("handed over as a file: %v", bare)
		}
		if _, err := r.Seek(from, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, b[from:]) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	}
	file(true, 0)
	for _, from := range []int64{0, 1000} {
		s.Close()
		s = open(t, Config{Dir: dir})
		file(false, from)
		file(true, from)
	}
}

func TestTheScrubFindsWhatNobodyReads(t *testing.T) {
	s := open(t, Config{Scrub: time.Millisecond})
	b, d := content(1000)
	if err := s.Put(d, b); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(s.path(d))
	if err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if err := os.WriteFile(s.path(d), b, 0o600); err != nil {
		t.Fatal(err)
	}
	// With its old time the change is visible to the scrub only. The scrub may have
	// dropped the blob already.
	if err := os.Chtimes(s.path(d), info.ModTime(), info.ModTime()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for {
		r, err := s.Get(t.Context(), d)
		if errors.Is(err, fs.ErrNotExist) {
			break // if this never happens, the test's deadline ends the loop
		}
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
	}
}
