package gslb

import (
	"context"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A witness that answers again is no sign that a node is the last one before the others can have
// been heard; one that answers at the start is, and one that does not is none at once.
func TestAWitnessThatAnswersAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var answers atomic.Bool
		answers.Store(true)
		changed := make(chan struct{}, 1)
		w := newWitnesses(addrs("192.0.2.9"))
		w.asks = func(context.Context, []netip.Addr) bool { return answers.Load() }
		cfg := ProbeConfig{Interval: time.Second, Timeout: 500 * time.Millisecond, Confirm: 200 * time.Millisecond, Fall: 2}
		go w.watch(t.Context(), cfg, slog.New(slog.DiscardHandler), func() { changed <- struct{}{} })
		<-w.first
		if w.unreached() {
			t.Error("the first round counts for nothing")
		}
		answers.Store(false)
		begun := time.Now()
		if <-changed; !w.unreached() || time.Since(begun) > cfg.Interval {
			t.Errorf("unreached %v after %v", w.unreached(), time.Since(begun))
		}
		answers.Store(true)
		time.Sleep(cfg.Interval + cfg.Silence() - time.Millisecond)
		synctest.Wait()
		if !w.unreached() {
			t.Error("it counts before the others can have been heard")
		}
		answers.Store(false) // for a round: it begins anew
		time.Sleep(cfg.Interval)
		answers.Store(true)
		begun = time.Now()
		if <-changed; w.unreached() || time.Since(begun) < cfg.Silence() || time.Since(begun) > cfg.Silence()+2*cfg.Interval {
			t.Errorf("unreached %v after %v", w.unreached(), time.Since(begun))
		}
	})
}
