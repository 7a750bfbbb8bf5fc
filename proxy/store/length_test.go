package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/opencontainers/go-digest"
)

// stuck returns a source that sends one MiB of a blob of the length that it says, and
// then nothing.
func stuck(size int64) Source {
	return from(func(ctx context.Context, offset, _ int64) (Body, error) {
		return Body{ReadCloser: io.NopCloser(io.MultiReader(bytes.NewReader(make([]byte, 1<<20)), silent(ctx))), Size: size, Offset: offset}, nil
	})
}

// hold puts n blobs of about 1 MiB into the store.
func hold(t *testing.T, s *Store, n int) (all []digest.Digest) {
	t.Helper()
	for i := range n {
		b, d := content(1<<20 + i)
		if err := s.Put(d, b); err != nil {
			t.Fatal(err)
		}
		all = append(all, d)
	}
	return all
}

func heldOf(s *Store, all []digest.Digest) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range all {
		if s.blobs.get(d) != nil {
			n++
		}
	}
	return n
}

// A source that names a length that no blob has is refused in a sentence, on every way to
// a client. What is held stays, nothing stays reserved, and the next source is asked.
func TestALengthThatNoBlobHasIsRefused(t *testing.T) {
	for _, size := range []int64{16<<40 + 1, 1 << 62, math.MaxInt64} {
		for _, budget := range []int64{0, 64 << 20, math.MaxInt64} {
			t.Run(fmt.Sprintf("%d bytes, a budget of %d", size, budget), func(t *testing.T) {
				s := open(t, Config{Size: budget})
				all := hold(t, s, 10)
				_, lie := content(77)
				var liars sync.WaitGroup
				for range 8 {
					liars.Go(func() {
						for _, fetch := range []func(context.Context, digest.Digest, ...Source) (*Reader, error){s.Fetch, s.Stream} {
							if _, err := fetch(t.Context(), lie, stuck(size)); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("test says that the blob has %d bytes", size)) {
								t.Errorf("no refusal: %v", err)
							}
						}
					})
				}
				if liars.Wait(); t.Failed() {
					return
				}
				b, d := content(3 << 20)
				if got, err := io.ReadAll(mustFetch(t, s, d, stuck(size), named("honest", whole(b, new(atomic.Int64), int64(len(b)))))); err != nil || !bytes.Equal(got, b) {
					t.Errorf("from the next source: %d bytes, %v", len(got), err)
				}
				settle(s, d)
				if n := heldOf(s, append(all, d)); n != 11 {
					t.Errorf("%d blobs of 11 are held", n)
				}
				if n := reservedBytes(s); n != 0 {
					t.Errorf("%d bytes are reserved", n)
				}
			})
		}
	}
}

// The length may come late: with the rest of a body that broke off.
func TestALateLengthThatNoBlobHasIsRefused(t *testing.T) {
	b, d := content(3 << 20)
	for name, fill := range map[string]bool{"fill": true, "direct stream": false} {
		s := open(t, Config{Size: 64 << 20, Idle: 2 * time.Second})
		all := hold(t, s, 10)
		first := from(func(_ context.Context, offset, _ int64) (Body, error) {
			return Body{ReadCloser: io.NopCloser(io.MultiReader(bytes.NewReader(b[offset:][:1<<20]), iotest.ErrReader(errors.New("broke off")))), Size: -1, Offset: offset}, nil
		})
		late := named("late", stuck(math.MaxInt64))
		before := named("before", from(func(_ context.Context, offset, _ int64) (Body, error) {
			return Body{ReadCloser: io.NopCloser(bytes.NewReader(b)), Size: int64(len(b)), Offset: math.MinInt64 + offset}, nil
		}))
		sources := []Source{first, late, before, named("honest", whole(b, new(atomic.Int64), int64(len(b))))}
		fetch := s.Stream
		if fill {
			fetch = s.Fetch
		}
		r, err := fetch(t.Context(), d, sources...)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, b) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		r.Close()
		if n := heldOf(s, all); n != 10 {
			t.Errorf("%s: %d blobs of 10 are held", name, n)
		}
	}
}

// A negative length says none.
func TestANegativeLengthSaysNone(t *testing.T) {
	b, d := content(3 << 20)
	for _, said := range []int64{-1, -2, -1 << 62, math.MinInt64} {
		s := open(t, Config{Size: 64 << 20})
		if got, err := io.ReadAll(mustFetch(t, s, d, whole(b, new(atomic.Int64), said))); err != nil || !bytes.Equal(got, b) {
			t.Errorf("%d: %d bytes, %v", said, len(got), err)
		}
	}
}

// Sources name lengths that blobs may have, many at once. What is to come takes at most
// half of the budget from what is held, and what is too large to be kept takes nothing.
func TestClaimsTakeAtMostHalfOfTheBudget(t *testing.T) {
	for _, c := range []struct {
		size int64
		stay int // of 15 blobs of 1 MiB
	}{{1 << 20, 7}, {4 << 20, 7}, {8 << 20, 7}, {8<<20 + 1, 14}, {16 << 20, 14}, {24 << 20, 14}, {1 << 40, 14}, {16 << 40, 14}} {
		t.Run(fmt.Sprint(c.size), func(t *testing.T) {
			s := open(t, Config{Size: 16 << 20})
			all := hold(t, s, 15)
			var claims sync.WaitGroup
			for i := range 30 {
				d := digest.FromString(fmt.Sprint("claimed ", i))
				claims.Go(func() {
					if r, err := s.Fetch(t.Context(), d, stuck(c.size)); err == nil {
						t.Cleanup(func() { r.Close() })
					}
				})
			}
			claims.Wait()
			b, d := content(900 << 10)
			mustFetch(t, s, d, whole(b, new(atomic.Int64), int64(len(b)))).Close()
			settle(s, d)
			if n := heldOf(s, all); n < c.stay {
				t.Errorf("%d blobs of 15 are held", n)
			}
		})
	}
}
