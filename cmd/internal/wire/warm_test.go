package wire

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/proxy/warm"
)

// An edge knows what it is to have before it is asked for, by the names that projects have in
// Harbor, and what its datacenter says for itself.
func TestEdgesKnowTheirWarmSets(t *testing.T) {
	const file = `domain: harbor.example.org
datacenters:
  par1: { harbor: "https://harbor.par1.example.net" }
  mad1: { harbor: "https://harbor.mad1.example.net" }
projects:
  multi-dc:
    app: { warm: [{ images: ["**"], tags: ["v*"], platforms: [linux/amd64], on_push: true }] }
  cache:
    hub:
      endpoint: https://hub.example.net
      warm: [{ images: [library/nginx], tags: [latest], datacenters: [par1], every: 6h }]
      datacenters: { mad1: { warm: [{ images: [library/httpd], tags: [latest], every: 1d }] } }
edge: { plain_http: true, robot: { secret: "env:ROBOT" }, peers: { key: "env:KEY" } }
`
	f, err := fleet.Read("fleet.yaml", strings.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	app := warm.Set{Project: "multi-dc-app", Images: []string{"**"}, Tags: []string{"v*"}, Platforms: []string{"linux/amd64"}, Datacenters: []string{"mad1", "par1"}, Push: true}
	nginx := warm.Set{Project: "cache-hub", Images: []string{"library/nginx"}, Tags: []string{"latest"}, Datacenters: []string{"par1"}, Every: 6 * time.Hour}
	httpd := warm.Set{Project: "cache-hub", Images: []string{"library/httpd"}, Tags: []string{"latest"}, Datacenters: []string{"mad1"}, Every: 24 * time.Hour}
	for datacenter, want := range map[string][]warm.Set{"par1": {nginx, app}, "mad1": {httpd, app}} {
		got := warmSets(f, datacenter)
		slices.SortFunc(got, func(a, b warm.Set) int { return strings.Compare(a.Project, b.Project) })
		if !reflect.DeepEqual(got, want) {
			t.Errorf("at %s: %+v", datacenter, got)
		}
	}
}
