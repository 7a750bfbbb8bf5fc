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
)

func TestTopologyFaults(t *testing.T) {
	for text, want := range map[string]string{
		"":                                   "says nothing",
		"# all is commented\n":               "says nothing",
		"10.0.0.0/8\n":                       "topology.txt:1: want a network and its datacenters",
		"\n10.0.0.1/8 par1":                  `topology.txt:2: "10.0.0.1/8" has bits behind its length; write 10.0.0.0/8`,
		"10.0.0.0/33 par1":                   "is no network",
		"10.0.0.0 par1":                      "is no network",
		"::ffff:0:0/95 par1":                 "larger than all of IPv4",
		"10.0.0.0/8 par3":                    `topology.txt:1: there is no datacenter "par3"; do you mean par1?`,
		"10.0.0.0/8 madrid":                  `there is no datacenter "madrid"; known here: par1, par2, nyc1, lab1`,
		"10.0.0.0/8 par1,":                   `there is no datacenter ""`,
		"10.0.0.0/8 par1 par1":               "par1 stands there twice",
		"10.0.0.0/8 par1\n10.0.0.0/8 par2\n": "topology.txt:2: 10.0.0.0/8 stands on line 1 already, with another order",
		"10.0.0.0/8 par1\n::ffff:10.0.0.0/104 par2\n":      "topology.txt:2: 10.0.0.0/8 stands on line 1 already, with another order",
		"::/0 par1\n1.0.0.0/8 mad\n::/0 par2\n1.0.0.0/8":   "topology.txt:3: ::/0 stands on line 1 already, with another order\ntopology.txt:4: want a network",
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
