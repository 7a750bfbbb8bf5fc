package gslb

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/maxmind/mmdbwriter/mmdbtype"
)

// four are datacenters of which two are in one city.
func four() []Datacenter {
	return []Datacenter{
		{Name: "par1", Location: &Location{48.86, 2.35, "FR", "EU"}, Networks: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}},
		{Name: "par2", Location: &Location{48.80, 2.40, "FR", "EU"}},
		{Name: "nyc1", Location: &Location{40.71, -74.01, "US", "NA"}},
		{Name: "lab1"},
	}
}

func (p *Places) groupsOf(t *testing.T, client string) string {
	t.Helper()
	n, _ := p.find(netip.MustParseAddr(client))
	var groups []string
	for _, g := range p.regions[n].groups {
		var names []string
		for _, dc := range g {
			names = append(names, p.datacenters[dc].Name)
		}
		groups = append(groups, strings.Join(names, ","))
	}
	return strings.Join(groups, " ")
}

func writeFile(t *testing.T, name string, data []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestKilometres(t *testing.T) {
	par, nyc := *four()[0].Location, *four()[2].Location
	if d := par.Kilometres(nyc); d < 5820 || d > 5850 {
		t.Errorf("Paris to New York is %.0f km", d)
	}
	if d := par.Kilometres(par); d != 0 {
		t.Errorf("Paris to Paris is %f km", d)
	}
}

func TestPlaces(t *testing.T) {
	topology := writeFile(t, "topology.txt", []byte("# who is where\n10.1.128.0/17 nyc1 par2\r\n\n10.0.0.0/8\tlab1,nyc1   # half and half\n::ffff:172.16.0.0/108 nyc1\n2001:db8:9::/48 lab1"))
	geo := writeFile(t, "city.mmdb", database(t, map[string]mmdbtype.Map{
		"1.0.0.0/8": city(45.76, 4.84), "1.2.0.0/16": city(42.36, -71.06), "1.3.0.0/16": country("US", "NA"), "1.4.0.0/16": country("CA", "NA"),
		"1.5.0.0/16": country("BR", "SA"), "1.6.0.0/16": {}, "2a00::/16": city(51.51, -0.13), "10.1.2.0/24": city(42.36, -71.06),
	}))
	p, err := NewPlaces(PlacesConfig{Datacenters: four(), Topology: topology, GeoIP: geo})
	if err != nil {
		t.Fatal(err)
	}
	for client, want := range map[string]string{
		"10.1.2.3":        "par1 par2 nyc1 lab1", // a datacenter's network, whatever geography says
		"10.1.200.3":      "nyc1 par2 par1 lab1", // a longer prefix of the topology
		"10.9.9.9":        "nyc1,lab1 par1,par2", // equally near; lab1 is nowhere, so the rest is equally far
		"172.16.1.1":      "nyc1 par1,par2 lab1", // IPv4 as IPv6 writes it; the rest by distance from New York
		"2001:db8:9::1":   "lab1 par1,par2,nyc1", //
		"1.1.1.1":         "par2,par1 nyc1 lab1", // Lyon: both of Paris are as near
		"1.2.3.4":         "nyc1 par1,par2 lab1", // Boston
		"::ffff:1.2.3.4":  "nyc1 par1,par2 lab1", //
		"1.3.3.4":         "nyc1 par1,par2,lab1", // the country
		"1.4.3.4":         "nyc1 par1,par2,lab1", // the continent
		"1.5.3.4":         "par1,par2,nyc1,lab1", // neither: nothing is known
		"1.6.3.4":         "par1,par2,nyc1,lab1", //
		"2a00:1450::1":    "par1,par2 nyc1 lab1", // London
		"203.0.113.7":     "par1,par2,nyc1,lab1", // in nothing
		"192.168.1.1":     "par1,par2,nyc1,lab1", // private, and in no topology
		"2001:db8:ffff::": "par1,par2,nyc1,lab1", //
	} {
		if got := p.groupsOf(t, client); got != want {
			t.Errorf("%s: %s, want %s (%s)", client, got, want, p.explain(netip.MustParseAddr(client)))
		}
	}
	p, err = NewPlaces(PlacesConfig{Datacenters: four(), Order: []int{2, 0}})
	if err != nil {
		t.Fatal(err)
	}
	if got := p.groupsOf(t, "203.0.113.7"); got != "nyc1 par1 par2,lab1" {
		t.Errorf("in declared order: %s", got)
	}
}

// explain names what decided: the prefix, its line, coordinates and distances.
func TestExplainNamesItsSource(t *testing.T) {
	topology := writeFile(t, "topology.txt", []byte("# who is where\n10.0.0.0/8 lab1,nyc1\n10.0.0.0/9 nyc1\n10.0.0.0/8 nyc1,lab1\n10.1.0.0/16 nyc1\n2001:db8::/32 par2"))
	p, err := NewPlaces(PlacesConfig{Datacenters: four(), Topology: topology, GeoIP: writeFile(t, "city.mmdb", database(t, map[string]mmdbtype.Map{
		"1.0.0.0/8": city(45.76, 4.84), "1.3.0.0/16": country("US", "NA"), "1.5.0.0/16": country("", "EU"), "10.0.0.0/8": city(42.36, -71.06),
	}))})
	if err != nil {
		t.Fatal(err)
	}
	for client, want := range map[string]string{
		"10.1.2.3":       "it is in a network of par1 (10.1.0.0/16), as is all of 10.1.0.0/16; nearest first: par1, then par2, then nyc1, then lab1",
		"10.200.0.1":     "it is in the topology file (10.0.0.0/8, topology.txt:2), as is all of 10.128.0.0/9; nearest first: nyc1 and lab1, then par1 and par2",
		"10.2.0.1":       "it is in the topology file (10.0.0.0/9, topology.txt:3), as is all of 10.2.0.0/15; nearest first: nyc1, then par1 and par2, then lab1",
		"2001:db8::1":    "it is in the topology file (2001:db8::/32, topology.txt:6), as is all of 2001:db8::/32; nearest first: par2, then par1, then nyc1, then lab1",
		"::ffff:1.1.1.1": "by its coordinates (45.76, 4.84), as is all of 1.0.0.0/15; nearest first: par2 (385 km) and par1 (392 km), then nyc1 (6147 km), then lab1",
		"1.3.0.1":        "by its country or continent (US, NA), as is all of 1.3.0.0/16; nearest first: nyc1, then par1 and par2 and lab1",
		"1.5.0.1":        "by its country or continent (EU), as is all of 1.5.0.0/16; nearest first: par1 and par2, then nyc1 and lab1",
		"2a00::1":        "nothing is known of it, as is all of 2800::/5; nearest first: par1 and par2 and nyc1 and lab1",
		"127.0.0.1":      "its address cannot be on the internet, or is private and in no topology, as is all of 127.0.0.0/8; nearest first: par1 and par2 and nyc1 and lab1",
		"192.168.0.1":    "its address cannot be on the internet, or is private and in no topology, as is all of 192.168.0.0/16; nearest first: par1 and par2 and nyc1 and lab1",
	} {
		if got := p.explain(netip.MustParseAddr(client)); got != want {
			t.Errorf("%s: %s\nwant %s", client, got, want)
		}
	}
}

// What cannot be a place is refused before anything is read of it.
func TestPlacesThatAreRefused(t *testing.T) {
	two := four()
	two[1].Networks = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}
	full := &regions{datacenters: four(), known: map[string]uint16{}, all: make([]region, maxRegions)}
	_, tooMany := full.parseTopology("topology.txt", []byte("10.0.0.0/8 par1"))
	load := func(cfg PlacesConfig) error {
		if cfg.Datacenters == nil {
			cfg.Datacenters = four()
		}
		_, err := NewPlaces(cfg)
		return err
	}
	for want, err := range map[string]error{
		"10.1.0.0/16 is a network of par1 and of par2": load(PlacesConfig{Datacenters: two}),
		"it is no file":                load(PlacesConfig{Topology: t.TempDir()}),
		"city.mmdb: no such file":      load(PlacesConfig{GeoIP: "/nonexistent/city.mmdb"}),
		"in more than 65535 ways":      tooMany,
		"it is no MaxMind database":    load(PlacesConfig{GeoIP: writeFile(t, "city.mmdb", nil)}),
		"topology.txt says nothing: w": load(PlacesConfig{Topology: writeFile(t, "topology.txt", nil)}),
	} {
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if _, err := readFile(writeFile(t, "x", []byte("four")), 3); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Error(err)
	}
}

// Whatever scope an answer says, all clients in it are answered the same: with
// networks, topology, geography, weights and health as they come.
func TestScopeHoldsForAllItSays(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	for range 60 {
		f, entries := randomFleet(t, r)
		for _, n := range f.Zones[0].Names {
			checkScopes(t, r, f, newNameView(f, &n, randomStatus(r, len(f.Datacenters))), entries)
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
		dc := Datacenter{Name: fmt.Sprintf("dc%d", i), Backup: i > 0 && r.IntN(3) == 0, Weight: r.IntN(4)}
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

func checkScopes(t *testing.T, r *rand.Rand, f *Fleet, v *nameView, entries []entry) {
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
		v := newNameView(f, &n, now)
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

// What a name is answered with is the same in the next version: clients do not move
// because name servers are upgraded one after another.
func TestPickIsForEver(t *testing.T) {
	all := []Datacenter{{Name: "par1"}, {Name: "mad1", Weight: 2}, {Name: "fra1"}}
	got := ""
	for i := range 24 {
		got += fmt.Sprint(pick([]int{0, 1, 2}, all, netip.AddrFrom4([4]byte{198, 51, byte(i), 7})))
	}
	if want := "202101110101121120121221"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
