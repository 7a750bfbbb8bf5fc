package announce_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/announce"
	"example.org/breakwater/proxy/version"
)

// How far a peer's log has been heard, by what it says of it: a question changes nothing, a
// log that was put back to what it was once is heard from its beginning, and what comes
// too late is not taken.
func TestHowFarALogIsHeard(t *testing.T) {
	first := version.Run{Epoch: "e", Run: "first"}
	again := version.Run{Epoch: "e", Run: "second", Start: 5} // after a restart
	back := version.Run{Epoch: "e", Run: "second", Start: 4}  // of a backup
	for name, c := range map[string]struct {
		run          version.Run
		after, until uint64
		late         time.Duration
		position     uint64
		ok           bool
	}{
		"the next":                       {first, 5, 7, 0, 7, true},
		"what was heard already":         {first, 0, 5, 0, 5, true},
		"a gap":                          {first, 6, 7, 0, 5, false},
		"a question":                     {first, 5, 5, 0, 5, true},
		"a question from behind":         {first, 4, 4, 0, 5, true},
		"a question from ahead":          {first, 6, 6, 0, 5, false},
		"backwards":                      {first, 5, 4, 0, 5, false},
		"after a restart":                {again, 5, 7, 0, 7, true},
		"a question after one":           {again, 5, 5, 0, 5, true},
		"a log that was put back":        {back, 5, 7, 0, 0, false},
		"that from its beginning":        {back, 0, 4, 0, 4, true},
		"a question of it":               {back, 0, 0, 0, 0, true},
		"what was sent a moment ago":     {first, 5, 7, 6 * time.Second, 7, true},
		"what its sender has given up":   {first, 5, 7, 9 * time.Second, 5, false},
		"what a broken clock says is so": {first, 5, 7, 20 * time.Minute, 7, true},
	} {
		in(t, func(t *testing.T) {
			f := newFleet(t, "par1", "mad1")
			mad1 := f.edges["mad1"]
			f.edges["par1"].do(func() { f.edges["par1"].mute = true }) // it does not say that it serves nothing
			pass(time.Hour)
			clock := mad1.ledger.Clock()
			if p, ok := mad1.announcer.Hear("par1", announce.Batch{Run: first, Clock: clock, Until: 5}); !ok || p.Position != 5 {
				t.Fatalf("%d, %t", p.Position, ok)
			}
			record := version.Announced{Repo: repo, Reference: "v1", Record: version.Record{Digest: digest.FromString("one"), Version: version.Version{Time: clock, Datacenter: "par1"}}}
			b := announce.Batch{Run: c.run, Clock: clock - c.late.Milliseconds()<<16, After: c.after, Until: c.until, Records: []version.Announced{record}}
			p, ok := mad1.announcer.Hear("par1", b)
			if p.Position != c.position || ok != c.ok || p.Clock <= clock {
				t.Errorf("%s: %d, %t, want %d, %t", name, p.Position, ok, c.position, c.ok)
			}
			if old := mad1.counted(t, "old"); (old == 1) != (c.late == 9*time.Second) {
				t.Errorf("%s: %d were old", name, old)
			}
			if taken := mad1.get("v1").Known(); taken != (c.ok && c.until != c.after) {
				t.Errorf("%s: taken %t", name, taken)
			}
		})
	}
}

// What is sent, what failed, and what became of what was heard can be seen.
func TestAnnouncementsAreCounted(t *testing.T) {
	in(t, func(t *testing.T) {
		f := newFleet(t, "par1", "mad1")
		par1, mad1 := f.edges["par1"], f.edges["mad1"]
		pass(time.Second)
		for i := range 3 {
			par1.push(fmt.Sprint("v", i), fmt.Sprint(i))
			pass(time.Millisecond) // until that is answered
		}
		pass(time.Second)
		sent := func(label string) float64 { return sum(t, par1.metrics, "breakwater_edge_announced_total", label) }
		if sent("sent") != 3 || sent("failed") != 0 || mad1.counted(t, "taken") != 3 || mad1.counted(t, "old") != 0 {
			t.Errorf("sent %v, failed %v, taken %d, old %d", sent("sent"), sent("failed"), mad1.counted(t, "taken"), mad1.counted(t, "old"))
		}
		f.set("par1", "mad1", link{down: true})
		par1.push("v4", "four")
		pass(time.Minute)
		if sent("sent") != 3 || sent("failed") == 0 {
			t.Errorf("while it is down: sent %v, failed %v", sent("sent"), sent("failed"))
		}
		f.set("par1", "mad1", link{})
		pass(time.Minute)
		if sent("sent") != 4 || mad1.counted(t, "taken") != 4 {
			t.Errorf("when it is back: sent %v, taken %d", sent("sent"), mad1.counted(t, "taken"))
		}
		before := sent("failed")
		pass(time.Hour)
		if sent("failed") != before {
			t.Errorf("nothing fails, and %v times it did", sent("failed")-before)
		}
	})
}

// All edges are heard of while they speak, and one that is silent for half a minute is not.
func TestWhoIsHeardOf(t *testing.T) {
	in(t, func(t *testing.T) {
		f := newFleet(t, "par1", "mad1", "drp1")
		par1 := f.edges["par1"]
		pass(time.Minute)
		if !par1.announcer.Complete() {
			t.Error("all speak")
		}
		f.set("drp1", "par1", link{down: true})
		pass(20 * time.Second)
		if !par1.announcer.Complete() {
			t.Error("20 seconds are no silence")
		}
		pass(30 * time.Second)
		if par1.announcer.Complete() {
			t.Error("drp1 is silent")
		}
		par1.announcer.Hear("drp1", announce.Batch{})
		if pass(30 * time.Second); !par1.announcer.Complete() {
			t.Error("30 seconds are no silence")
		}
		if pass(1); par1.announcer.Complete() {
			t.Error("more than 30 seconds are")
		}
		f.set("drp1", "par1", link{})
		pass(time.Minute)
		if !par1.announcer.Complete() {
			t.Error("drp1 speaks again")
		}
	})
}
