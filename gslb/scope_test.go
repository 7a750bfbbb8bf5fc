package gslb

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// The scope is that of the client's region whatever serves: a node that is cut off, and takes
// one datacenter for everybody's, says so to the resolvers of one region. Where several share
// a region, also when some of them are down, it is that of one site.
func TestTheScopeOfAnAnswer(t *testing.T) {
	f := &Fleet{Datacenters: three()}
	f.Datacenters[0].Networks = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}
	var err error
	if f.Places, err = NewPlaces(PlacesConfig{Datacenters: f.Datacenters}); err != nil {
		t.Fatal(err)
	}
	for _, now := range [][]status{up(true, true, true), up(true, false, true), up(false, false, true), up(false, false, false)} {
		for _, p := range []Panic{PanicAll, PanicLastGood, PanicBackup} {
			scope := func(method Method, subnet string, members ...int) int {
				v := newNameView(f, &Name{Method: method, Panic: p, Members: members}, now).families[0]
				return v.decide(f, client{resolver: netip.MustParseAddr("192.0.2.9"), subnet: netip.MustParsePrefix(subnet)}).scope
			}
			for subnet, want := range map[string]int{"10.1.2.0/24": 16, "198.51.100.0/24": 24, "2001:db8::/48": 56, "0.0.0.0/0": 0} {
				if got := scope(Nearest, subnet, 0, 1, 2); got != want {
					t.Errorf("%v %s: %s: %d, want %d", now, p, subnet, got, want)
				}
				for says, got := range map[string]int{"in declared order": scope(Failover, subnet, 0, 1, 2), "static": scope(Static, subnet, 0, 1, 2), "there is one": scope(Nearest, subnet, 0)} {
					if got != 0 {
						t.Errorf("%v %s: %s, %s: %d, and nobody asks where the client is", now, p, subnet, says, got)
					}
				}
			}
		}
	}
}

// What a backup answers with, and what a panic does, is kept for 5 s at most, or for less
// where the TTL is less.
func TestAnswersOfLastResortAreShort(t *testing.T) {
	f := &Fleet{Datacenters: three()}
	var err error
	if f.Places, err = NewPlaces(PlacesConfig{Datacenters: f.Datacenters}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		tier string
		now  []status
		p    Panic
		want time.Duration // of a TTL of 30 s
	}{
		{tierNearest, up(true, true, true), PanicAll, 30 * time.Second},
		{tierNearest, up(false, true, true), PanicAll, 30 * time.Second},
		{tierBackup, up(false, false, true), PanicAll, 5 * time.Second},
		{tierPanic, up(false, false, false), PanicAll, 5 * time.Second},
		{tierPanic, up(false, false, false), PanicBackup, 5 * time.Second},
		{tierNobody, up(false, false, false), PanicNodata, 5 * time.Second},
	} {
		for ttl, want := range map[time.Duration]time.Duration{30 * time.Second: c.want, 2 * time.Second: 2 * time.Second} {
			v := newNameView(f, &Name{Method: Nearest, Panic: c.p, TTL: ttl, Members: []int{0, 1, 2}}, c.now).families[0]
			if d := v.decide(f, client{resolver: netip.MustParseAddr("192.0.2.9")}); d.choice.tier != c.tier || d.ttl != want {
				t.Errorf("%v %s of %v: %s for %v, want %s for %v", c.now, c.p, ttl, d.choice.tier, d.ttl, c.tier, want)
			}
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
