package gslb

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestHysteresis(t *testing.T) {
	cfg := &ProbeConfig{Fall: 2, Rise: 3, Hold: 5 * time.Second}
	now := time.Unix(1e9, 0)
	run := func(h *hysteresis, results string) (ups string, soon int) {
		for _, r := range results {
			now = now.Add(time.Second)
			_, s := h.observe(r == '+', now)
			if s {
				soon++
			}
			switch {
			case !h.known:
				ups += "?"
			case h.up:
				ups += "+"
			default:
				ups += "-"
			}
		}
		return ups, soon
	}
	for _, c := range []struct{ says, results, want string }{
		{"who was never seen is believed at once", "+", "+"},
		{"but not that it is down: that is confirmed", "--", "?-"},
		{"unless it comes", "-+", "?+"},
		{"one lost probe is nothing", "+-+++-+", "+++++++"},
		{"two are", "+--", "++-"},
		{"three in a row and the time that it stays down bring it back", "+--+++++", "++-----+"},
		{"a failure between begins anew", "+--++-+++++", "++------+++"},
	} {
		if got, _ := run(&hysteresis{cfg: cfg}, c.results); got != c.want {
			t.Errorf("%s: %s gives %s, want %s", c.says, c.results, got, c.want)
		}
	}
	if _, soon := run(&hysteresis{cfg: cfg}, "+-+-+--"); soon != 3 {
		t.Errorf("%d probes are confirmed soon, want each first failure", soon)
	}
	// What fails every other probe does not flap, whatever it is taken for now.
	for _, up := range []bool{true, false} {
		h := &hysteresis{cfg: cfg, known: true, up: up, fell: now}
		for i := range 10_000 {
			now = now.Add(time.Second)
			if changed, _ := h.observe(i%2 == 0, now); changed {
				t.Fatalf("up %v: it flaps after %d probes", up, i)
			}
		}
	}
	// And what fails at random comes and goes no more often than its hold allows.
	h, falls := &hysteresis{cfg: cfg}, 0
	r := rand.New(rand.NewPCG(7, 8))
	for range 10_000 {
		now = now.Add(time.Second)
		if changed, _ := h.observe(r.IntN(2) == 0, now); changed && !h.up {
			falls++
		}
	}
	if falls > 10_000/6 {
		t.Errorf("%d falls in 10,000 s", falls)
	}
}
