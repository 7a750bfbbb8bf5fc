package announce_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/announce"
	"example.org/breakwater/proxy/version"
)

// A push is known at every peer before time passes, and they show who has heard.
func TestAPushIsHeardAtOnce(t *testing.T) {
	in(t, func(t *testing.T) {
		f := newFleet(t, "par1", "mad1", "drp1")
		par1 := f.edges["par1"]
		pass(time.Second)
		begun := time.Now()
		r := par1.push("v1", "one")
		if got := par1.announcer.Acknowledged(t.Context()); !slices.Equal(got, []string{"drp1", "mad1"}) || time.Since(begun) > 0 {
			t.Errorf("acknowledged by %v after %v", got, time.Since(begun))
		}
		for _, name := range []string{"mad1", "drp1"} {
			if got := f.edges[name].get("v1"); !same(got, r) {
				t.Errorf("%s has %v, want %v", name, got, r)
			}
		}
		pass(0)
		if f.edges["mad1"].ledger.Claimed(version.Key{Repo: repo, Reference: "v1"}) {
			t.Error("par1 serves it, and mad1 is not certain")
		}
	})
}

// A partition's news come in batches, each where the one before has ended.
func TestAPartitionsNewsComeInBatches(t *testing.T) {
	in(t, func(t *testing.T) {
		f := newFleet(t, "par1", "mad1")
		par1, mad1 := f.edges["par1"], f.edges["mad1"]
		f.set("par1", "mad1", link{down: true})
		pass(time.Second)
		for i := range 1234 {
			par1.push(fmt.Sprint("v", i), "one")
		}
		pass(time.Minute)
		f.set("par1", "mad1", link{})
		pass(time.Minute)
		if n := len(mad1.ledger.Tags(repo)); n != 1234 {
			t.Errorf("it has heard of %d tags", n)
		}
		told, at := 0, uint64(0)
		for _, b := range f.batches("par1", "mad1") {
			if b.After != at || b.Until < b.After || len(b.Records) > 500 {
				t.Errorf("a batch of %d records from %d to %d, the one before ended at %d", len(b.Records), b.After, b.Until, at)
			}
			told, at = told+len(b.Records), b.Until
		}
		if told != 1234 {
			t.Errorf("%d records were told", told)
		}
	})
}

func TestAPeerThatFailsHoldsUpNobody(t *testing.T) {
	in(t, func(t *testing.T) {
		f := newFleet(t, "par1", "mad1", "drp1")
		par1 := f.edges["par1"]
		pass(time.Second)
		f.set("par1", "mad1", link{hangs: true})
		acknowledged := func(tag string) (by []string, took time.Duration) {
			begun := time.Now()
			par1.push(tag, tag)
			ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
			defer cancel()
			by = par1.announcer.Acknowledged(ctx)
			return by, time.Since(begun)
		}
		if by, took := acknowledged("v1"); !slices.Equal(by, []string{"drp1"}) || took != 250*time.Millisecond {
			t.Errorf("it hangs since now: acknowledged by %v after %v", by, took)
		}
		pass(10 * time.Second)
		if by, took := acknowledged("v2"); !slices.Equal(by, []string{"drp1"}) || took > 0 {
			t.Errorf("it hangs, and that is known: acknowledged by %v after %v", by, took)
		}
		f.set("par1", "mad1", link{})
		pass(time.Minute)
		if by, took := acknowledged("v3"); !slices.Equal(by, []string{"drp1", "mad1"}) || took > 0 {
			t.Errorf("it is back: acknowledged by %v after %v", by, took)
		}
		for _, tag := range []string{"v1", "v2", "v3"} {
			if !f.edges["mad1"].get(tag).Known() {
				t.Errorf("mad1 has not heard of %s", tag)
			}
		}
	})
}

// A peer hears of an edge's versions from that edge, and of nobody else's.
func TestOnlyOwnVersionsAreToldLive(t *testing.T) {
	in(t, func(t *testing.T) {
		f := newFleet(t, "par1", "mad1", "drp1")
		f.edges["par1"].push("v0", "zero")
		pass(time.Minute)
		f.batches("mad1", "drp1")
		f.edges["par1"].push("v1", "one")
		pass(time.Minute)
		f.edges["mad1"].push("v2", "two")
		pass(time.Minute)
		var told []string
		for _, b := range f.batches("mad1", "drp1") {
			for _, r := range b.Records {
				told = append(told, r.Reference)
			}
		}
		if !slices.Equal(told, []string{"v2"}) {
			t.Errorf("mad1 has told of %v", told)
		}
	})
}

// What an edge did not hear from one that is silent it hears from the others: all of that, nothing
// else, and not before what they push meanwhile.
func TestWhatASilentEdgeHadSaidIsToldByTheOthers(t *testing.T) {
	in(t, func(t *testing.T) {
		const many = 1700
		f := newFleet(t, "par1", "mad1", "drp1")
		par1, mad1, drp1 := f.edges["par1"], f.edges["mad1"], f.edges["drp1"]
		for i := range many {
			par1.push(fmt.Sprint("par1-", i), "old")
		}
		pass(time.Minute)
		f.set("drp1", "mad1", link{down: true})
		for i := range many {
			drp1.push(fmt.Sprint("drp1-", i), "new")
		}
		pass(20 * time.Second)
		if mad1.get("drp1-0").Known() {
			t.Error("it is told before anybody is silent")
		}
		f.batches("par1", "mad1")
		f.set("par1", "mad1", link{there: 50 * time.Millisecond, back: 50 * time.Millisecond})
		pass(11 * time.Second) // mad1 says that it has not heard of drp1
		for range 20 {
			tag := fmt.Sprint("live-", time.Now().UnixNano())
			par1.push(tag, "live")
			if pass(150 * time.Millisecond); !mad1.get(tag).Known() {
				t.Errorf("%s waits for what is told again", tag)
			}
		}
		pass(time.Minute)
		for i := range many {
			if tag := fmt.Sprint("drp1-", i); !mad1.get(tag).Known() {
				t.Fatalf("mad1 has not heard of %s", tag)
			}
		}
		told := map[string]int{}
		for _, b := range f.batches("par1", "mad1") {
			for _, r := range b.Records {
				told[r.Reference]++
			}
		}
		for tag, times := range told {
			if strings.HasPrefix(tag, "par1-") || times > 1 {
				t.Fatalf("%s is told again %d times", tag, times)
			}
		}
	})
}

// An edge that has lost its ledger hears everything again, what a third one has pushed too.
func TestAnEdgeThatLostItsLedgerIsToldEverything(t *testing.T) {
	in(t, func(t *testing.T) {
		f := newFleet(t, "par1", "mad1", "drp1")
		f.edges["par1"].push("v1", "one")
		f.edges["drp1"].push("v2", "two")
		mad1 := f.edges["mad1"]
		mine := mad1.push("v3", "three")
		pass(time.Minute)
		f.set("drp1", "mad1", link{down: true})
		mad1.stop()
		pass(0)
		mad1.start(t, nil)
		pass(time.Minute)
		for tag, text := range map[string]string{"v1": "one", "v2": "two", "v3": "three"} {
			if r := mad1.get(tag); r.Digest != digest.FromString(text) {
				t.Errorf("%s: %v", tag, r)
			}
		}
		if r := mad1.push("v3", "four"); !r.Version.Newer(mine.Version) {
			t.Error("what it writes is older than what it had written")
		}
		pass(time.Minute)
		if r := f.edges["par1"].get("v3"); r.Digest != digest.FromString("four") {
			t.Errorf("of what it writes now, par1 has %v", r)
		}
	})
}

// An edge whose state is from an old backup has a log that its peers know further than it
// does: what it writes then is heard all the same.
func TestAnEdgeFromAnOldBackup(t *testing.T) {
	for _, more := range []int{1, 50} { // positions that the peers know already, and others
		in(t, func(t *testing.T) {
			f := newFleet(t, "par1", "mad1")
			par1, mad1 := f.edges["par1"], f.edges["mad1"]
			par1.stop()
			pass(0)
			kept := newLog()
			par1.start(t, kept)
			par1.push("v1", "one")
			pass(time.Minute)
			backup := kept.copy()
			for i := range 20 {
				par1.push(fmt.Sprint("lost", i), "lost")
			}
			pass(time.Minute)
			par1.stop()
			pass(0)
			f.set("par1", "mad1", link{down: true}) // it writes before anybody hears of the restore
			par1.start(t, backup)
			for i := range more {
				par1.push(fmt.Sprint("new", i), "new")
			}
			f.set("par1", "mad1", link{})
			pass(time.Minute)
			par1.push("last", "last")
			pass(time.Minute)
			for _, tag := range []string{"v1", "new0", fmt.Sprint("new", more-1), "last"} {
				if a, b := par1.get(tag), mad1.get(tag); !same(a, b) || !a.Known() {
					t.Errorf("%d more: %s is %v at par1, %v at mad1", more, tag, a, b)
				}
			}
			if r := par1.get("lost19"); !r.Known() {
				t.Error("what it has lost does not come back from its peer")
			}
		})
	}
}

// What arrives twice, or whose answer is lost, changes nothing.
func TestWhatComesTwice(t *testing.T) {
	in(t, func(t *testing.T) {
		f := newFleet(t, "par1", "mad1")
		par1, mad1 := f.edges["par1"], f.edges["mad1"]
		for _, l := range []link{{twice: true}, {lost: true}, {}} {
			f.set("par1", "mad1", l)
			for i := range 3 {
				par1.push(fmt.Sprint("v", i), fmt.Sprint(l, i))
			}
			pass(time.Minute)
		}
		for i := range 3 {
			if r := mad1.get(fmt.Sprint("v", i)); !same(r, par1.get(fmt.Sprint("v", i))) || mad1.ledger.Claimed(version.Key{Repo: repo, Reference: fmt.Sprint("v", i)}) {
				t.Errorf("v%d: %v", i, r)
			}
		}
		if n := mad1.counted(t, "taken"); n != 9 {
			t.Errorf("%d records were taken, of 9", n)
		}
	})
}

// A batch that begins behind what was heard is refused, and says how far that is; the
// peer's own log does not matter to it.
func TestABatchThatComesTooEarly(t *testing.T) {
	in(t, func(t *testing.T) {
		f := newFleet(t, "par1", "mad1")
		mad1 := f.edges["mad1"]
		pass(time.Second)
		r := version.Announced{Repo: repo, Reference: "v1", Record: version.Record{Digest: digest.FromString("one"), Version: version.Version{Time: 5, Datacenter: "zrh1"}}}
		hear := func(epoch string, after, until uint64, records ...version.Announced) (uint64, bool) {
			p, ok := mad1.announcer.Hear("zrh1", announce.Batch{Run: version.Run{Epoch: epoch}, After: after, Until: until, Records: records})
			return p.Position, ok
		}
		if p, ok := hear("e", 3, 4, r); ok || p != 0 || mad1.get("v1").Known() {
			t.Errorf("a gap: %d, %v, %v", p, ok, mad1.get("v1"))
		}
		if p, ok := hear("e", 0, 2); !ok || p != 2 {
			t.Errorf("the beginning: %d, %v", p, ok)
		}
		if p, ok := hear("e", 3, 4, r); ok || p != 2 {
			t.Errorf("a gap again: %d, %v", p, ok)
		}
		if p, ok := hear("e", 2, 1, r); ok || p != 2 {
			t.Errorf("one that ends before it begins: %d, %v", p, ok)
		}
		if p, ok := hear("e", 2, 4, r); !ok || p != 4 || !mad1.get("v1").Known() {
			t.Errorf("the next one: %d, %v", p, ok)
		}
		if p, ok := hear("other", 4, 5); ok || p != 0 {
			t.Errorf("another log, in its middle: %d, %v", p, ok)
		}
		if p, ok := hear("other", 0, 7); !ok || p != 7 {
			t.Errorf("another log: %d, %v", p, ok)
		}
	})
}
