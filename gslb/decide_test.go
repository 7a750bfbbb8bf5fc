package gslb

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

// three are two primaries and a backup, the second with twice the share.
func three() []Datacenter {
	return []Datacenter{{Name: "par1", Addresses: addrs("192.0.2.1")}, {Name: "mad1", Addresses: addrs("192.0.2.2"), Weight: 2}, {Name: "drp1", Addresses: addrs("192.0.2.3"), Backup: true}}
}

func up(all ...bool) (s []status) {
	for _, healthy := range all {
		s = append(s, status{healthy: healthy})
	}
	return s
}

func TestChoose(t *testing.T) {
	far := [][]int{{0}, {1}, {2}}      // par1's clients
	nearBackup := [][]int{{2}, {0, 1}} // clients beside the backup
	drained := up(true, true, true)
	drained[0].away = true
	good := up(false, false, false)
	good[1].lastGood = true
	all := []Name{{Method: Nearest, Panic: PanicLastGood, Members: []int{0, 1, 2}}}[0]
	with := func(change func(*Name)) *Name {
		n := all
		change(&n)
		return &n
	}
	for _, c := range []struct {
		says   string
		name   *Name
		now    []status
		groups [][]int
		want   []int
		tier   string
	}{
		{"all are healthy", &all, up(true, true, true), far, []int{0}, tierNearest},
		{"the nearest is down", &all, up(false, true, true), far, []int{1}, tierFarther},
		{"a drained one is as good as down", &all, drained, far, []int{1}, tierFarther},
		{"no primary", &all, up(false, false, true), far, []int{2}, tierBackup},
		{"a backup is never beside primaries, however near", &all, up(true, true, true), nearBackup, []int{0, 1}, tierNearest},
		{"one of the equally near is down", &all, up(false, true, true), nearBackup, []int{1}, tierNearest},
		{"fewer primaries than declared: the near backup counts", with(func(n *Name) { n.MinPrimaries = 2 }), up(false, true, true), nearBackup, []int{2}, tierBackup},
		{"fewer primaries than declared: not for who has one", with(func(n *Name) { n.MinPrimaries = 2 }), up(true, false, true), far, []int{0}, tierNearest},
		{"no more primaries can be asked for than the name has", with(func(n *Name) { n.MinPrimaries, n.Members = 2, []int{1, 2} }), up(true, true, true), nearBackup, []int{1}, tierNearest},
		{"nobody, and nobody ever was: all", &all, up(false, false, false), far, []int{0}, tierPanic},
		{"nobody: who was healthy last", &all, good, far, []int{1}, tierPanic},
		{"nobody: all", with(func(n *Name) { n.Panic = PanicAll }), good, far, []int{0}, tierPanic},
		{"nobody: the backup", with(func(n *Name) { n.Panic = PanicBackup }), good, far, []int{2}, tierPanic},
		{"nobody: an empty answer", with(func(n *Name) { n.Panic = PanicNodata }), good, far, nil, tierNobody},
		{"failover in declared order", with(func(n *Name) { n.Method, n.Members = Failover, []int{1, 0, 2} }), up(true, true, true), far, []int{1}, tierNearest},
		{"failover: the next", with(func(n *Name) { n.Method, n.Members = Failover, []int{1, 0, 2} }), up(true, false, true), far, []int{0}, tierFarther},
		{"failover: backups last wherever they stand", with(func(n *Name) { n.Method, n.Members = Failover, []int{2, 1, 0} }), up(true, true, true), far, []int{1}, tierNearest},
		{"failover: the backup", with(func(n *Name) { n.Method, n.Members = Failover, []int{2, 1, 0} }), up(false, false, true), far, []int{2}, tierBackup},
		{"static: whatever its health", with(func(n *Name) { n.Method = Static }), up(false, true, true), far, []int{0}, tierNearest},
		{"static: but not drained", with(func(n *Name) { n.Method = Static }), drained, far, []int{1}, tierFarther},
		{"only members count", with(func(n *Name) { n.Members = []int{1, 2} }), up(true, true, true), far, []int{1}, tierNearest},
		{"no members", with(func(n *Name) { n.Members = nil }), up(true, true, true), far, nil, tierNobody},
	} {
		if got := choose(c.name, three(), c.now, c.groups); !slices.Equal(got.set, c.want) || got.tier != c.tier {
			t.Errorf("%s: %v %s, want %v %s", c.says, got.set, got.tier, c.want, c.tier)
		}
	}
	// All are drained, by mistake: they are answered all the same.
	for i := range drained {
		drained[i].away = true
	}
	if got := choose(&all, three(), drained, far); !slices.Equal(got.set, []int{0}) || got.tier != tierPanic {
		t.Errorf("all drained: %v", got)
	}
}

func randomAddress(r *rand.Rand) netip.Addr {
	if r.IntN(2) == 0 {
		return netip.AddrFrom4([4]byte{byte(1 + r.IntN(223)), byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())})
	}
	a := [16]byte{0x20, byte(r.Uint32())}
	for i := 2; i < 16; i++ {
		a[i] = byte(r.Uint32())
	}
	return netip.AddrFrom16(a)
}

// Shares are as the weights within 2 %, one who is lost takes its own clients
// along and nobody else's, and the order in which a node lists datacenters is nothing.
func TestPickSharesByWeight(t *testing.T) {
	const clients = 100_000
	r := rand.New(rand.NewPCG(1, 2))
	all := []Datacenter{{Name: "par1", Weight: 1}, {Name: "mad1", Weight: 2}, {Name: "fra1", Weight: 3}, {Name: "ams1"}}
	turned := []Datacenter{all[3], all[2], all[1], all[0]}
	counts := map[string]int{}
	for range clients {
		c := randomAddress(r)
		best := all[pick([]int{0, 1, 2, 3}, all, c)].Name
		counts[best]++
		if other := turned[pick([]int{0, 1, 2, 3}, turned, c)].Name; other != best {
			t.Fatalf("%s: %s here, %s at a node that lists them otherwise", c, best, other)
		}
		without := all[pick([]int{0, 2, 3}, all, c)].Name
		if best != "mad1" && without != best {
			t.Fatalf("%s: moved from %s to %s, and mad1 was lost", c, best, without)
		}
		neighbour := together(c).Addr().Next()
		if same := all[pick([]int{0, 1, 2, 3}, all, neighbour)].Name; same != best {
			t.Fatalf("%s is sent to %s, its neighbour %s to %s", c, best, neighbour, same)
		}
	}
	for i, dc := range all {
		share, want := float64(counts[dc.Name])/clients, float64(max(1, all[i].Weight))/7
		if math.Abs(share-want) > 0.02*want+0.002 { // and three standard deviations of the sample
			t.Errorf("%s has %.4f of the clients, want %.4f", dc.Name, share, want)
		}
	}
}

// What cannot be a client's network is not believed: the resolver's address counts,
// for all that is not believed either.
func TestSubnetsThatAreNotBelieved(t *testing.T) {
	f := &Fleet{Datacenters: []Datacenter{{Name: "par1", Addresses: addrs("192.0.2.1"), Networks: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("127.1.0.0/16")}},
		{Name: "mad1", Addresses: addrs("192.0.2.2"), Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}}}
	var err error
	if f.Places, err = NewPlaces(PlacesConfig{Datacenters: f.Datacenters}); err != nil {
		t.Fatal(err)
	}
	v := newNameView(f, &Name{Method: Nearest, Members: []int{0, 1}}, up(true, true)).families[0]
	for subnet, want := range map[string]string{
		"":                   "mad1 0",
		"0.0.0.0/0":          "mad1 0",
		"10.1.2.0/24":        "par1 16",
		"10.2.2.0/24":        "mad1 15", // private, and nobody says whose
		"127.1.0.0/24":       "mad1 8",
		"169.254.1.0/24":     "mad1 16",
		"100.64.1.0/24":      "mad1 10",
		"fd00::/56":          "mad1 7",
		"fe80::/64":          "mad1 10",
		"::ffff:1.2.3.0/120": "mad1 96",
	} {
		c := client{resolver: netip.MustParseAddr("192.0.2.9")}
		if subnet != "" {
			c.subnet = netip.MustParsePrefix(subnet)
		}
		d := v.decide(f, c)
		if got := fmt.Sprint(f.Datacenters[d.datacenter].Name, " ", d.scope); got != want {
			t.Errorf("%q: %s, want %s", subnet, got, want)
		}
	}
}
