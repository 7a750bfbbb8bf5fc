package gslb

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"example.org/breakwater/internal/trial"
)

// A name server that starts anew has one vote: what it said before its last starts counts no
// more, whichever of them was heard, and is not taken when it comes late.
func TestANameServerThatStartsAnewHasOneVote(t *testing.T) {
	f := newFleetOfFiles(t)
	peer, now := newObservers(), time.Now()
	peer.keepFor(time.Minute)
	peer.hear(Observation{Node: "mad1", ID: "mad1's", Seq: 1}, now)
	var before []Observation
	for start := range 4 {
		n := f.run(t)
		trial.Until(t, func() error { // soon, for the next start may not wait
			if s, err := loadState(f.cfg.State, silent); err != nil || len(s.Starts) == 0 || s.Starts[0] != n.observers.id {
				return fmt.Errorf("start %d is not remembered: %v, %v", start, s.Starts, err)
			}
			return nil
		})
		x := n.observation()
		if start != 2 { // nobody heard of the third
			if _, taken := peer.hear(x, now); !taken {
				t.Errorf("start %d is not heard", start)
			}
			all := peer.fresh(now)
			if len(all) != 2 || all[0].ID != "mad1's" || all[1].ID != x.ID {
				t.Errorf("after start %d, heard are %v", start, all)
			}
		}
		for _, old := range before {
			old.Seq += 100
			if _, taken := peer.hear(old, now); taken && start != 2 {
				t.Errorf("after start %d, what was said before it is taken", start)
			}
		}
		before = append(before, x)
		n.stop()
	}
	peer.hear(Observation{Node: "drp1", ID: "drp1's", Seq: 1, Replaces: []string{"mad1's"}}, now)
	if len(peer.fresh(now)) != 3 {
		t.Error("one replaces others of its own datacenter alone")
	}
}

// How many starts are remembered is bounded, and none is remembered twice.
func TestStartsAreBounded(t *testing.T) {
	var starts []string
	for range 3 * maxStarts {
		o := newObservers()
		if starts = o.started(starts); starts[0] != o.id || slices.Contains(o.replaces, o.id) {
			t.Fatalf("%v", starts)
		}
	}
	if len(starts) != maxStarts {
		t.Errorf("%d starts are remembered", len(starts))
	}
}
