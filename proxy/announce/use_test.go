package announce_test

import (
	"slices"
	"testing"
	"time"

	"example.org/breakwater/proxy/source"
)

// A peer that is added hears from the log what it has not heard; one that is left out hears
// nothing more, and nobody waits for it; one that stays misses nothing.
func TestPeersAreReplacedWhileTheyAreTold(t *testing.T) {
	in(t, func(t *testing.T) {
		f := newFleet(t, "par1", "mad1", "drp1")
		par1 := f.edges["par1"]
		f.set("mad1", "drp1", link{down: true}) // else mad1 tells it of what par1 does not
		pass(time.Second)
		par1.announcer.Use([]*source.Source{par1.peers["mad1"]})
		par1.push("v1", "one")
		pass(time.Minute)
		for name, hears := range map[string]bool{"mad1": true, "drp1": false} {
			if got := f.edges[name].get("v1"); got.Known() != hears {
				t.Errorf("%s, without drp1: %v", name, got)
			}
		}
		f.batches("par1", "drp1")
		if got := par1.announcer.Acknowledged(t.Context()); !slices.Equal(got, []string{"mad1"}) {
			t.Errorf("acknowledged by %v", got)
		}
		pass(10 * time.Minute)
		if said := f.batches("par1", "drp1"); len(said) != 0 {
			t.Errorf("drp1 is left out, and told %d batches", len(said))
		}
		if !par1.announcer.Complete() {
			t.Error("the fleet is not complete without a peer that was left out")
		}
		f.set("par1", "drp1", link{down: true})
		par1.announcer.Use([]*source.Source{par1.peers["drp1"], par1.peers["mad1"]})
		pass(time.Minute)
		r := par1.push("v2", "two")
		f.set("par1", "drp1", link{})
		pass(time.Minute)
		for _, tag := range []string{"v1", "v2"} {
			if got := f.edges["drp1"].get(tag); !got.Known() {
				t.Errorf("drp1 was added, and does not know %s", tag)
			}
		}
		if got := f.edges["mad1"].get("v2"); !same(got, r) {
			t.Errorf("mad1 stayed, and has %v, want %v", got, r)
		}
		if got := par1.announcer.Acknowledged(t.Context()); !slices.Equal(got, []string{"drp1", "mad1"}) {
			t.Errorf("acknowledged by %v", got)
		}
	})
}

// Who waits for a peer's acknowledgement does not when the peer is left out.
func TestNobodyWaitsForAPeerThatIsLeftOut(t *testing.T) {
	in(t, func(t *testing.T) {
		f := newFleet(t, "par1", "mad1")
		par1 := f.edges["par1"]
		pass(time.Second)
		f.set("par1", "mad1", link{hangs: true})
		par1.push("v1", "one")
		waited := make(chan time.Duration)
		begun := time.Now()
		go func() {
			par1.announcer.Acknowledged(t.Context())
			waited <- time.Since(begun)
		}()
		pass(time.Second)
		par1.announcer.Use(nil)
		if got := <-waited; got != time.Second {
			t.Errorf("waited for %v, want 1 s", got)
		}
	})
}
