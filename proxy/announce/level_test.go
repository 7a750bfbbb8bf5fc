package announce_test

import (
	"testing"
	"time"

	"example.org/breakwater/proxy/announce"
)

// All edges are level while each says every few seconds that it has nothing more to tell; one that
// is behind, or silent, or does not say how far its log goes, ends that.
func TestWhoHasToldEverything(t *testing.T) {
	in(t, func(t *testing.T) {
		f := newFleet(t, "par1", "mad1", "drp1")
		par1, mad1, drp1 := f.edges["par1"], f.edges["mad1"], f.edges["drp1"]
		mad1.push("v1", "one")
		for range 300 {
			if pass(time.Second); !par1.announcer.Level() {
				t.Fatal("all have told everything")
			}
		}
		f.set("drp1", "par1", link{down: true})
		drp1.push("v2", "two")
		if pass(10 * time.Second); par1.announcer.Level() {
			t.Error("drp1 has something to tell")
		}
		f.set("drp1", "par1", link{})
		if pass(10 * time.Second); !par1.announcer.Level() || !par1.get("v2").Known() {
			t.Error("drp1 has told it")
		}
		f.set("drp1", "par1", link{down: true})
		pass(10 * time.Second)
		b := f.batches("drp1", "par1")
		last := b[len(b)-1]
		for what, batch := range map[string]announce.Batch{
			"behind its log":           {Run: last.Run, After: last.Until, Until: last.Until, Last: last.Until + 1},
			"of an edge of before":     {Run: last.Run, After: last.Until, Until: last.Until},
			"of a log that was lost":   {Run: last.Run, After: last.Until + 5, Until: last.Until + 5, Last: last.Until + 5},
			"not behind what is heard": {Run: last.Run, After: last.Until + 1, Until: last.Until + 2, Last: last.Until + 2},
		} {
			if par1.announcer.Hear("drp1", batch); par1.announcer.Level() {
				t.Errorf("a batch %s says nothing", what)
			}
		}
		par1.announcer.Hear("drp1", announce.Batch{Run: last.Run, After: last.Until, Until: last.Until, Last: last.Until})
		if !par1.announcer.Level() {
			t.Error("it has nothing more to tell")
		}
	})
}
