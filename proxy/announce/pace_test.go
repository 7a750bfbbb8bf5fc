package announce_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/announce"
	"example.org/breakwater/proxy/version"
)

// A peer that fails is tried at longer and longer times, five seconds at most, whatever is
// pushed meanwhile, and for five seconds each time; no answer but a peer's own counts as heard.
func TestAPeerThatFailsIsTriedNowAndThen(t *testing.T) {
	for name, c := range map[string]struct {
		link
		want []float64
	}{
		"refuses":    {link{down: true}, []float64{0, 1, 3, 7, 12, 17}},
		"hangs":      {link{hangs: true}, []float64{0, 6, 13}},
		"is ill":     {link{status: http.StatusInternalServerError}, []float64{0, 1, 3, 7, 12, 17}},
		"is a front": {link{status: http.StatusUnauthorized}, []float64{0, 1, 3, 7, 12, 17}},
		"is deaf":    {link{deaf: true}, []float64{0, 1, 3, 7, 12, 17}},
		"redirects":  {link{status: http.StatusFound}, []float64{0, 1, 3, 7, 12, 17}},
	} {
		in(t, func(t *testing.T) {
			f := newFleet(t, "par1", "mad1")
			par1 := f.edges["par1"]
			par1.push("before", "one")
			pass(3 * time.Second) // all is well, and nothing to be said for six
			f.batches("par1", "mad1")
			f.set("par1", "mad1", c.link)
			begun := time.Now()
			for i := range 10 {
				par1.push(fmt.Sprint("v", i), "one")
				pass(2 * time.Second)
				f.edges["mad1"].stop() // it does not speak
			}
			if got := f.tries("par1", "mad1", begun); !slices.Equal(got, c.want) {
				t.Errorf("%s: tried after %v, want %v", name, got, c.want)
			}
			if got := par1.announcer.Acknowledged(t.Context()); len(got) != 0 {
				t.Errorf("%s: acknowledged by %v", name, got)
			}
			f.set("par1", "mad1", link{})
			pass(5*time.Second + 5*time.Second)
			for i := range 10 {
				if tag := fmt.Sprint("v", i); !same(f.edges["mad1"].get(tag), par1.get(tag)) {
					t.Errorf("%s: %s was not told", name, tag)
				}
			}
			for _, b := range f.batches("par1", "mad1") {
				if slices.ContainsFunc(b.Records, func(r version.Announced) bool { return r.Reference == "before" }) {
					t.Errorf("%s: what was heard before is told again", name)
				}
			}
			begun = time.Now()
			pass(25 * time.Second)
			if got := f.tries("par1", "mad1", begun); len(got) < 4 || len(got) > 5 || got[1]-got[0] != 6 {
				t.Errorf("%s: with nothing to say it speaks after %v", name, got)
			}
		})
	}
}

// A peer that could not be reached is told at once when it speaks itself; that another one
// speaks says nothing of it.
func TestAPeerThatSpeaksIsToldAtOnce(t *testing.T) {
	in(t, func(t *testing.T) {
		f := newFleet(t, "par1", "mad1", "drp1")
		par1 := f.edges["par1"]
		pass(time.Second)
		f.set("par1", "mad1", link{down: true})
		f.set("mad1", "par1", link{down: true})
		par1.push("v1", "one")
		pass(20 * time.Second)
		begun := time.Now()
		for i := range 3 {
			f.edges["drp1"].push(fmt.Sprint("other", i), "other")
			pass(0)
		}
		if got := f.tries("par1", "mad1", begun); len(got) > 0 {
			t.Errorf("another speaks, and it is tried after %v", got)
		}
		f.set("par1", "mad1", link{})
		f.set("mad1", "par1", link{})
		par1.announcer.Hear("mad1", announce.Batch{})
		if pass(0); !f.edges["mad1"].get("v1").Known() {
			t.Error("it speaks, and is not told")
		}
	})
}

// An edge asks first how far a peer has heard: what was told before a restart is not told again.
func TestWhatWasToldIsNotToldAgain(t *testing.T) {
	in(t, func(t *testing.T) {
		f := newFleet(t, "par1", "mad1")
		par1, mad1, state := f.edges["par1"], f.edges["mad1"], newLog()
		pass(0)
		par1.stop()
		pass(0)
		f.batches("par1", "mad1")
		par1.start(t, state)
		pass(0)
		for i := range 3 {
			par1.push(fmt.Sprint("v", i), "one")
			pass(time.Millisecond) // until that is answered
		}
		pass(time.Second)
		par1.stop()
		pass(0)
		f.set("par1", "mad1", link{down: true})
		par1.start(t, state)
		pass(0)
		last := par1.push("v3", "two")
		pass(0)
		f.set("par1", "mad1", link{})
		pass(time.Minute)
		var told []string
		for i, b := range f.batches("par1", "mad1") {
			if i == 0 && (b.After != b.Until || len(b.Records) > 0) {
				t.Errorf("it begins with %+v", b)
			}
			for _, r := range b.Records {
				told = append(told, r.Reference)
			}
		}
		if !slices.Equal(told, []string{"v0", "v1", "v2", "v3"}) || !same(mad1.get("v3"), last) {
			t.Errorf("it has told %v", told)
		}
	})
}

// What an edge that is silent has written is told by those who know it, what was written
// before too; and no longer when it speaks again.
func TestWhatASilentEdgeWroteIsToldByOthers(t *testing.T) {
	in(t, func(t *testing.T) {
		f := newFleet(t, "par1", "mad1", "drp1")
		drp1, mad1 := f.edges["drp1"], f.edges["mad1"]
		pass(time.Second)
		f.set("drp1", "mad1", link{down: true})
		drp1.push("v1", "one")
		pass(20 * time.Second)
		if mad1.get("v1").Known() {
			t.Error("it is told before it is wanted: edges tell their own")
		}
		pass(30 * time.Second)
		drp1.push("v2", "two")
		pass(10 * time.Second)
		for _, tag := range []string{"v1", "v2"} {
			if !same(mad1.get(tag), drp1.get(tag)) {
				t.Errorf("%s is not told by others: %v", tag, mad1.get(tag))
			}
		}
		f.set("drp1", "mad1", link{})
		pass(time.Minute)
		f.batches("par1", "mad1")
		drp1.push("v3", "three")
		pass(time.Minute)
		for _, b := range f.batches("par1", "mad1") {
			if len(b.Records) > 0 {
				t.Errorf("par1 still tells %v", b.Records)
			}
		}
	})
}

// What a peer has not heard yet can be seen, and for how long.
func TestHowFarPeersAreBehindCanBeSeen(t *testing.T) {
	in(t, func(t *testing.T) {
		f := newFleet(t, "par1", "mad1", "drp1")
		par1 := f.edges["par1"]
		behind := func(when, peer string, want float64, longest, shortest time.Duration) {
			t.Helper()
			pending, waiting := ofPeer(t, par1.metrics, "breakwater_edge_announcements_pending", peer), ofPeer(t, par1.metrics, "breakwater_edge_announcements_waiting_seconds", peer)
			if pending != want || waiting > longest.Seconds() || waiting < shortest.Seconds() {
				t.Errorf("%s: %s lacks %v for %v s; want %v", when, peer, pending, waiting, want)
			}
			for _, b := range par1.announcer.Backlogs() { // what an operator is told is the same
				if b.Datacenter == peer && (float64(b.Positions) != pending || b.Waiting.Seconds() != waiting) {
					t.Errorf("%s: %+v, and the metrics say %v for %v s", when, b, pending, waiting)
				}
			}
		}
		pass(time.Second)
		par1.push("v0", "one")
		pass(0)
		behind("all have heard", "mad1", 0, 0, 0)
		f.set("par1", "mad1", link{down: true})
		for i := range 4 {
			if i == 1 {
				f.set("par1", "drp1", link{down: true})
			}
			par1.push(fmt.Sprint("v", i+1), "one")
			pass(0)
		}
		pass(time.Minute)
		behind("both are away", "mad1", 4, 70*time.Second, time.Minute)
		behind("both are away", "drp1", 3, 70*time.Second, time.Minute)
		f.set("par1", "mad1", link{})
		pass(10 * time.Second)
		behind("one is back", "mad1", 0, 0, 0)
		behind("one is back", "drp1", 3, 80*time.Second, 70*time.Second)
		f.set("par1", "drp1", link{})
		pass(10 * time.Second)
		behind("both are back", "drp1", 0, 0, 0)
	})
}

// Who waits for a peer that fails meanwhile waits no longer.
func TestNobodyWaitsForAPeerThatFails(t *testing.T) {
	in(t, func(t *testing.T) {
		f := newFleet(t, "par1", "mad1")
		par1 := f.edges["par1"]
		if got := par1.announcer.Acknowledged(t.Context()); len(got) != 1 { // nothing was written: nothing is to be heard
			t.Errorf("of nothing: %v", got)
		}
		pass(time.Second)
		f.set("par1", "mad1", link{hangs: true})
		par1.push("v1", "one")
		begun := time.Now()
		if got := par1.announcer.Acknowledged(context.Background()); len(got) != 0 || time.Since(begun) != 5*time.Second {
			t.Errorf("acknowledged by %v after %v", got, time.Since(begun))
		}
	})
}

// record is one that an edge has made, and another may tell of.
func record(key version.Key, text, datacenter string) version.Announced {
	return version.Announced{Repo: key.Repo, Reference: key.Reference, Record: version.Record{Digest: digest.FromString(text), Version: at(0, datacenter)}}
}

// The way to a peer may be long: what is pushed while an answer is on its way does not wait
// for it, and what comes before what was sent first leaves no gap.
func TestALongWayDoesNotHoldUpWhatIsPushedMeanwhile(t *testing.T) {
	in(t, func(t *testing.T) {
		f := newFleet(t, "par1", "mad1")
		par1, mad1 := f.edges["par1"], f.edges["mad1"]
		pass(time.Hour)
		f.batches("par1", "mad1")
		const oneWay = 100 * time.Millisecond
		f.set("par1", "mad1", link{there: oneWay, back: oneWay})
		for i := range 20 {
			begun, r := time.Now(), par1.push(fmt.Sprint("v", i), fmt.Sprint(i))
			go func() {
				if all := par1.announcer.Acknowledged(t.Context()); len(all) != 1 || time.Since(begun) != 2*oneWay || !same(mad1.get(fmt.Sprint("v", i)), r) {
					t.Errorf("push %d: %v after %v", i, all, time.Since(begun))
				}
			}()
			pass(30 * time.Millisecond)
		}
		pass(time.Second)
		if n := len(f.batches("par1", "mad1")); n != 20 {
			t.Errorf("%d batches for 20 pushes", n)
		}
		f.set("par1", "mad1", link{there: time.Second})
		slow := par1.push("v1", "slow")
		pass(50 * time.Millisecond)
		f.set("par1", "mad1", link{back: 5 * time.Millisecond})
		quick := par1.push("v2", "quick")
		pass(10 * time.Millisecond)
		if !same(mad1.get("v1"), slow) || !same(mad1.get("v2"), quick) {
			t.Error("what was sent later came without what was sent first")
		}
		pass(time.Minute)
		for _, b := range f.batches("par1", "mad1")[2:] {
			if len(b.Records) > 0 {
				t.Errorf("told again: %d records after %d", len(b.Records), b.After)
			}
		}
	})
}

// However many pushes there are: only so many batches are on their way at once.
func TestBatchesOnTheirWayAreBounded(t *testing.T) {
	in(t, func(t *testing.T) {
		f := newFleet(t, "par1", "mad1")
		pass(time.Hour)
		f.batches("par1", "mad1")
		f.set("par1", "mad1", link{there: 4 * time.Second})
		for i := range 40 {
			f.edges["par1"].push(fmt.Sprint("v", i), fmt.Sprint(i))
			pass(10 * time.Millisecond)
		}
		pass(time.Minute)
		f.set("par1", "mad1", link{})
		pass(time.Minute)
		first := 0
		for _, b := range f.batches("par1", "mad1") {
			if b.After == 0 {
				first++
			}
		}
		if first != 8 || f.edges["mad1"].get("v39").Digest != digest.FromString("39") {
			t.Errorf("%d batches were on their way at once; v39 is %v", first, f.edges["mad1"].get("v39"))
		}
	})
}

// A peer asks for what a silent edge wrote while several batches are on their way to it: that
// those are heard does not make it forgotten.
func TestWhatAPeerAsksForIsToldThoughMoreIsOnItsWay(t *testing.T) {
	in(t, func(t *testing.T) {
		f := newFleet(t, "par1", "mad1", "drp1")
		par1, mad1, drp1 := f.edges["par1"], f.edges["mad1"], f.edges["drp1"]
		pass(time.Hour)
		drp1.push("before", "one")
		pass(time.Millisecond)
		f.set("drp1", "mad1", link{down: true})
		x := drp1.push("x", "two")
		pass(5 * time.Second)
		par1.push("z", "three") // and is silent for ten seconds at a time from now on
		pass(24*time.Second + 950*time.Millisecond)
		f.set("par1", "mad1", link{there: 100 * time.Millisecond, back: 100 * time.Millisecond})
		for i := range 3 {
			par1.push(fmt.Sprint("v", i), "four")
			pass(50 * time.Millisecond)
		}
		if mad1.get("x").Known() {
			t.Fatal("it is known before it was asked for")
		}
		pass(time.Second)
		if !same(mad1.get("x"), x) {
			t.Error("it was asked for, and not told")
		}
	})
}
