package gslb

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

// Where one datacenter is everybody's, the answer is for all clients, whatever it was
// asked for; where several share them, it is for those of one site.
func TestTheScopeOfAnAnswer(t *testing.T) {
	f := &Fleet{Datacenters: []Datacenter{{Name: "par1", Networks: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}}, {Name: "mad1"}}}
	var err error
	if f.Places, err = NewPlaces(PlacesConfig{Datacenters: f.Datacenters}); err != nil {
		t.Fatal(err)
	}
	scope := func(method Method, subnet string, now ...bool) int {
		v := newNameView(f, &Name{Method: method, Members: []int{0, 1}}, up(now...))
		return v.decide(f, client{resolver: netip.MustParseAddr("192.0.2.9"), subnet: netip.MustParsePrefix(subnet)}).scope
	}
	for subnet, want := range map[string]int{"10.1.2.0/24": 16, "198.51.100.0/24": 24, "2001:db8::/48": 56, "0.0.0.0/0": 0} {
		if got := scope(Nearest, subnet, true, true); got != want {
			t.Errorf("%s: %d, want %d", subnet, got, want)
		}
		if got := scope(Nearest, subnet, true, false); got != 0 {
			t.Errorf("%s, all are sent to par1: %d", subnet, got)
		}
		if got := scope(Static, subnet, true, true); got != 0 {
			t.Errorf("%s, in declared order: %d", subnet, got)
		}
	}
}

// The longest prefix that holds an address is found as by looking at all of them.
func TestTheLongestEntry(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 300 {
		var entries []entry
		for i := range 1 + r.IntN(30) {
			e := entryOf(randomPrefix(r), uint16(i))
			e.line = uint32(1 + i)
			entries = append(entries, e)
		}
		entries = append(entries, entryOf(netip.MustParsePrefix("0.0.0.0/0"), 100), entryOf(netip.MustParsePrefix("::/0"), 101), entryOf(netip.MustParsePrefix("192.0.2.1/32"), 102))
		slices.SortFunc(entries, entry.compare)
		samples := append(borders(entries), netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("0.0.0.0"), netip.MustParseAddr("::"))
		for _, a := range samples {
			if a.Is4In6() {
				continue
			}
			best := -1
			for _, e := range entries {
				if p := e.prefix(); p.Contains(a) {
					best = max(best, p.Bits())
				}
			}
			e, ok := longest(entries, a)
			if !ok || e.prefix().Bits() != best || !e.prefix().Contains(a) {
				t.Fatalf("%s: %s, %t, want a length of %d", a, e.prefix(), ok, best)
			}
		}
	}
	if e, ok := longest(nil, netip.MustParseAddr("10.0.0.1")); ok {
		t.Errorf("there is %s in nothing", e.prefix())
	}
}

// The bits behind each length.
func TestMask(t *testing.T) {
	for length := range 129 {
		p, err := netip.MustParseAddr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff").Prefix(length)
		if err != nil {
			t.Fatal(err)
		}
		front, m := keyOf(p.Masked().Addr()), mask(length)
		if front.or(m) != (key{^uint64(0), ^uint64(0)}) || front.hi&m.hi != 0 || front.lo&m.lo != 0 {
			t.Errorf("behind %d bits: %x", length, m)
		}
	}
}
