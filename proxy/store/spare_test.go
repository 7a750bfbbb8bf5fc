package store

import (
	"context"
	"errors"
	"io"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/internal/trial"
)

// aged is a store of 1,000 bytes with two blobs of 400 bytes: one was used two days ago, the
// other now.
func aged(t *testing.T) (s *Store, old, used digest.Digest) {
	t.Helper()
	dir := t.TempDir()
	s = open(t, Config{Dir: dir})
	var all []digest.Digest
	for i, n := range []int{400, 401} {
		b, d := content(n)
		if err := s.Put(d, b); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(time.Duration(i-1) * 2 * SpareAfter)
		if err := os.Chtimes(s.path(d), at, at); err != nil {
			t.Fatal(err)
		}
		all = append(all, d)
	}
	s.Close()
	s = open(t, Config{Dir: dir, Size: 1000})
	<-s.scanned
	return s, all[0], all[1]
}

// A blob that nobody has asked for takes free room, then that of what was not used for a day,
// and no other; a client's takes what it needs.
func TestASpareFillEvictsNothingThatIsUsed(t *testing.T) {
	s, old, used := aged(t)
	fetch := func(n int, get func(b []byte, d digest.Digest) (*Reader, error)) error {
		b, d := content(n)
		r, err := get(b, d)
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = io.Copy(io.Discard, r)
		settle(s, d)
		return err
	}
	var calls atomic.Int64
	spare := func(known bool) func(b []byte, d digest.Digest) (*Reader, error) {
		return func(b []byte, d digest.Digest) (*Reader, error) {
			size := int64(-1)
			if known {
				size = int64(len(b))
			}
			return s.FetchSpare(t.Context(), d, whole(b, &calls, size))
		}
	}
	if err := fetch(150, spare(true)); err != nil || !s.Has(old) || !s.Has(used) {
		t.Errorf("there was room: %v, %t, %t", err, s.Has(old), s.Has(used))
	}
	if err := fetch(402, spare(true)); err != nil || s.Has(old) || !s.Has(used) {
		t.Errorf("one was not used: %v, %t, %t", err, s.Has(old), s.Has(used))
	}
	for _, known := range []bool{true, false} {
		if err := fetch(403, spare(known)); !errors.Is(err, ErrNoRoom) || !s.Has(used) {
			t.Errorf("all were used, length known %t: %v, %t", known, err, s.Has(used))
		}
	}
	if err := fetch(600, spare(true)); !errors.Is(err, ErrNoRoom) {
		t.Errorf("it is more than the store keeps: %v", err)
	}
	client := func(b []byte, d digest.Digest) (*Reader, error) {
		return s.Fetch(t.Context(), d, whole(b, &calls, int64(len(b))))
	}
	if err := fetch(403, client); err != nil {
		t.Error(err)
	}
	if _, d := content(403); !s.Has(d) || s.Has(used) {
		t.Errorf("a client's is kept: %t, and what was used before it %t", s.Has(d), s.Has(used))
	}
}

// The blob that came first may be used every day while a later one is not; and where all that is
// unused is too little, it stays.
func TestASpareFillTakesWhatIsUnusedWhereverItIs(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	s := open(t, Config{Dir: dir})
	var all []digest.Digest
	for i, n := range []int{400, 401} {
		b, d := content(n)
		if err := s.Put(d, b); err != nil {
			t.Fatal(err)
		}
		at := now.Add(time.Duration(i-4) * SpareAfter)
		if err := os.Chtimes(s.path(d), at, at); err != nil {
			t.Fatal(err)
		}
		all = append(all, d)
	}
	s.Close()
	s = open(t, Config{Dir: dir, Size: 1000})
	<-s.scanned
	r, err := s.Get(t.Context(), all[0]) // it came first, and is used now
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	var calls atomic.Int64
	spare := func(n int) error {
		b, d := content(n)
		r, err := s.FetchSpare(t.Context(), d, whole(b, &calls, int64(len(b))))
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = io.Copy(io.Discard, r)
		settle(s, d)
		return err
	}
	b, _ := content(150)
	if err := s.Put(digest.FromBytes(b), b); err != nil {
		t.Fatal(err)
	}
	if err := spare(460); !errors.Is(err, ErrNoRoom) || !s.Has(all[1]) {
		t.Errorf("too little is unused: %v, and it stayed %t", err, s.Has(all[1]))
	}
	if err := spare(402); err != nil || s.Has(all[1]) || !s.Has(all[0]) {
		t.Errorf("the second is unused: %v, gone %t, the first stayed %t", err, !s.Has(all[1]), s.Has(all[0]))
	}
}

// To ask whether a blob is there is no use of it.
func TestHasIsNoUse(t *testing.T) {
	s, old, used := aged(t)
	if !s.Has(old) || s.Has("sha256:short") {
		t.Error("it does not know what it has")
	}
	b, d := content(300)
	if err := s.Put(d, b); err != nil {
		t.Fatal(err)
	}
	if s.Has(old) || !s.Has(used) {
		t.Error("it counts as used")
	}
}

// A fill that a client joins is the client's: it takes what room it needs.
func TestAClientJoinsASpareFill(t *testing.T) {
	s, old, used := aged(t)
	b, d := content(499)
	gate, asked := make(chan struct{}), make(chan struct{})
	var calls atomic.Int64
	source := whole(b, &calls, int64(len(b)))
	send := source.Open
	source.Open = func(ctx context.Context, offset, length int64) (Body, error) {
		close(asked)
		<-gate
		return send(ctx, offset, length)
	}
	errs := make(chan error, 2)
	read := func(r *Reader, err error) {
		if err == nil {
			_, err = io.Copy(io.Discard, r)
			r.Close()
		}
		errs <- err
	}
	r, err := s.Get(t.Context(), old)
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	go func() { read(s.FetchSpare(t.Context(), d, source)) }()
	<-asked
	if n := s.Filling(); n != 0 {
		t.Errorf("%d are for clients", n)
	}
	go func() { read(s.Fetch(t.Context(), d, source)) }()
	trial.Until(t, func() error {
		if s.Filling() == 0 {
			return errors.New("no fill is for a client")
		}
		return nil
	})
	close(gate)
	for range 2 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	settle(s, d)
	if !s.Has(d) || s.Has(used) || calls.Load() != 1 {
		t.Errorf("held %t, what was used before it %t, asked %d times", s.Has(d), s.Has(used), calls.Load())
	}
}
