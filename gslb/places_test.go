package gslb

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/maxmind/mmdbwriter"
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

// city is a record of the GeoIP2 City schema.
func city(lat, lon float64) mmdbtype.Map {
	return mmdbtype.Map{"location": mmdbtype.Map{"latitude": mmdbtype.Float64(lat), "longitude": mmdbtype.Float64(lon)}}
}

func country(code, continent string) mmdbtype.Map {
	return mmdbtype.Map{"country": mmdbtype.Map{"iso_code": mmdbtype.String(code)}, "continent": mmdbtype.Map{"code": mmdbtype.String(continent)}}
}

func database(t *testing.T, records map[string]mmdbtype.Map) []byte {
	t.Helper()
	tree, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: "GeoLite2-City", RecordSize: 28, IncludeReservedNetworks: true})
	if err != nil {
		t.Fatal(err)
	}
	networks := keys(records)
	slices.SortFunc(networks, func(a, b string) int { return netip.MustParsePrefix(a).Bits() - netip.MustParsePrefix(b).Bits() })
	for _, network := range networks { // a longer one goes into a shorter one, not the other way
		rec := records[network]
		_, n, err := net.ParseCIDR(network)
		if err != nil {
			t.Fatal(err)
		}
		if err := tree.Insert(n, rec); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	if _, err := tree.WriteTo(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
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

func TestTopologyFaults(t *testing.T) {
	for text, want := range map[string]string{
		"":                                   "says nothing",
		"# all is commented\n":               "says nothing",
		"10.0.0.0/8\n":                       "topology.txt:1: want a network and its datacenters",
		"\n10.0.0.1/8 par1":                  `topology.txt:2: "10.0.0.1/8" has bits behind its length; write 10.0.0.0/8`,
		"10.0.0.0/33 par1":                   "is no network",
		"10.0.0.0 par1":                      "is no network",
		"::ffff:0:0/95 par1":                 "larger than all of IPv4",
		"10.0.0.0/8 par3":                    `there is no datacenter "par3"; known here: par1, par2, nyc1, lab1`,
		"10.0.0.0/8 par1,":                   `there is no datacenter ""`,
		"10.0.0.0/8 par1 par1":               "par1 stands there twice",
		"10.0.0.0/8 par1\n10.0.0.0/8 par2\n": "topology.txt:2: 10.0.0.0/8 stands on line 1 already, with another order",
		strings.Repeat("x\n", 100) + "10.0.0.0/8 nobody\n": "topology.txt:20: ",
	} {
		_, err := NewPlaces(PlacesConfig{Datacenters: four(), Topology: writeFile(t, "topology.txt", []byte(text))})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Count(err.Error(), "\n") > maxTopologyFaults {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	if _, err := NewPlaces(PlacesConfig{Datacenters: four(), Topology: "/nonexistent/topology.txt"}); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Error(err)
	}
	same := writeFile(t, "topology.txt", []byte("10.0.0.0/8 par1\n10.0.0.0/8   par1\n"))
	if _, err := NewPlaces(PlacesConfig{Datacenters: four(), Topology: same}); err != nil {
		t.Error(err)
	}
}

// A damaged database is a sentence, never a panic, and changes nothing.
func TestDamagedDatabases(t *testing.T) {
	records := map[string]mmdbtype.Map{}
	for i := range 200 {
		records[fmt.Sprintf("1.%d.0.0/16", i)] = city(float64(i%90), float64(i))
	}
	good := database(t, records)
	load := func(data []byte) error {
		_, err := NewPlaces(PlacesConfig{Datacenters: four(), GeoIP: writeFile(t, "city.mmdb", data)})
		return err
	}
	if err := load(good); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 1, 100, len(good) / 4, len(good) / 2, len(good) * 3 / 4, len(good) - 200, len(good) - 1} {
		if err := load(good[:n]); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("cut to %d of %d bytes: %v", n, len(good), err)
		}
	}
	r := rand.New(rand.NewPCG(9, 10))
	for range 500 {
		bad := slices.Clone(good)
		for range 1 + r.IntN(20) {
			bad[r.IntN(len(bad))] = byte(r.Uint32())
		}
		load(bad) //nolint:errcheck // it may be readable; it must not panic or hang
	}
	if err := load(database(t, map[string]mmdbtype.Map{"1.0.0.0/8": {"asn": mmdbtype.Uint32(1)}})); err == nil || !strings.Contains(err.Error(), "says where a network is") {
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

func FuzzTopology(f *testing.F) {
	f.Add([]byte("10.0.0.0/8 par1,par2 nyc1 # x\n::/0 lab1\n"))
	f.Add([]byte("::ffff:10.0.0.0/104 par1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := &regions{datacenters: four(), known: map[string]uint16{}}
		entries, err := r.parseTopology("topology.txt", data)
		if err != nil {
			if strings.Count(err.Error(), "topology.txt") == 0 {
				t.Errorf("%v does not say where", err)
			}
			return
		}
		tab := newTable(entries)
		for _, e := range entries {
			if v, _ := tab.find(e.prefix().Addr()); v == none {
				t.Errorf("%s is in nothing", e.prefix())
			}
			if groups := r.all[e.value].groups; len(slices.Concat(groups...)) != len(r.datacenters) {
				t.Errorf("%v leaves a datacenter out", groups)
			}
		}
	})
}

func BenchmarkMillionPrefixes(b *testing.B) {
	r := rand.New(rand.NewPCG(15, 16))
	var text strings.Builder
	seen := map[netip.Prefix]bool{}
	for len(seen) < 1_000_000 {
		a := randomAddress(r)
		bits := 16 + r.IntN(13)
		if a.Is6() {
			bits = 32 + r.IntN(25)
		}
		if p, _ := a.Prefix(bits); !seen[p] {
			seen[p] = true
			fmt.Fprintf(&text, "%s %s\n", p, []string{"par1 nyc1", "nyc1", "par2,par1 lab1"}[r.IntN(3)])
		}
	}
	file := filepath.Join(b.TempDir(), "topology.txt")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := NewPlaces(PlacesConfig{Datacenters: four(), Topology: file}); err != nil {
			b.Fatal(err)
		}
	}
}
