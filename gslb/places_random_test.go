package gslb

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/maxmind/mmdbwriter/mmdbtype"
)

// Whatever scope an answer says, all clients in it are answered the same: with
// networks, topology, geography, weights and health as they come.
func TestScopeHoldsForAllItSays(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	for range 60 {
		f, entries := randomFleet(t, r)
		for _, n := range f.Zones[0].Names {
			for _, v := range newNameView(f, &n, randomStatus(r, len(f.Datacenters))).families {
				checkScopes(t, r, f, v, entries)
			}
		}
	}
}

// What find says of a client is what the networks, the topology and the database say,
// looked at one by one; and the prefix that it gives is in that region as a whole, and
// the largest that is.
func TestPlacesAreAsTheirSourcesSay(t *testing.T) {
	r := rand.New(rand.NewPCG(19, 20))
	for range 60 {
		f, entries := randomFleet(t, r)
		p := f.Places
		samples := borders(append(append(entries, allEntries(unroutable)...), allEntries(privateUse)...))
		for _, edge := range []string{"::", "255.255.255.255", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"} {
			samples = append(samples, netip.MustParseAddr(edge))
		}
		for range 30 {
			samples = append(samples, randomAddress(r))
		}
		samples = slices.DeleteFunc(samples, netip.Addr.Is4In6) // no address of a client: it is IPv4's
		oracle := map[netip.Addr]string{}
		for _, a := range samples {
			oracle[a] = f.sourcesSay(t, a)
		}
		for _, a := range samples {
			n, length := p.find(a)
			want := oracle[a]
			if got := fmt.Sprint(p.regions[n]); got != want {
				t.Fatalf("%s: %s, want %s", a, got, want)
			}
			differs := func(within netip.Prefix) bool {
				return slices.ContainsFunc(samples, func(s netip.Addr) bool { return within.Contains(s) && oracle[s] != want })
			}
			if within, err := a.Prefix(length); err != nil || differs(within) {
				t.Fatalf("%s: %s (%v) is not uniform", a, within, err)
			}
			if larger, err := a.Prefix(length - 1); length > 0 && err == nil && !differs(larger) && !larger.Contains(netip.MustParseAddr("::ffff:0:0")) {
				t.Fatalf("%s: %d bits, and %s is uniform too", a, length, larger)
			}
		}
	}
}

func allEntries(prefixes []netip.Prefix) (all []entry) {
	for _, p := range prefixes {
		all = append(all, entryOf(p, 0))
	}
	return all
}

// sourcesSay looks at all that says where a client is, one by one.
func (f *Fleet) sourcesSay(t *testing.T, a netip.Addr) string {
	t.Helper()
	p := f.Places
	in := func(prefixes []netip.Prefix) bool {
		return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	if in(unroutable) {
		return fmt.Sprint(p.regions[1])
	}
	if n := naive(p.entries, a); n != none {
		return fmt.Sprint(p.regions[n])
	}
	if in(privateUse) {
		return fmt.Sprint(p.regions[1])
	}
	if p.geo == nil || a.Is6() && (netip.MustParsePrefix("2002::/16").Contains(a) || netip.MustParsePrefix("2001::/32").Contains(a)) {
		return fmt.Sprint(p.regions[0])
	}
	var rec record
	if err := p.geo.Lookup(a).Decode(&rec); err != nil {
		t.Fatal(err)
	}
	r := &regions{datacenters: f.Datacenters, known: map[string]uint16{}}
	if n, err := r.ofRecord(rec); err != nil {
		t.Fatal(err)
	} else if n != none {
		return fmt.Sprint(r.all[n])
	}
	return fmt.Sprint(p.regions[0])
}

func randomStatus(r *rand.Rand, n int) (all []status) {
	for range n {
		all = append(all, status{healthy: r.IntN(4) > 0, away: r.IntN(6) == 0, lastGood: r.IntN(2) == 0})
	}
	return all
}

// randomFleet also returns what its topology is made of.
func randomFleet(t *testing.T, r *rand.Rand) (*Fleet, []entry) {
	t.Helper()
	f := &Fleet{}
	for i := range 1 + r.IntN(5) {
		dc := Datacenter{Name: fmt.Sprintf("dc%d", i), Backup: i > 0 && r.IntN(3) == 0, Weight: r.IntN(4), Addresses: addrs("192.0.2.1", "2001:db8::1")[:1+r.IntN(2)]}
		if r.IntN(4) > 0 {
			dc.Location = &Location{Latitude: r.Float64()*180 - 90, Longitude: r.Float64()*360 - 180}
		}
		f.Datacenters = append(f.Datacenters, dc)
	}
	var entries []entry
	text := ""
	seen := map[netip.Prefix]bool{}
	for i := range f.Datacenters {
		if p := randomPrefix(r); r.IntN(2) == 0 && !seen[p] {
			seen[p] = true
			f.Datacenters[i].Networks = []netip.Prefix{p}
			entries = append(entries, entryOf(p, 0))
			text += p.String() + " " + f.Datacenters[0].Name + "\n" // the fleet file counts
		}
	}
	for range 1 + r.IntN(40) {
		p := randomPrefix(r)
		if seen[p] {
			continue
		}
		seen[p] = true
		entries = append(entries, entryOf(p, 0))
		order := r.Perm(len(f.Datacenters))[:1+r.IntN(len(f.Datacenters))]
		text += p.String() + " "
		for i, dc := range order {
			text += f.Datacenters[dc].Name
			if i+1 < len(order) {
				text += []string{" ", ","}[r.IntN(2)]
			}
		}
		text += "\n"
	}
	cfg := PlacesConfig{Datacenters: f.Datacenters, Topology: writeFile(t, "topology.txt", []byte(text))}
	if r.IntN(2) == 0 {
		records := map[string]mmdbtype.Map{}
		for range 20 {
			p, _ := netip.AddrFrom4([4]byte{byte(10 * (1 + r.IntN(2))), byte(r.IntN(2) * 10), byte(r.Uint32()), 0}).Prefix(8 + r.IntN(17))
			entries = append(entries, entryOf(p, 0))
			records[p.String()] = city(r.Float64()*180-90, r.Float64()*360-180)
		}
		cfg.GeoIP = writeFile(t, "city.mmdb", database(t, records))
	}
	var err error
	if f.Places, err = NewPlaces(cfg); err != nil {
		t.Fatal(err)
	}
	zone := Zone{Origin: "h.example."}
	for i, method := range []Method{Nearest, Failover, Static} {
		members := r.Perm(len(f.Datacenters))
		zone.Names = append(zone.Names, Name{Name: fmt.Sprintf("n%d.h.example.", i), Method: method, Panic: []Panic{PanicAll, PanicLastGood, PanicBackup, PanicNodata}[r.IntN(4)], Members: members, MinPrimaries: r.IntN(3)})
	}
	f.Zones = []Zone{zone}
	return f, entries
}

func checkScopes(t *testing.T, r *rand.Rand, f *Fleet, v *familyView, entries []entry) {
	t.Helper()
	resolver := randomAddress(r)
	samples := borders(entries)
	for range 50 {
		samples = append(samples, randomAddress(r))
	}
	subnet := func(a netip.Addr) netip.Prefix { // as resolvers send it, or whole
		p, _ := a.Prefix([]int{a.BitLen(), together(a).Bits(), 1 + r.IntN(a.BitLen())}[r.IntN(3)])
		return p
	}
	for range 60 {
		a := samples[r.IntN(len(samples))]
		if a.Is4In6() {
			continue
		}
		c := client{resolver: resolver, subnet: subnet(a)}
		d := v.decide(f, c)
		within, err := c.subnet.Addr().Prefix(d.scope)
		if err != nil {
			t.Fatalf("scope %d for %s", d.scope, c.subnet)
		}
		inside := []netip.Addr{}
		for _, s := range samples {
			if within.Contains(s) {
				inside = append(inside, s)
			}
		}
		for range 20 { // anywhere in the scope
			b := randomAddress(r).As16()
			if within.Addr().Is4() {
				if x := randomAddress(r); x.Is4() {
					inside = append(inside, intoPrefix(within, x.AsSlice()))
				}
				continue
			}
			inside = append(inside, intoPrefix(within, b[:]))
		}
		for _, s := range inside {
			if s.Is4() != within.Addr().Is4() || s.Is4In6() {
				continue
			}
			other := v.decide(f, client{resolver: resolver, subnet: netip.PrefixFrom(s, s.BitLen())})
			if other.datacenter != d.datacenter {
				t.Fatalf("%s has scope %d and is sent to %d (%v); %s in it is sent to %d (%v)", c.subnet, d.scope, d.datacenter, d.choice, s, other.datacenter, other.choice)
			}
		}
	}
}

// intoPrefix puts the prefix's bits before those of b.
func intoPrefix(p netip.Prefix, b []byte) netip.Addr {
	head := p.Addr().AsSlice()
	for i := range p.Bits() {
		bit := byte(0x80 >> (i % 8))
		b[i/8] = b[i/8]&^bit | head[i/8]&bit
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// Backups are answered only when no primary serves, unless the name says otherwise.
func TestBackupsWaitForPrimaries(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	for range 100 {
		f, _ := randomFleet(t, r)
		n := f.Zones[0].Names[0]
		n.MinPrimaries = 0
		now := randomStatus(r, len(f.Datacenters))
		serves := func(dc int) bool { return now[dc].healthy && !now[dc].away && slices.Contains(n.Members, dc) }
		primaries, anybody := false, false
		for dc := range f.Datacenters {
			primaries = primaries || serves(dc) && !f.Datacenters[dc].Backup
			anybody = anybody || serves(dc)
		}
		v := newNameView(f, &n, now).families[0]
		for range 1000 {
			d := v.decide(f, client{resolver: randomAddress(r)})
			switch {
			case d.datacenter < 0 && (anybody || n.Panic != PanicNodata):
				t.Fatalf("nobody is answered, and %v", now)
			case anybody && !serves(d.datacenter), primaries && f.Datacenters[d.datacenter].Backup:
				t.Fatalf("%s is answered, and %v", f.Datacenters[d.datacenter].Name, now)
			}
		}
	}
}
