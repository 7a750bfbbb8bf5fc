package main

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"

	"example.org/breakwater/internal/lab"
)

// TestAnEdgeTakesAChangedFleetFile: the program, while it serves, with real Harbors' stand-ins.
func TestAnEdgeTakesAChangedFleetFile(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	t.Parallel()
	start := func() *lab.Harbor {
		h, err := lab.StartHarbor(lab.HarborConfig{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { h.Close() })
		return h
	}
	par1, mad1, hub := start(), start(), start()
	for _, h := range []*lab.Harbor{par1, mad1} {
		h.CreateProject("multi-dc-demo", false)
		h.CreateRobot("*", "edge", "Edge1Secret", "pull", "push", "repository:list", "artifact:list", "artifact:read", "tag:list", "tag:delete", "artifact:delete")
		for _, cache := range []string{"cache-private", "cache-added"} { // it has no way to the upstream, but the edge has
			if err := h.CreateCache(cache, "docker-registry", "http://127.0.0.1:1", true); err != nil {
				t.Fatal(err)
			}
		}
	}
	hub.CreateProject("team", false)
	hub.CreateProject("open", true)
	hub.CreateRobot("*", "puller", "Hub1Secret", "pull")
	for _, image := range []string{"team/app:v1", "team/second:v1", "team/third:v1", "open/app:v1", "open/app:v2"} {
		pushTo(t, hub.URL(), image, adminOf(hub))
	}
	edges := map[string]string{"par1": freeAddress(t), "mad1": freeAddress(t)}
	key, err := x509.MarshalPKIXPublicKey(&par1.Key().PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	secrets := map[string]string{"robot": "Edge1Secret", "upstream": "Hub1Secret", "peers": strings.Repeat("a key of the fleet ", 3),
		"token.pem": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: key}))}
	file := func(datacenter, mad1Edge string) string {
		return fmt.Sprintf(`domain: harbor.example.org
datacenters:
  par1: { harbor: %q, edge: "http://%s" }
  mad1: { harbor: %q%s }
projects:
  cache:
    private: { endpoint: %q, username: "robot$puller", password: "file:DIR/upstream" }
edge:
  listen: %q
  plain_http: true
  metrics: "127.0.0.1:0"
  admin: "127.0.0.1:0"
  store: { path: "DIR/store" }
  robot: { name: edge, secret: "file:DIR/robot" }
  peers: { key: "file:DIR/peers" }
`, par1.URL(), edges["par1"], mad1.URL(), mad1Edge, hub.URL(), edges[datacenter])
	}
	withEdge := fmt.Sprintf(`, edge: "http://%s"`, edges["mad1"])
	e := startReread(t, "par1", file("par1", ""), secrets)
	other := startReread(t, "mad1", file("mad1", withEdge), secrets)
	const successful = "breakwater_edge_config_last_reload_successful"

	t.Run("a cache is added, and removed", func(t *testing.T) {
		if err := e.pull("cache-added/open/app:v1", authn.Anonymous); err == nil {
			t.Error("a cache that the file does not have is pulled from")
		}
		e.edit("edge:\n", fmt.Sprintf("    added: { endpoint: %q }\nedge:\n", hub.URL()))
		e.read(false) // nobody tells it
		if err := e.pull("cache-added/open/app:v1", authn.Anonymous); err != nil {
			t.Errorf("from the cache that was added: %v", err)
		}
		e.edit(fmt.Sprintf("    added: { endpoint: %q }\n", hub.URL()), "")
		e.taken()
		if err := e.pull("cache-added/open/app:v2", authn.Anonymous); err == nil {
			t.Error("the cache that was removed is pulled from")
		}

	})
	t.Run("an upstream's credentials are rotated", func(t *testing.T) {
		if err := e.pull("cache-private/team/app:v1", authn.Anonymous); err != nil {
			t.Fatal(err)
		}
		giveSecret(t, hub, "robot$puller", "Hub2Secret")
		if err := e.pull("cache-private/team/second:v1", authn.Anonymous); err == nil {
			t.Error("the old secret does")
		}
		e.write(map[string]string{"upstream": "Hub2Secret"})
		e.read(false)
		if err := e.pull("cache-private/team/second:v1", authn.Anonymous); err != nil {
			t.Errorf("with the new secret: %v", err)
		}
	})
	t.Run("the robot's secret is rotated", func(t *testing.T) {
		for _, image := range []string{"multi-dc-demo/one:v1", "multi-dc-demo/two:v1"} {
			pushTo(t, par1.URL(), image, adminOf(par1))
		}
		giveSecret(t, par1, "robot$edge", "Edge2Secret")
		if err := e.pull("multi-dc-demo/one:v1", adminOf(par1)); err == nil {
			t.Error("the old secret does")
		}
		e.write(map[string]string{"robot": "Edge2Secret"})
		e.taken()
		for _, image := range []string{"multi-dc-demo/one:v1", "multi-dc-demo/two:v1"} {
			if err := e.pull(image, adminOf(par1)); err != nil {
				t.Errorf("with the new secret: %v", err)
			}
		}
	})
	t.Run("a peer is added, and removed", func(t *testing.T) {
		heard := func() float64 { return other.metric(`breakwater_edge_announcements_heard_total{result="taken"}`) }
		push := func(tag string) { pushTo(t, e.address("public"), "multi-dc-demo/app:"+tag, adminOf(par1)) }
		push("v1")
		if n := heard(); n > 0 {
			t.Fatalf("mad1 has heard %v announcements of an edge that does not know it", n)
		}
		e.edit(fmt.Sprintf("mad1: { harbor: %q", mad1.URL()), fmt.Sprintf("mad1: { harbor: %q%s", mad1.URL(), withEdge))
		e.taken()
		e.until("mad1 hears from the log", func() bool { return heard() == 1 })
		push("v2")
		e.until("mad1 hears of pushes", func() bool { return heard() == 2 })
		// The fleet's key is rotated, an edge after the other.
		for i, edge := range []*rereadEdge{e, other, e, other} {
			keys := [2]string{`key: "file:DIR/peers"`, `key: "file:DIR/next", previous_key: "file:DIR/peers"`}
			if i >= 2 {
				keys = [2]string{keys[1], `key: "file:DIR/next"`}
			}
			for i := range keys {
				keys[i] = strings.ReplaceAll(keys[i], "DIR", edge.dir)
			}
			edge.write(map[string]string{"next": strings.Repeat("another key, and as long ", 2)})
			edge.edit(keys[0], keys[1])
			edge.taken()
			push(fmt.Sprintf("key-%d", i))
			e.until("mad1 hears of pushes while the key is rotated", func() bool { return heard() == float64(3+i) })
		}
		e.edit(withEdge, "")
		e.taken()
		push("v3")
		asked := e.metric(`breakwater_edge_source_requests_total{source="peer-mad1",status="2xx"}`)
		if err := e.pull("multi-dc-demo/nothing:v1", adminOf(par1)); err == nil {
			t.Error("there is something")
		}
		if again := e.metric(`breakwater_edge_source_requests_total{source="peer-mad1",status="2xx"}`); again != asked || heard() != 6 {
			t.Errorf("the peer that was removed is asked %v times more, and has heard %v", again-asked, heard())
		}
	})
	t.Run("a broken file changes nothing", func(t *testing.T) {
		if n := e.metric(successful); n != 1 {
			t.Errorf("%s is %v", successful, n)
		}
		for broken, says := range map[string]string{
			"edge:\n  nonsense: 1\n":    "fleet.yaml:9: edge.nonsense",
			"edge:\n  touch: a while\n": "fleet.yaml:9: edge.touch",
		} {
			e.edit("edge:\n", broken)
			if said := e.read(true); !strings.Contains(said, `"level":"WARN"`) || !strings.Contains(said, says) {
				t.Errorf("want %q, got\n%s", says, said)
			}
			e.edit(broken, "edge:\n")
			if n := e.metric(successful); n != 0 {
				t.Errorf("broken: %s is %v", successful, n)
			}
		}
		if err := e.pull("multi-dc-demo/two:v1", adminOf(par1)); err != nil {
			t.Errorf("while the file is broken: %v", err)
		}
		e.taken()
		if n := e.metric(successful); n != 1 {
			t.Errorf("mended: %s is %v", successful, n)
		}
	})
	t.Run("what needs a restart is said, and all else is taken", func(t *testing.T) {
		e.edit(fmt.Sprintf("listen: %q", edges["par1"]), `listen: "127.0.0.1:1"`)
		e.edit("edge:\n", fmt.Sprintf("    added: { endpoint: %q }\nedge:\n", hub.URL()))
		said := e.read(true)
		if !strings.Contains(said, "needs a restart") || !strings.Contains(said, `"fields":["edge.listen"]`) {
			t.Errorf("the log says\n%s", said)
		}
		if err := e.pull("cache-added/open/app:v2", authn.Anonymous); err != nil {
			t.Errorf("from the cache that was added with it: %v", err)
		}
	})
}
