package wire

import (
	"net/url"
	"testing"

	"example.org/breakwater/internal/fleet"
)

// A datacenter's Harbor is known to clients by the fleet's name and by its own edge's: other
// datacenters' names lead elsewhere.
func TestTheNamesOfAHarborAreTheFleetFiles(t *testing.T) {
	f, err := fleet.Load("fleet.yaml", []byte(`domain: h.example.org
datacenters:
  par1: { harbor: "http://harbor.par1.example.net", edge: "https://par1.example.org:8443" }
  mad1: { harbor: "http://harbor.mad1.example.net", edge: "https://mad1.example.org" }
`))
	if err != nil {
		t.Fatal(err)
	}
	harbor, err := newHarbor(EdgeConfig{Datacenter: "par1"}, f, f.Datacenters["par1"].Harbor, "")
	if err != nil {
		t.Fatal(err)
	}
	for at, own := range map[string]bool{
		"https://h.example.org": true, "https://par1.example.org:8443": true, "http://harbor.par1.example.net": true,
		"https://mad1.example.org": false, "http://harbor.mad1.example.net": false, "https://par1.example.org": false, "https://h.example.org:5001": false,
	} {
		u, err := url.Parse(at)
		if err != nil {
			t.Fatal(err)
		}
		if got := harbor.Front("https://client.example.org").Has(u); got != own {
			t.Errorf("%s leads to the Harbor of par1: %v", at, got)
		}
	}
}
