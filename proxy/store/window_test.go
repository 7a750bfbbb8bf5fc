package store

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

// counting returns a source of b that counts the bytes that windows ask for. It sends the
// fill the first bytes, and the rest when the gate opens.
func counting(b []byte, first int, gate <-chan struct{}, windows *atomic.Int64) Source {
	return from(func(ctx context.Context, offset, length int64) (Body, error) {
		if length >= 0 {
			windows.Add(length)
			return Body{ReadCloser: io.NopCloser(bytes.NewReader(b[offset : offset+length])), Size: int64(len(b)), Offset: offset}, nil
		}
		return gated(b, first, gate, new(atomic.Int64)).Open(ctx, offset, length)
	})
}

// The end of a layer is read at once, as lazy pullers need it, before most of the layer
// has arrived.
func TestARangeFarAheadDoesNotWait(t *testing.T) {
	s := open(t, Config{})
	b, d := content(64 << 20)
	var windows atomic.Int64
	gate := make(chan struct{})
	r := mustFetch(t, s, d, counting(b, 1<<20, gate, &windows))
	at := int64(len(b) - 100_000)
	if _, err := r.Seek(at, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, b[at:]) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if n := windows.Load(); n != 100_000 {
		t.Errorf("%d bytes were asked for", n)
	}
	close(gate)
}

// Windows ask for at most a tenth of the blob, however many readers seek in it.
func TestWindowsAreASmallPartOfTheBlob(t *testing.T) {
	s := open(t, Config{})
	b, d := content(64 << 20)
	var windows atomic.Int64
	gate := make(chan struct{})
	src := counting(b, 1<<20, gate, &windows)
	var all sync.WaitGroup
	var entered sync.WaitGroup
	for range 50 {
		entered.Add(1)
		all.Go(func() {
			r, err := s.Fetch(t.Context(), d, src)
			entered.Done()
			if err != nil {
				t.Error(err)
				return
			}
			defer r.Close()
			for range 5 {
				at := rand.Int64N(int64(len(b)))
				n := min(rand.Int64N(3<<20), int64(len(b))-at)
				if _, err := r.Seek(at, io.SeekStart); err != nil {
					t.Error(err)
				}
				got := make([]byte, n)
				if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, b[at:at+n]) {
					t.Errorf("%d bytes at %d: %v", n, at, err)
				}
			}
		})
	}
	entered.Wait()
	close(gate)
	all.Wait()
	if n := windows.Load(); n > int64(len(b)/10) {
		t.Errorf("%d bytes were asked for beside the blob's %d", n, len(b))
	}
}

// Readers wait for the fill where a source ignores ranges. The source is not asked for
// the whole blob for each window.
func TestASourceThatIgnoresRangesIsWaitedFor(t *testing.T) {
	s := open(t, Config{})
	b, d := content(16 << 20)
	var asked atomic.Int64
	gate, tried := make(chan struct{}), make(chan struct{})
	r := mustFetch(t, s, d, from(func(ctx context.Context, offset, length int64) (Body, error) {
		asked.Add(1)
		if length >= 0 {
			defer close(tried)
			return Body{ReadCloser: io.NopCloser(bytes.NewReader(b)), Size: int64(len(b)), Offset: 0}, nil
		}
		return gated(b, 1<<20, gate, new(atomic.Int64)).Open(ctx, offset, length)
	}))
	go func() {
		<-tried
		close(gate)
	}()
	at := int64(15 << 20)
	if _, err := r.Seek(at, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, b[at:]) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if n := asked.Load(); n != 2 {
		t.Errorf("the source was asked %d times", n)
	}
}
