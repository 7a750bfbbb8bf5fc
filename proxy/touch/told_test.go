package touch_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/touch"
)

// pulls makes so many, from a number on, by tag.
func (e *edge) pulls(from, to int) (all []touch.Pull) {
	for i := from; i < to; i++ {
		p := touch.Pull{Repo: repo, Tag: fmt.Sprint("v", i), Digest: digest.FromString(fmt.Sprint(i))}
		e.pull(p.Repo, p.Tag, p.Digest)
		all = append(all, p)
	}
	return all
}

// tell has a peer hear everything, and returns what that was.
func (e *edge) tell(datacenter string) (all []touch.Pull) {
	for more := true; more; {
		some, until := e.Untold(datacenter)
		all = append(all, some...)
		more = e.Told(datacenter, until)
	}
	return all
}

// Each peer hears of each pull once, at its own time, also over restarts; a pull that comes again
// after the interval is told again. What was told and not acknowledged is told again.
func TestPeersHearOfEachPullOnce(t *testing.T) {
	e := newEdge(t, newMemory(), "mad1", "drp1")
	first := e.pulls(0, 1200)
	e.pulls(0, 1200)
	if some, _ := e.Untold("mad1"); !slices.Equal(some, first[:500]) {
		t.Errorf("%d are told at once", len(some))
	}
	if got := e.tell("mad1"); !slices.Equal(got, first) {
		t.Errorf("mad1 hears of %d pulls", len(got))
	}
	restart := func() {
		now := e.now
		e = newEdge(t, e.state, "mad1", "drp1")
		e.now = now
	}
	restart()
	second := e.pulls(1200, 1210)
	if got := e.tell("mad1"); !slices.Equal(got, second) {
		t.Errorf("after a restart mad1 hears of %d pulls", len(got))
	}
	e.now = e.now.Add(7 * time.Hour)
	again := e.pulls(0, 10)
	restart()
	if got := e.tell("mad1"); !slices.Equal(got, again) {
		t.Errorf("after the interval mad1 hears of %d pulls", len(got))
	}
	if got, want := e.tell("drp1"), append(first[10:len(first):len(first)], append(second, again...)...); !slices.Equal(got, want) {
		t.Errorf("drp1 hears of %d pulls, want %d", len(got), len(want))
	}
	if n := e.metric(t, "untold"); n != 0 {
		t.Errorf("%v are untold", n)
	}
}

// What a peer says of a position that was never told counts for nothing.
func TestAPositionThatWasNotTold(t *testing.T) {
	e := newEdge(t, newMemory(), "mad1")
	all := e.pulls(0, 3)
	for _, position := range []uint64{0, 1 << 62} {
		if e.Told("mad1", position) {
			t.Errorf("%d: there is more", position)
		}
	}
	if got := e.tell("mad1"); !slices.Equal(got, all) {
		t.Errorf("mad1 hears of %v", got)
	}
}

// Of what a peer tells, images of projects that datacenters share are owed, once in an interval,
// and are not told on.
func TestWhatPeersTell(t *testing.T) {
	e := newEdge(t, newMemory(), "mad1")
	d := digest.FromString("one")
	good := []touch.Pull{{Repo: repo, Tag: "v1", Digest: d}, {Repo: repo, Digest: d}, {Repo: "repl-core/app", Tag: "v1", Digest: d}}
	for range 2 {
		e.Hear(good)
		e.Hear([]touch.Pull{{Repo: "cache-x/app", Digest: d}, {Repo: "plain/app", Tag: "v1", Digest: d}, {Repo: "multi-dc-demo/UPPER", Tag: "v1", Digest: d},
			{Repo: repo, Tag: "not a tag", Digest: d}, {Repo: repo, Tag: "v1", Digest: "sha256:x"}, {Repo: repo, Tag: "v1"}})
	}
	if n := e.metric(t, "pending"); n != float64(len(good)) {
		t.Errorf("%v are owed, want %d", n, len(good))
	}
	if got := e.tell("mad1"); len(got) > 0 {
		t.Errorf("mad1 is told of %v", got)
	}
	many := make([]touch.Pull, 600)
	for i := range many {
		many[i] = touch.Pull{Repo: repo, Tag: fmt.Sprint("many", i), Digest: d}
	}
	e.Hear(many)
	if n := e.metric(t, "pending"); n != float64(len(good)+500) {
		t.Errorf("%v are owed after a batch that is too large", n)
	}
}

// With touches off nothing is owed, and what a peer tells is not kept.
func TestTouchesThatAreOff(t *testing.T) {
	e := newEdge(t, newMemory(), "mad1")
	e.every = 0
	e.pulls(0, 3)
	e.Hear([]touch.Pull{{Repo: repo, Tag: "v1", Digest: digest.FromString("one")}})
	if n := e.metric(t, "pending"); n != 0 || len(e.state.values) != 0 {
		t.Errorf("%v are owed, %d are kept", n, len(e.state.values))
	}
}
