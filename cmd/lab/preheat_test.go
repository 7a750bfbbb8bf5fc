package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/internal/trial"
)

// TestAPreheatPolicyOfTheFleetFile: what provision makes in a Harbor has the edge warm what is
// pushed there, before anybody pulls; after the key is replaced, too.
func TestAPreheatPolicyOfTheFleetFile(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	t.Parallel()
	h, err := lab.StartHarbor(lab.HarborConfig{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	address := trial.Free(t, "127.0.0.1")
	user, password := h.Admin()
	first, second := strings.Repeat("a key of the fleet ", 3), strings.Repeat("another key of it ", 3)
	e := startReread(t, "par1", fmt.Sprintf(`domain: harbor.example.org
datacenters:
  par1: { harbor: %q, edge: "http://%s" }
harbor: { username: %q, password: "file:DIR/admin" }
projects:
  multi-dc:
    app: { preheat: { tags: ["v*"] } }
edge:
  listen: %q
  plain_http: true
  metrics: "127.0.0.1:0"
  admin: "127.0.0.1:0"
  store: { path: "DIR/store" }
  robot: { name: edge, secret: "file:DIR/robot" }
  peers: { key: "file:DIR/peers" }
`, h.URL(), address, user, address), map[string]string{"admin": password, "robot": "Edge1Secret", "peers": first})
	apply := func() {
		t.Helper()
		if text, err := exec.Command(bin(t, "breakwater"), "provision", "apply", "--yes", "--config", filepath.Join(e.dir, "fleet.yaml")).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
	}
	warmed := func(n float64) {
		t.Helper()
		e.until(fmt.Sprintf("%g images are warm", n), func() bool { return e.metric(`breakwater_edge_warm_images_total{kind="preheat",result="warmed"}`) == n })
	}
	apply()
	pushTo(t, h.URL(), "multi-dc-app/web:latest", adminOf(h))
	pushTo(t, h.URL(), "multi-dc-app/web:v1", adminOf(h))
	warmed(1)
	e.write(map[string]string{"peers": second, "old": first})
	e.edit("/peers\"", "/peers\", previous_key: \"file:"+e.dir+"/old\"")
	e.taken()
	pushTo(t, h.URL(), "multi-dc-app/web:v2", adminOf(h)) // Harbor has the login of before
	warmed(2)
	apply()
	e.edit(`, previous_key: "file:`+e.dir+`/old"`, "")
	e.taken()
	pushTo(t, h.URL(), "multi-dc-app/web:v3", adminOf(h))
	warmed(3)
}
