package gslb

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

// An entry is small, and says its prefix all the same.
func TestEntriesKeepTheirPrefix(t *testing.T) {
	for _, text := range []string{"0.0.0.0/0", "::/0", "255.255.255.255/32", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128", "10.0.0.0/8", "2001:db8::/32", "::/96", "::fffe:0:0/95"} {
		if got := entryOf(netip.MustParsePrefix(text), 0).prefix(); got.String() != text {
			t.Errorf("%s, want %s", got, text)
		}
	}
}

// naive is the longest prefix that holds the address, by looking at all.
func naive(entries []entry, a netip.Addr) uint16 {
	best, value := -1, none
	for _, e := range entries {
		if e.prefix().Contains(a) && e.prefix().Bits() >= best {
			best, value = e.prefix().Bits(), e.value
		}
	}
	return value
}

func randomPrefix(r *rand.Rand) netip.Prefix {
	a := randomAddress(r)
	if r.IntN(3) > 0 { // so that they nest
		b := a.AsSlice()
		for i := range 3 {
			b[i] = byte(r.IntN(2)) * 10
		}
		b[0] += 10
		a, _ = netip.AddrFromSlice(b)
	}
	p, _ := a.Prefix(r.IntN(a.BitLen() + 1))
	return p
}

// borders are the addresses at which something may change.
func borders(entries []entry) (all []netip.Addr) {
	for _, e := range entries {
		first := e.prefix().Addr()
		b := first.AsSlice()
		for i := e.prefix().Bits(); i < len(b)*8; i++ {
			b[i/8] |= 0x80 >> (i % 8)
		}
		last, _ := netip.AddrFromSlice(b)
		for _, a := range []netip.Addr{first, last, first.Prev(), last.Next()} {
			if a.IsValid() {
				all = append(all, a)
			}
		}
	}
	return all
}

// The table against an oracle: values, and that the prefix it gives is uniform and
// the largest.
func TestTableIsTheLongestPrefix(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		var upper, lower []entry
		for _, entries := range []*[]entry{&upper, &lower} {
			for range r.IntN(30) {
				*entries = append(*entries, entryOf(randomPrefix(r), uint16(r.IntN(3))))
			}
			slices.SortFunc(*entries, entry.compare) // of one prefix, one
			*entries = slices.CompactFunc(*entries, func(a, b entry) bool { return a.prefix() == b.prefix() })
			r.Shuffle(len(*entries), func(i, j int) { (*entries)[i], (*entries)[j] = (*entries)[j], (*entries)[i] })
		}
		tab := newTable(upper).over(newTable(lower))
		value := func(a netip.Addr) uint16 {
			if v := naive(upper, a); v != none {
				return v
			}
			return naive(lower, a)
		}
		samples := append(borders(upper), borders(lower)...)
		samples = append(samples, netip.IPv4Unspecified(), netip.MustParseAddr("255.255.255.255"), netip.MustParseAddr("::"), netip.MustParseAddr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"))
		for range 20 {
			samples = append(samples, randomAddress(r))
		}
		uniform := func(p netip.Prefix, want uint16) bool {
			return !slices.ContainsFunc(samples, func(a netip.Addr) bool { return p.Contains(a) && value(a) != want })
		}
		for _, a := range samples {
			if a.Is4In6() {
				continue // no address of a client: it is IPv4's
			}
			got, length := tab.find(a)
			want := value(a)
			if got != want {
				t.Fatalf("%s: %d, want %d\n%v\n%v", a, got, want, upper, lower)
			}
			p, err := a.Prefix(length)
			if err != nil || !uniform(p, want) {
				t.Fatalf("%s: %s (%v) is not uniform\n%v\n%v", a, p, err, upper, lower)
			}
			// All borders of what was given are among the samples: a larger prefix that looks uniform is.
			if larger, err := a.Prefix(length - 1); length > 0 && err == nil && uniform(larger, want) && !(a.Is6() && larger.Contains(netip.MustParseAddr("::ffff:0:0"))) {
				t.Fatalf("%s: %s, and %s is uniform too\n%v\n%v", a, p, larger, upper, lower)
			}
		}
	}
}

func BenchmarkFind(b *testing.B) {
	r := rand.New(rand.NewPCG(5, 6))
	var entries []entry
	for range 1_000_000 {
		a := randomAddress(r)
		p, _ := a.Prefix(16 + r.IntN(9))
		entries = append(entries, entryOf(p, uint16(r.IntN(8))))
	}
	t := newTable(entries)
	clients := make([]netip.Addr, 4096)
	for i := range clients {
		clients[i] = randomAddress(r)
	}
	b.ReportMetric(float64(len(t.starts)), "intervals")
	for i := 0; b.Loop(); i++ {
		t.find(clients[i%len(clients)])
	}
}
