package gslb

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
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
