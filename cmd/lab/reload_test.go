package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/internal/trial"
)

// rereadFleet is two datacenters, and a registry outside: the files of par1's edge change.
type rereadFleet struct {
	par1, mad1, hub *lab.Harbor
	edges           map[string]string // addresses
	withEdge        string            // what makes mad1's edge a peer
	e, other        *rereadEdge
}

const successful = "breakwater_edge_config_last_reload_successful"

// TestAnEdgeTakesAChangedFleetFile: the program, while it serves, before Harbors' stand-ins.
func TestAnEdgeTakesAChangedFleetFile(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	t.Parallel()
	f := newRereadFleet(t)
	t.Run("a cache is added, and removed", f.addsACache)
	t.Run("an upstream's credentials are rotated", f.rotatesUpstream)
	t.Run("the robot's secret is rotated", f.rotatesRobot)
	t.Run("a peer is added, and removed", f.addsAPeer)
	t.Run("a broken file changes nothing", f.isBroken)
	t.Run("what needs a restart is said, and all else is taken", f.needsARestart)
}

func newRereadFleet(t *testing.T) *rereadFleet {
	t.Helper()
	start := func() *lab.Harbor {
		h, err := lab.StartHarbor(lab.HarborConfig{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { h.Close() })
		return h
	}
	f := &rereadFleet{par1: start(), mad1: start(), hub: start(), edges: map[string]string{"par1": trial.Free(t, "127.0.0.1"), "mad1": trial.Free(t, "127.0.0.1")}}
	for _, h := range []*lab.Harbor{f.par1, f.mad1} {
		h.CreateProject("multi-dc-demo", false)
		h.CreateRobot("*", "edge", "Edge1Secret", "pull", "push", "repository:list", "artifact:list", "artifact:read", "tag:list", "tag:delete", "artifact:delete")
		for _, cache := range []string{"cache-private", "cache-added"} { // it has no way to the upstream, but the edge has
			if err := h.CreateCache(cache, "docker-registry", "http://127.0.0.1:1", true); err != nil {
				t.Fatal(err)
			}
		}
	}
	f.hub.CreateProject("team", false)
	f.hub.CreateProject("open", true)
	f.hub.CreateRobot("*", "puller", "Hub1Secret", "pull")
	for _, image := range []string{"team/app:v1", "team/second:v1", "open/app:v1", "open/app:v2"} {
		pushTo(t, f.hub.URL(), image, adminOf(f.hub))
	}
	f.withEdge = fmt.Sprintf(`, edge: "http://%s"`, f.edges["mad1"])
	secrets := map[string]string{"robot": "Edge1Secret", "upstream": "Hub1Secret", "peers": strings.Repeat("a key of the fleet ", 3)}
	f.e = startReread(t, "par1", f.file("par1", ""), secrets)
	f.other = startReread(t, "mad1", f.file("mad1", f.withEdge), secrets)
	return f
}

// file is the fleet file of a datacenter's edge.
func (f *rereadFleet) file(datacenter, mad1Edge string) string {
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
`, f.par1.URL(), f.edges["par1"], f.mad1.URL(), mad1Edge, f.hub.URL(), f.edges[datacenter])
}

func (f *rereadFleet) addsACache(t *testing.T) {
	e := f.e
	if err := e.pull("cache-added/open/app:v1", authn.Anonymous); err == nil {
		t.Error("a cache that the file does not have is pulled from")
	}
	e.edit("edge:\n", fmt.Sprintf("    added: { endpoint: %q }\nedge:\n", f.hub.URL()))
	e.read(false) // nobody tells it
	if err := e.pull("cache-added/open/app:v1", authn.Anonymous); err != nil {
		t.Errorf("from the cache that was added: %v", err)
	}
	e.edit(fmt.Sprintf("    added: { endpoint: %q }\n", f.hub.URL()), "")
	e.taken()
	if err := e.pull("cache-added/open/app:v2", authn.Anonymous); err == nil {
		t.Error("the cache that was removed is pulled from")
	}

}

func (f *rereadFleet) rotatesUpstream(t *testing.T) {
	e := f.e
	if err := e.pull("cache-private/team/app:v1", authn.Anonymous); err != nil {
		t.Fatal(err)
	}
	giveSecret(t, f.hub, "robot$puller", "Hub2Secret")
	if err := e.pull("cache-private/team/second:v1", authn.Anonymous); err == nil {
		t.Error("the old secret does")
	}
	e.write(map[string]string{"upstream": "Hub2Secret"})
	e.read(false)
	if err := e.pull("cache-private/team/second:v1", authn.Anonymous); err != nil {
		t.Errorf("with the new secret: %v", err)
	}
}

func (f *rereadFleet) rotatesRobot(t *testing.T) {
	e := f.e
	for _, image := range []string{"multi-dc-demo/one:v1", "multi-dc-demo/two:v1"} {
		pushTo(t, f.par1.URL(), image, adminOf(f.par1))
	}
	giveSecret(t, f.par1, "robot$edge", "Edge2Secret")
	pulls := func(image, outcome string) {
		t.Helper()
		if err := e.pull(image+":v1", adminOf(f.par1)); err != nil {
			t.Error(err)
		}
		e.until(image+" is served by "+outcome, func() bool {
			return strings.Contains(e.said(), fmt.Sprintf(`"endpoint":"manifest","repo":%q,"reference":"v1","status":200,"outcome":%q`, image, outcome))
		})
	}
	pulls("multi-dc-demo/one", "pass") // Harbor shows the old secret no project, and lets the client in itself
	e.write(map[string]string{"robot": "Edge2Secret"})
	e.taken()
	pulls("multi-dc-demo/one", "fill")
	pulls("multi-dc-demo/two", "fill")
}

func (f *rereadFleet) addsAPeer(t *testing.T) {
	e := f.e
	heard := func() float64 { return f.other.metric(`breakwater_edge_announcements_heard_total{result="taken"}`) }
	push := func(tag string) { pushTo(t, e.address("public"), "multi-dc-demo/app:"+tag, adminOf(f.par1)) }
	push("v1")
	if n := heard(); n > 0 {
		t.Fatalf("mad1 has heard %v announcements of an edge that does not know it", n)
	}
	e.edit(fmt.Sprintf("mad1: { harbor: %q", f.mad1.URL()), fmt.Sprintf("mad1: { harbor: %q%s", f.mad1.URL(), f.withEdge))
	e.taken()
	e.until("mad1 hears from the log", func() bool { return heard() == 1 })
	push("v2")
	e.until("mad1 hears of pushes", func() bool { return heard() == 2 })
	// The fleet's key is rotated, an edge after the other.
	for i, edge := range []*rereadEdge{e, f.other, e, f.other} {
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
	e.edit(f.withEdge, "")
	e.taken()
	push("v3")
	asked := e.metric(`breakwater_edge_source_requests_total{source="peer-mad1",status="2xx"}`)
	if err := e.pull("multi-dc-demo/nothing:v1", adminOf(f.par1)); err == nil {
		t.Error("there is something")
	}
	if again := e.metric(`breakwater_edge_source_requests_total{source="peer-mad1",status="2xx"}`); again != asked || heard() != 6 {
		t.Errorf("the peer that was removed is asked %v times more, and has heard %v", again-asked, heard())
	}
}

func (f *rereadFleet) isBroken(t *testing.T) {
	e := f.e
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
	if err := e.pull("multi-dc-demo/two:v1", adminOf(f.par1)); err != nil {
		t.Errorf("while the file is broken: %v", err)
	}
	e.taken()
	if n := e.metric(successful); n != 1 {
		t.Errorf("mended: %s is %v", successful, n)
	}
}

func (f *rereadFleet) needsARestart(t *testing.T) {
	e := f.e
	e.edit(fmt.Sprintf("listen: %q", f.edges["par1"]), `listen: "127.0.0.1:1"`)
	e.edit("edge:\n", fmt.Sprintf("    added: { endpoint: %q }\nedge:\n", f.hub.URL()))
	said := e.read(true)
	if !strings.Contains(said, "needs a restart") || !strings.Contains(said, `"fields":["edge.listen"]`) {
		t.Errorf("the log says\n%s", said)
	}
	if err := e.pull("cache-added/open/app:v2", authn.Anonymous); err != nil {
		t.Errorf("from the cache that was added with it: %v", err)
	}
}
