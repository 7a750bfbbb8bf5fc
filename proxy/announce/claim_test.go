package announce_test

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/announce"
	"example.org/breakwater/proxy/version"
)

// What nobody can tell is asked again, at longer and longer times up to a quarter of a minute;
// each question has five seconds.
func TestAClaimIsAskedAboutAtLongerAndLongerTimes(t *testing.T) {
	for takes, want := range map[time.Duration][]float64{0: {0, 1, 3, 7, 15, 30, 45}, time.Hour: {0, 6, 13, 22, 35}} {
		in(t, func(t *testing.T) {
			f := newFleet(t, "par1", "mad1")
			par1, mad1 := f.edges["par1"], f.edges["mad1"]
			par1.do(func() { par1.mute, par1.takes = true, takes })
			pass(500 * time.Millisecond)
			begun := time.Now()
			mad1.announcer.Hear("par1", claims(tag("v1"), digest.FromString("one"), at(0, "par1")))
			pass(50 * time.Second)
			if got := par1.questions(tag("v1"), begun); !slices.Equal(got, want) {
				t.Errorf("asked after %v, want %v", got, want)
			}
			if !mad1.ledger.Claimed(tag("v1")) || !mad1.get("v1").Known() {
				t.Error("it does not count until somebody can tell")
			}
		})
	}
}

// An edge that hangs with what it has claimed holds up nobody else's claims.
func TestClaimsOfAnEdgeThatHangsHoldUpNoOthers(t *testing.T) {
	in(t, func(t *testing.T) {
		f := newFleet(t, "par1", "mad1", "drp1")
		par1, mad1, drp1 := f.edges["par1"], f.edges["mad1"], f.edges["drp1"]
		pass(time.Second)
		par1.do(func() { par1.takes = time.Hour })
		for i := range 500 {
			par1.push(fmt.Sprint("par1-", i), "hangs")
		}
		pass(time.Second)
		for i := range 20 {
			drp1.push(fmt.Sprint("drp1-", i), "well")
		}
		pass(15 * time.Second)
		for i := range 20 {
			if name := fmt.Sprint("drp1-", i); !mad1.get(name).Known() || mad1.ledger.Claimed(tag(name)) {
				t.Fatalf("%s waits: known %v, claimed %v", name, mad1.get(name).Known(), mad1.ledger.Claimed(tag(name)))
			}
		}
		par1.do(func() { par1.takes = 0 })
		pass(time.Minute)
		for i := range 500 {
			if name := fmt.Sprint("par1-", i); mad1.ledger.Claimed(tag(name)) {
				t.Fatalf("%s is still claimed", name)
			}
		}
	})
}

// A claim that takes another one's place while that is asked about is asked about too.
func TestAClaimThatComesMeanwhile(t *testing.T) {
	for name, served := range map[string]bool{"it is true": true, "it is false": false} {
		in(t, func(t *testing.T) {
			f := newFleet(t, "par1", "mad1")
			par1, mad1 := f.edges["par1"], f.edges["mad1"]
			pass(time.Second)
			first := version.Record{Digest: digest.FromString("one"), Version: at(0, "par1")}
			second := version.Record{Digest: digest.FromString("two"), Version: at(time.Millisecond, "par1")}
			par1.serve(tag("v1"), first, time.Second)
			mad1.announcer.Hear("par1", claims(tag("v1"), first.Digest, first.Version))
			pass(500 * time.Millisecond) // the answer is on its way
			if served {
				par1.serve(tag("v1"), second, time.Second)
			}
			next := claims(tag("v1"), second.Digest, second.Version)
			next.After, next.Until = 1, 2
			mad1.announcer.Hear("par1", next)
			pass(10 * time.Second)
			if got := mad1.get("v1"); mad1.ledger.Claimed(tag("v1")) || same(got, second) != served {
				t.Errorf("%s: it has %v, claimed: %v", name, got, mad1.ledger.Claimed(tag("v1")))
			}
			begun := time.Now()
			pass(time.Hour)
			if got := par1.questions(tag("v1"), begun); len(got) > 0 {
				t.Errorf("%s: though it is certain it is asked about after %v", name, got)
			}
		})
	}
}

// Asked is the edge that told of a record; where that is none of the fleet, the one that made
// it; and one that cannot be reached is not.
func TestWhoIsAskedAboutAClaim(t *testing.T) {
	for name, c := range map[string]struct {
		told, made string
		down       bool // mad1 sees that par1 is
		asked      []string
	}{
		"its own":                     {"par1", "par1", false, []string{"par1"}},
		"another's, that it has told": {"par1", "drp1", false, []string{"par1"}},
		"told by one that is gone":    {"zrh1", "drp1", false, []string{"drp1"}},
		"made by one that is gone":    {"par1", "zrh1", false, []string{"par1"}},
		"of one that is gone":         {"zrh1", "zrh1", false, nil},
		"of one that is down":         {"par1", "par1", true, nil},
	} {
		in(t, func(t *testing.T) {
			f := newFleet(t, "par1", "mad1", "drp1")
			mad1 := f.edges["mad1"]
			pass(time.Second)
			if c.down {
				f.set("mad1", "par1", link{down: true})
				mad1.peers["par1"].Suspect()
				pass(time.Second)
			}
			r := record(tag("v1"), "one", c.made)
			f.edges["par1"].serve(tag("v1"), r.Record, 0)
			f.edges["drp1"].serve(tag("v1"), r.Record, 0)
			begun := time.Now()
			mad1.announcer.Hear(c.told, announce.Batch{Run: version.Run{Epoch: "e"}, Until: 1, Records: []version.Announced{r}})
			pass(time.Minute)
			var asked []string
			for _, name := range []string{"par1", "drp1"} {
				if len(f.edges[name].questions(tag("v1"), begun)) > 0 {
					asked = append(asked, name)
				}
			}
			if !slices.Equal(asked, c.asked) || mad1.ledger.Claimed(tag("v1")) != (c.asked == nil) || !same(mad1.get("v1"), r.Record) {
				t.Errorf("%s: asked are %v, it has %v, claimed: %v", name, asked, mad1.get("v1"), mad1.ledger.Claimed(tag("v1")))
			}
			f.set("mad1", "par1", link{})
			if pass(time.Minute); c.down && mad1.ledger.Claimed(tag("v1")) {
				t.Errorf("%s: it is there again, and is not asked", name)
			}
		})
	}
}

// What a peer answers with and has only heard of is a claim of the edge that made it: that one
// is asked. Where nobody could be asked it is not taken.
func TestAPeersAnswerThatIsAClaim(t *testing.T) {
	for made, want := range map[string]struct {
		serves       bool
		known, asked bool
	}{
		"drp1": {serves: true, known: true, asked: true},
		"mad1": {serves: true}, // its own, which it has forgotten
		"zrh1": {serves: true},
		"":     {asked: true}, // drp1's, that it does not serve
	} {
		in(t, func(t *testing.T) {
			f := newFleet(t, "par1", "mad1", "drp1")
			mad1, drp1 := f.edges["mad1"], f.edges["drp1"]
			pass(time.Second)
			r := record(tag("v1"), "one", cmp.Or(made, "drp1")).Record
			drp1.serve(tag("other"), r, time.Second) // it takes that long to say anything
			if want.serves {
				drp1.serve(tag("v1"), r, time.Second)
			}
			told, begun := r, time.Now()
			told.Claimed = true
			mad1.announcer.Told("par1", tag("v1"), told)
			if claimed := mad1.ledger.Claimed(tag("v1")); claimed != want.asked {
				t.Errorf("%q: claimed: %v", made, claimed)
			}
			pass(time.Minute)
			if got := mad1.get("v1"); got.Known() != want.known || got.Claimed || mad1.ledger.Claimed(tag("v1")) {
				t.Errorf("%q: it has %v", made, got)
			}
			if asked := len(drp1.questions(tag("v1"), begun)) > 0; asked != want.asked || len(f.edges["par1"].questions(tag("v1"), begun)) > 0 {
				t.Errorf("%q: its edge is asked: %v", made, asked)
			}
		})
	}
}

// A tag that is moving when it is asked about, so that there is no version with what is
// served, is asked about again before it counts as false.
func TestATagThatIsMovingIsAskedAboutAgain(t *testing.T) {
	for moves, withdrawn := range map[time.Duration]bool{6 * time.Second: false, time.Minute: true} {
		in(t, func(t *testing.T) {
			f := newFleet(t, "par1", "mad1")
			par1, mad1 := f.edges["par1"], f.edges["mad1"]
			pass(time.Second)
			r := record(tag("v1"), "one", "par1")
			par1.serve(tag("v1"), version.Record{Digest: digest.FromString("before")}, 0)
			begun := time.Now()
			mad1.announcer.Hear("par1", announce.Batch{Run: version.Run{Epoch: "e"}, Until: 1, Records: []version.Announced{r}})
			pass(moves)
			par1.serve(tag("v1"), r.Record, 0)
			pass(time.Minute)
			if mad1.get("v1").Known() == withdrawn || mad1.ledger.Claimed(tag("v1")) {
				t.Errorf("it moved for %v: it has %v, claimed %v", moves, mad1.get("v1"), mad1.ledger.Claimed(tag("v1")))
			}
			if got := par1.questions(tag("v1"), begun); !slices.Equal(got, []float64{0, 1, 3, 7}) {
				t.Errorf("it moved for %v: asked after %v", moves, got)
			}
		})
	}
}

// What a digest's record claims is true where the digest is served, with a version or without.
func TestAClaimOfADigest(t *testing.T) {
	one := digest.FromString("one")
	for name, c := range map[string]struct {
		key    version.Key
		serves version.Record
		want   bool
	}{
		"a push, served with a version": {version.Revived(repo, one), version.Record{Digest: one, Version: at(-time.Hour, "drp1")}, true},
		"a push, served without one":    {version.Revived(repo, one), version.Record{Digest: one}, true},
		"a push, of which nothing is":   {version.Revived(repo, one), version.Record{}, false},
		"a delete, of what is served":   {version.Buried(repo, one), version.Record{Digest: one}, false},
		"a delete, known there":         {version.Buried(repo, one), version.Record{Version: at(-time.Hour, "drp1")}, true},
	} {
		in(t, func(t *testing.T) {
			f := newFleet(t, "par1", "mad1")
			par1, mad1 := f.edges["par1"], f.edges["mad1"]
			pass(time.Second)
			r := record(c.key, "one", "par1")
			if c.key == version.Buried(repo, one) {
				r.Digest = ""
			}
			par1.serve(c.key, c.serves, time.Second)
			if _, ok := mad1.announcer.Hear("par1", announce.Batch{Run: version.Run{Epoch: "e"}, Until: 1, Records: []version.Announced{r}}); !ok || !mad1.ledger.Claimed(c.key) {
				t.Fatalf("%s: heard %v, claimed %v", name, ok, mad1.ledger.Claimed(c.key))
			}
			pass(time.Minute)
			if mad1.ledger.Get(c.key).Known() != c.want || mad1.ledger.Claimed(c.key) {
				t.Errorf("%s: it has %v, claimed %v", name, mad1.ledger.Get(c.key), mad1.ledger.Claimed(c.key))
			}
		})
	}
}

// Of more records than a batch may have the rest is not looked at.
func TestABatchHasItsBound(t *testing.T) {
	in(t, func(t *testing.T) {
		f := newFleet(t, "par1", "mad1")
		mad1, b := f.edges["mad1"], announce.Batch{Run: version.Run{Epoch: "e"}, Until: 501}
		f.edges["par1"].do(func() { f.edges["par1"].mute = true })
		for i := range 501 {
			b.Records = append(b.Records, record(tag(fmt.Sprint("v", i)), "one", "par1"))
		}
		mad1.announcer.Hear("par1", b)
		if !mad1.get("v499").Known() || mad1.get("v500").Known() {
			t.Error("a batch has not five hundred records")
		}
	})
}
