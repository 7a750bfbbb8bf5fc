package wire

import (
	"slices"
	"strings"
	"testing"

	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/proxy/namespace"
)

// Each edge knows whether its own Harbor is to hold a project that some alone hold.
func TestEdgesKnowTheHomesOfAProject(t *testing.T) {
	const file = `domain: harbor.example.org
datacenters:
  par1: { harbor: "https://harbor.par1.example.net", edge: "https://edge.par1.example.net" }
  mad1: { harbor: "https://harbor.mad1.example.net", edge: "https://edge.mad1.example.net" }
  drp1: { harbor: "https://harbor.drp1.example.net", edge: "https://edge.drp1.example.net" }
projects:
  multi-dc:
    copies: 2
    defaults: { robots: { sync: "env:SYNC" } }
    app: {}
    base: { copies: all }
edge: { plain_http: true, robot: { secret: "env:ROBOT" }, peers: { key: "env:KEY" } }
`
	f, err := fleet.Read("fleet.yaml", strings.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	homes := f.Homes("app")
	if len(homes) != 2 {
		t.Fatalf("its homes are %q", homes)
	}
	for datacenter := range f.Datacenters {
		table := namespace.NewTable(namespaces(f, datacenter))
		app, base := table.Of("multi-dc-app"), table.Of("multi-dc-base")
		if !slices.Equal(app.Homes, homes) || app.Away == slices.Contains(homes, datacenter) {
			t.Errorf("at %s: %+v", datacenter, app)
		}
		if base.Homes != nil || base.Away {
			t.Errorf("all hold it, and at %s: %+v", datacenter, base)
		}
	}
}
