package wire

import (
	"log/slog"
	"strings"
	"testing"

	"example.org/breakwater/internal/fleet"
)

// Each of a datacenter's addresses is probed, unless the fleet file says that name servers do
// not reach them.
func TestAddressesAreProbed(t *testing.T) {
	const file = `domain: harbor.example.org
datacenters:
  par1: { harbor: "https://harbor.par1.example.net", addresses: [192.0.2.10, 192.0.2.11], gslb: [192.0.2.53] }
gslb: {}
`
	for text, want := range map[string]int{"gslb: {}": 2, "gslb: { probe: { addresses: true } }": 2, "gslb: { probe: { addresses: false } }": 0} {
		f, err := fleet.Read("fleet.yaml", strings.NewReader(strings.Replace(file, "gslb: {}", text, 1)))
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := gslbConfig(f, "par1", slog.New(slog.DiscardHandler), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := cfg.Targets[0].Addresses; len(got) != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}
