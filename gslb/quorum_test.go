package gslb

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// sides are all ways to cut n nodes into sides that hear and reach each other: sides[i] is the
// side of node i.
func sides(n int) (all [][]int) {
	var grow func(so []int, used int)
	grow = func(so []int, used int) {
		if len(so) == n {
			all = append(all, slices.Clone(so))
			return
		}
		for side := range used + 1 {
			grow(append(so, side), max(used, side+1))
		}
	}
	grow(nil, 0)
	return all
}

// cutFleet is a fleet that is cut: which side each datacenter is on, which edges are dead, and
// which sides reach the witnesses.
type cutFleet struct {
	names            []string
	side             []int
	dead, witnessing int // bits, of datacenters and of sides
}

// probed is what the probes of the node i say.
func (c cutFleet) probed(i int) map[string]DatacenterHealth {
	own := map[string]DatacenterHealth{}
	for j, name := range c.names {
		own[name] = DatacenterHealth{Up: c.side[j] == c.side[i] && c.dead>>j&1 == 0}
	}
	return own
}

// alone reports whether nobody else is on the side of i.
func (c cutFleet) alone(i int) bool {
	return !slices.ContainsFunc(c.names, func(name string) bool {
		j := slices.Index(c.names, name)
		return j != i && c.side[j] == c.side[i]
	})
}

// judged is what the node i makes of what it sees and hears, when all was well before.
func (c cutFleet) judged(i int) (map[string]DatacenterHealth, bool) {
	var others []heard
	before := map[string]DatacenterHealth{}
	for j, name := range c.names {
		before[name] = DatacenterHealth{Up: true}
		if j != i && c.side[j] == c.side[i] {
			others = append(others, heard{Observation: Observation{Node: name, ID: name, Datacenters: c.probed(j)}})
		}
	}
	return conclude(c.names[i], before, seen{own: c.probed(i)}, others, c.witnessing>>c.side[i]&1 == 0)
}

// Every cut of three and of five name servers, with every set of dead edges, and of sides that
// reach the witnesses. The last datacenter is a backup.
func TestNoIsolatedNodeRaisesABackup(t *testing.T) {
	for _, names := range [][]string{{"par1", "mad1", "drp1"}, {"par1", "mad1", "fra1", "ber1", "drp1"}} {
		f := &Fleet{}
		n := Name{Name: "h.", Method: Nearest, Panic: PanicLastGood}
		var groups [][]int
		for i, name := range names {
			f.Datacenters = append(f.Datacenters, Datacenter{Name: name, Backup: i == len(names)-1})
			n.Members = append(n.Members, i)
			groups = append(groups, []int{i})
		}
		cases := 0
		for _, side := range sides(len(names)) {
			for dead := range 1 << len(names) {
				for witnessing := range 1 << (slices.Max(side) + 1) {
					cases++
					c := cutFleet{names, side, dead, witnessing}
					c.check(t, f, &n, groups)
				}
			}
		}
		t.Logf("%d nodes: %d cases", len(names), cases)
	}
}

func (c cutFleet) check(t *testing.T, f *Fleet, n *Name, groups [][]int) {
	t.Helper()
	what := fmt.Sprintf("sides %v, dead %b, witnesses %b", c.side, c.dead, c.witnessing)
	last := len(c.names) - 1
	for i, name := range c.names {
		judged, isolated := c.judged(i)
		m := &moment{at: time.Now(), health: judged, lastGood: map[string][]string{}}
		choice := choose(n, f.Datacenters, m.statusOf(f, n), groups)
		cut := c.alone(i) && c.witnessing>>c.side[i]&1 == 0
		if isolated != cut {
			t.Fatalf("%s: %s is isolated: %v", what, name, isolated)
		}
		raises := len(choice.set) == 1 && choice.set[0] == last
		if cut && raises {
			t.Fatalf("%s: %s is isolated and raises the backup", what, name)
		}
		if !cut { // who is on its side is up as its edge is, and nobody else is
			if want := c.probed(i); !maps.EqualFunc(judged, want, DatacenterHealth.equal) {
				t.Fatalf("%s: %s judges %v, want %v", what, name, judged, want)
			}
			primaries := slices.ContainsFunc(c.names[:last], func(p string) bool { return c.probed(i)[p].Up })
			if serves := c.probed(i)[c.names[last]].Up && !primaries; serves != (raises && choice.tier == tierBackup) {
				t.Fatalf("%s: %s raises the backup: %v", what, name, raises)
			}
		}
		for j := range c.names { // nobody differs from who it hears
			if other, _ := c.judged(j); c.side[i] == c.side[j] && i != j && !maps.EqualFunc(judged, other, DatacenterHealth.equal) {
				t.Fatalf("%s: %s and %s differ: %v, %v", what, name, c.names[j], judged, other)
			}
		}
	}
}

// What one node alone sees of a datacenter is outvoted, in both directions; a tie takes nobody out.
func TestTheMajorityOfThoseWhoAreHeardJudges(t *testing.T) {
	up, down := DatacenterHealth{Up: true}, DatacenterHealth{Why: "no route"}
	for _, c := range []struct {
		own    DatacenterHealth
		others []DatacenterHealth
		up     bool
	}{
		{up, nil, true}, {down, nil, false},
		{down, []DatacenterHealth{up}, true}, {up, []DatacenterHealth{down}, true}, {down, []DatacenterHealth{down}, false},
		{down, []DatacenterHealth{up, up}, true}, {up, []DatacenterHealth{down, down}, false}, {up, []DatacenterHealth{up, down}, true}, {down, []DatacenterHealth{up, down}, false},
		{up, []DatacenterHealth{down, down, up}, true}, {up, []DatacenterHealth{down, down, down}, false}, {down, []DatacenterHealth{up, up, down, down}, false},
	} {
		var others []heard
		for i, d := range c.others {
			others = append(others, heard{Observation: Observation{Node: fmt.Sprint("n", i), Datacenters: map[string]DatacenterHealth{"par1": d}}})
		}
		others = append(others, heard{Observation: Observation{Node: "new", Datacenters: map[string]DatacenterHealth{"other": down}}}) // says nothing of it
		for range 4 {                                                                                                                  // they probe another address
			others = append(others, heard{Observation: Observation{Node: "old", Asked: map[string]string{"par1": "edge https://old"}, Datacenters: map[string]DatacenterHealth{"par1": {Up: !c.up, Why: "old"}}}})
		}
		got := judge(seen{own: map[string]DatacenterHealth{"par1": c.own}}, others)["par1"]
		if got.Up != c.up || (got.Why == "") != c.up {
			t.Errorf("own %v, others %v: %v", c.own.Up, c.others, got)
		}
	}
}

// An address is left out when most of those who reach the datacenter say that it is dead.
func TestTheMajorityJudgesAddressesToo(t *testing.T) {
	one, two := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	says := func(dead ...netip.Addr) DatacenterHealth {
		d := DatacenterHealth{Up: true, Dead: map[netip.Addr]string{}}
		for _, a := range dead {
			d.Dead[a] = "refused"
		}
		return d
	}
	for _, c := range []struct {
		votes []DatacenterHealth // the first is this node's own
		dead  []netip.Addr
	}{
		{[]DatacenterHealth{says(one)}, []netip.Addr{one}},
		{[]DatacenterHealth{says(one), says()}, nil},
		{[]DatacenterHealth{says(one), says(), says(one)}, []netip.Addr{one}},
		{[]DatacenterHealth{says(), says(one), says(one)}, []netip.Addr{one}},
		{[]DatacenterHealth{says(one), says(two), says()}, nil},
		{[]DatacenterHealth{says(one), {Why: "no route"}, says()}, nil},
		{[]DatacenterHealth{{Why: "no route"}, says(two), says(two)}, []netip.Addr{two}},
	} {
		var others []heard
		for i, d := range c.votes[1:] {
			others = append(others, heard{Observation: Observation{Node: fmt.Sprint("n", i), Datacenters: map[string]DatacenterHealth{"par1": d}}})
		}
		got := judge(seen{own: map[string]DatacenterHealth{"par1": c.votes[0]}}, others)["par1"]
		if dead := slices.SortedFunc(maps.Keys(got.Dead), netip.Addr.Compare); !got.Up || !slices.Equal(dead, c.dead) {
			t.Errorf("%v: %v", c.votes, got)
		}
	}
}

// An observation that is older than the last one, or this node's own, is none; and who is silent
// is heard no longer.
func TestAnOldObservationIsNone(t *testing.T) {
	o, now := newObservers(), time.Now()
	o.keepFor(time.Second)
	hear := func(id string, seq uint64, up bool, at time.Time) {
		o.hear(Observation{Node: "mad1", ID: id, Seq: seq, Datacenters: map[string]DatacenterHealth{"par1": {Up: up}}}, at)
	}
	hear("a", 5, false, now)
	hear("a", 5, true, now)
	hear("a", 4, true, now)
	hear(o.id, 9, true, now)
	if all := o.fresh(now); len(all) != 1 || all[0].Datacenters["par1"].Up {
		t.Errorf("%v", all)
	}
	hear("a", 6, true, now.Add(600*time.Millisecond))
	if all := o.fresh(now.Add(1500 * time.Millisecond)); len(all) != 1 || !all[0].Datacenters["par1"].Up {
		t.Errorf("%v", all)
	}
	if all := o.fresh(now.Add(1700 * time.Millisecond)); len(all) != 0 {
		t.Errorf("silent for over a second: %v", all)
	}
	for i := range 2 * maxHeard {
		hear(fmt.Sprint("many", i), 1, true, now.Add(2*time.Second))
	}
	if all := o.fresh(now.Add(2 * time.Second)); len(all) > maxHeard {
		t.Errorf("%d are heard", len(all))
	}
}
