package store

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// One connection of several that hardly brings anything does not hold up the whole.
func TestAPartThatDrips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Config{})
		defer s.Close()
		b, d := content(256 << 20)
		src := &far{b: b, late: 20 * time.Millisecond, rate: 16 << 20, parts: 8, does: func(n int, _, _ int64, a *answer) error {
			if n == 3 {
				a.rate = 40 << 10 // enough not to count as silent
			}
			return nil
		}}
		if took := comes(t, s, b, mustFetch(t, s, d, src.source("far"))); took > 15*time.Second {
			t.Errorf("it took %v", took)
		}
		settle(s, d)
		if n := src.sent.Load(); n > int64(len(b))*102/100 {
			t.Errorf("%d bytes were sent for %d", n, len(b))
		}
	})
}

// A source that sends nothing for a while is not asked for more: what it lacks is no connection.
func TestALeadThatStandsStillIsNotJoined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Config{})
		defer s.Close()
		b, d := content(64 << 20)
		src := &far{b: b, late: 20 * time.Millisecond, rate: 64 << 20, parts: 8, does: func(n int, _, _ int64, a *answer) error {
			if n == 1 {
				a.bytes, a.end = nil, nil
			}
			return nil
		}}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() {
			if r, err := s.Fetch(ctx, d, src.source("far")); err == nil {
				r.Close()
			}
		}()
		time.Sleep(10 * time.Second)
		if n := src.asked.Load(); n != 1 {
			t.Errorf("it was asked %d times", n)
		}
	})
}

// What several read as it came is no sweep's: it is kept as what was pulled again.
func TestAFillThatSeveralReadCountsAsUsed(t *testing.T) {
	for readers, want := range map[int]bool{1: false, 2: true} {
		synctest.Test(t, func(t *testing.T) {
			s := open(t, Config{})
			defer s.Close()
			b, d := content(1 << 20)
			src := (&far{b: b, rate: 1 << 20}).source("far")
			var all []*Reader
			for range readers {
				all = append(all, mustFetch(t, s, d, src))
			}
			for _, r := range all {
				comes(t, s, b, r)
			}
			settle(s, d)
			s.mu.Lock()
			defer s.mu.Unlock()
			if used := s.blobs.get(d).used; used != want {
				t.Errorf("read by %d: used %v", readers, used)
			}
		})
	}
}

// What comes of a blob that is verified first is seen, though nothing of it can be read.
func TestWhatComesIsSeenBeforeItCanBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Config{})
		defer s.Close()
		b, d := content(4 << 20)
		src := &far{b: b, rate: 1 << 20, does: func(_ int, _, _ int64, a *answer) error { a.Doubtful = true; return nil }}
		if n := s.Coming(d); n != 0 {
			t.Errorf("%d bytes of nothing", n)
		}
		done := make(chan error)
		go func() {
			r, err := s.FetchSpare(t.Context(), d, src.source("far"))
			if err == nil {
				r.Close()
			}
			done <- err
		}()
		time.Sleep(2500 * time.Millisecond)
		if n := s.Coming(d); n < 2<<20 || n > 3<<20 {
			t.Errorf("%d bytes after two and a half seconds", n)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
