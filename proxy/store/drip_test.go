package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
)

// dripping returns a source that sends n bytes of b per connection. Then it ends the body
// with end, but for the last one, which ends as it should. It counts how often it is
// asked.
func dripping(b []byte, n int, end error, calls *atomic.Int64) Source {
	return from(func(_ context.Context, offset, _ int64) (Body, error) {
		calls.Add(1)
		part, end := b[offset:min(offset+int64(n), int64(len(b)))], end
		if offset+int64(n) >= int64(len(b)) {
			end = io.EOF
		}
		return Body{ReadCloser: io.NopCloser(io.MultiReader(bytes.NewReader(part), iotest.ErrReader(end))), Size: int64(len(b)), Offset: offset}, nil
	})
}

// ways are the ways from sources to a reader.
func ways(s *Store) map[string]func(context.Context, digest.Digest, ...Source) (*Reader, error) {
	return map[string]func(context.Context, digest.Digest, ...Source) (*Reader, error){"fill": s.Fetch, "direct stream": s.Stream}
}

// Sources that send next to nothing per connection are given up after a few connections,
// whether they reset or end them, alone or together.
func TestSourcesThatDripAreGivenUp(t *testing.T) {
	b, d := content(1 << 20)
	for _, n := range []int{0, 1, 10, leastProgress - 1} {
		for _, end := range []error{errors.New("reset"), io.EOF} {
			for sources := range 4 {
				for _, way := range []string{"fill", "direct stream"} {
					t.Run(fmt.Sprintf("%d bytes, %v, %d sources, %s", n, end, sources+1, way), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) {
							s := open(t, Config{})
							defer s.Close()
							var calls atomic.Int64
							var all []Source
							for i := range sources + 1 {
								all = append(all, named(fmt.Sprint(i), dripping(b, n, end, &calls)))
							}
							begun := time.Now()
							r, err := ways(s)[way](t.Context(), d, all...)
							if err == nil {
								defer r.Close()
								_, err = io.Copy(io.Discard, r)
							}
							settle(s, d)
							if took := time.Since(begun); err == nil || took > 30*time.Second {
								t.Errorf("%v after %v", err, took)
							}
							if n, most := calls.Load(), int64(4*(sources+1)); n > most {
								t.Errorf("%d connections; %d are enough", n, most)
							}
						})
					})
				}
			}
		}
	}
}

// A window from a source that drips is given up too, and its reader waits for the fill.
func TestAWindowThatDripsIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Config{})
		defer s.Close()
		b, d := content(64 << 20)
		gate := make(chan struct{})
		var windows atomic.Int64
		r := mustFetch(t, s, d, from(func(ctx context.Context, offset, length int64) (Body, error) {
			if length < 0 {
				return gated(b, 1<<20, gate, new(atomic.Int64)).Open(ctx, offset, length)
			}
			return dripping(b, 1, errors.New("reset"), &windows).Open(ctx, offset, length)
		}))
		time.AfterFunc(time.Minute, func() { close(gate) })
		at := int64(len(b) - 100_000)
		if _, err := r.Seek(at, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, b[at:]) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		if n := windows.Load(); n > 4 {
			t.Errorf("%d connections", n)
		}
	})
}

// A source that breaks off again and again, but each time after real progress, is resumed
// to the blob's end. It is not asked more than five times a second.
func TestProgressIsResumedHoweverOftenItBreaksOff(t *testing.T) {
	b, d := content(4 << 20)
	for sources := range 3 {
		for _, way := range []string{"fill", "direct stream"} {
			t.Run(fmt.Sprintf("%d sources, %s", sources+1, way), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := open(t, Config{})
					defer s.Close()
					var calls atomic.Int64
					var all []Source
					for i := range sources + 1 {
						all = append(all, named(fmt.Sprint(i), dripping(b, leastProgress, errors.New("reset"), &calls)))
					}
					begun := time.Now()
					r, err := ways(s)[way](t.Context(), d, all...)
					if err != nil {
						t.Fatal(err)
					}
					defer r.Close()
					if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, b) {
						t.Errorf("%d bytes, %v", len(got), err)
					}
					if n := calls.Load(); n != int64(len(b)/leastProgress) {
						t.Errorf("%d connections", n)
					}
					if rate := float64(calls.Load()) / time.Since(begun).Seconds() / float64(sources+1); rate > 5.5 {
						t.Errorf("each source was asked %.1f times a second", rate)
					}
				})
			})
		}
	}
}

// An honest source makes up for one that drips: the blob comes, and the one that drips is
// asked a few times only.
func TestADripDoesNotSpoilAnHonestSource(t *testing.T) {
	b, d := content(7 << 20)
	for _, way := range []string{"fill", "direct stream"} {
		synctest.Test(t, func(t *testing.T) {
			s := open(t, Config{})
			defer s.Close()
			var drips, parts atomic.Int64
			reset := errors.New("reset")
			r, err := ways(s)[way](t.Context(), d, named("drip", dripping(b, 1, reset, &drips)), named("honest", dripping(b, 100<<10, reset, &parts)))
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, b) {
				t.Errorf("%s: %d bytes, %v", way, len(got), err)
			}
			if n := drips.Load(); n > 4 {
				t.Errorf("%s: the source that drips was asked %d times", way, n)
			}
		})
	}
}

// A source that was down for a while is asked again in a long transfer.
func TestASourceThatWasGivenUpIsAskedAgainLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Config{})
		defer s.Close()
		b, d := content(20 << 20)
		var asked, parts atomic.Int64
		down := named("down at first", from(func(_ context.Context, offset, _ int64) (Body, error) {
			if asked.Add(1); parts.Load() < 10 {
				return Body{}, errors.New("not now")
			}
			return Body{ReadCloser: io.NopCloser(bytes.NewReader(b[offset:])), Size: int64(len(b)), Offset: offset}, nil
		}))
		breaks := named("breaks off", dripping(b, 1<<20, errors.New("reset"), &parts))
		if got, err := io.ReadAll(mustFetch(t, s, d, down, breaks)); err != nil || !bytes.Equal(got, b) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		if n := parts.Load(); n >= 20 {
			t.Errorf("all came from the source that breaks off, in %d parts", n)
		}
	})
}
