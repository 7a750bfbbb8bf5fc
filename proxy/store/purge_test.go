package store

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
)

// What is purged while it arrives goes on for those who read it, and is not kept, neither in
// the index nor on disk.
func TestWhatIsPurgedWhileItArrivesIsNotKept(t *testing.T) {
	s := open(t, Config{Size: 64 << 20, Scrub: -1})
	<-s.scanned
	b, d := content(4 << 20)
	gate := make(chan struct{})
	r := mustFetch(t, s, d, gated(b, 1<<20, gate, new(atomic.Int64)))
	s.mu.Lock()
	f := s.fills[d]
	s.mu.Unlock()
	if was, err := s.Purge(d); !was || err != nil {
		t.Errorf("%v, %v", was, err)
	}
	close(gate)
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, b) {
		t.Errorf("its reader: %d bytes, %v", len(got), err)
	}
	<-f.ended
	isGone(t, s, d)
	r.Close()
	noReservation(t, s)
}

// The same while the disk takes it: the purge has the last word.
func TestWhatIsPurgedWhileItIsCommittedIsNotKept(t *testing.T) {
	s := open(t, Config{Scrub: -1})
	<-s.scanned
	b, d := content(1 << 20)
	s.mu.Lock()
	s.removing[d]++ // a commit waits for the removal of what was there before
	s.mu.Unlock()
	r := mustFetch(t, s, d, whole(b, new(atomic.Int64), int64(len(b))))
	s.mu.Lock()
	f := s.fills[d]
	s.mu.Unlock()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, b) { // all of it has come: it is being committed
		t.Errorf("its reader: %d bytes, %v", len(got), err)
	}
	if was, err := s.Purge(d); !was || err != nil {
		t.Errorf("%v, %v", was, err)
	}
	s.hasRemoved(d)
	<-f.ended
	isGone(t, s, d)
	r.Close()
	noReservation(t, s)
}

func isGone(t *testing.T, s *Store, d digest.Digest) {
	t.Helper()
	if _, err := s.Get(t.Context(), d); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is held: %v", err)
	}
	if _, err := os.Lstat(s.path(d)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("its file is there: %v", err)
	}
}

// noReservation fails the test where something reserves room that takes none any more.
func noReservation(t *testing.T, s *Store) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reserved != 0 || s.beside != 0 || len(s.pins) > 0 {
		t.Errorf("%d bytes are reserved, %d of them for what is not kept; %d pins", s.reserved, s.beside, len(s.pins))
	}
}

// Whatever ends a fill, the room that it reserved is there again when its readers have left.
func TestAFillThatFailsGivesItsRoomBack(t *testing.T) {
	b, d := content(8 << 20)
	wrong := bytes.Clone(b)
	wrong[7<<20] ^= 1
	for name, src := range map[string]Source{
		"wrong content":           whole(wrong, new(atomic.Int64), int64(len(b))),
		"too short":               whole(b[:1<<20], new(atomic.Int64), -1),
		"too long":                whole(append(bytes.Clone(b), 0), new(atomic.Int64), int64(len(b))),
		"of no length, and wrong": whole(wrong, new(atomic.Int64), -1),
		"broken off": from(func(_ context.Context, offset, _ int64) (Body, error) {
			if offset > 0 {
				return Body{}, errors.New("no more")
			}
			return Body{ReadCloser: io.NopCloser(bytes.NewReader(b[:2<<20])), Size: int64(len(b)), Offset: 0}, nil
		}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t, Config{Size: 64 << 20, Scrub: -1})
			<-s.scanned
			r, err := s.Fetch(t.Context(), d, src)
			if err != nil {
				t.Fatal(err)
			}
			s.mu.Lock()
			f := s.fills[d]
			s.mu.Unlock()
			if _, err := io.Copy(io.Discard, r); err == nil {
				t.Error("it does not fail")
			}
			r.Close()
			if f != nil {
				<-f.ended
			}
			s.Close()
			noReservation(t, s)
		})
	}
}
