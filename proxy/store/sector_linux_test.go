package store

import (
	"bytes"
	"io"
	"sync/atomic"
	"testing"

	"example.org/breakwater/internal/trial"
)

// A disk that cannot read a part of a blob any more says so to whoever reads it: the blob is
// dropped, and the next request fetches it again.
func TestABlobThatCannotBeReadToItsEndIsDropped(t *testing.T) {
	b, d := content(40 << 20)
	get := func(t *testing.T, s *Store) *Reader {
		t.Helper()
		r, err := s.Get(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		return r
	}
	breaks := func(t *testing.T, r io.Reader) {
		t.Helper()
		if n, err := io.Copy(io.Discard, r); err == nil || n >= int64(len(b)) {
			t.Errorf("%d bytes are read, %v", n, err)
		}
	}
	for name, c := range map[string]struct {
		restart bool
		read    func(*testing.T, *Store)
	}{
		"by the kernel": {false, func(t *testing.T, s *Store) {
			r := get(t, s)
			file, held := r.File()
			if !held {
				t.Fatal("it is not held")
			}
			breaks(t, file)
			r.Broke()
		}},
		"by a reader":         {false, func(t *testing.T, s *Store) { breaks(t, get(t, s)) }},
		"first after a start": {true, func(t *testing.T, s *Store) { breaks(t, get(t, s)) }},
		"a range after a start": {true, func(t *testing.T, s *Store) {
			r := get(t, s)
			if _, err := r.Seek(1, io.SeekStart); err != nil {
				t.Fatal(err)
			}
			breaks(t, r)
		}},
		"by the scrub": {false, func(_ *testing.T, s *Store) { s.scrubOne() }},
	} {
		t.Run(name, func(t *testing.T) {
			dir, tear, mend := trial.TornDisk(t)
			s := open(t, Config{Dir: dir, Scrub: -1})
			if err := s.Put(d, b); err != nil {
				t.Fatal(err)
			}
			if c.restart {
				s.Close()
				s = open(t, Config{Dir: dir, Scrub: -1})
			}
			tear(s.path(d))
			if c.read(t, s); s.Has(d) {
				t.Fatal("it is held still")
			}
			mend()
			r := mustFetch(t, s, d, whole(b, new(atomic.Int64), -1))
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, b) {
				t.Errorf("fetched again: %d bytes, %v", len(got), err)
			}
		})
	}
}

// A client that leaves in the middle of a blob is no fault of the disk.
func TestABlobWhoseClientLeftIsKept(t *testing.T) {
	b, d := content(1 << 20)
	s := open(t, Config{})
	if err := s.Put(d, b); err != nil {
		t.Fatal(err)
	}
	r, err := s.Get(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	file, _ := r.File()
	if _, err := io.CopyN(io.Discard, file, 1000); err != nil {
		t.Fatal(err)
	}
	if r.Broke(); !s.Has(d) {
		t.Error("it was dropped")
	}
}
