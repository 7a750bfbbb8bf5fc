package wire

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/lab"
	"example.org/breakwater/internal/trial"
)

// node is one datacenter's edge, before a Harbor, that is started again with another
// configuration.
type node struct {
	name, address, metrics, admin, dir string
	harbor                             *lab.Harbor
	log                                lockedBuffer
	stop                               func()
}

// nodes are datacenters whose edges know each other's addresses.
type nodes struct {
	all  []*node
	ca   *authority
	file string // what the fleet file says beside
}

func newNodes(t *testing.T, cfg lab.HarborConfig, names ...string) *nodes {
	t.Helper()
	n := &nodes{ca: newAuthority(t)}
	for i, name := range names {
		ip := fmt.Sprintf("127.0.0.%d", i+2)
		d := &node{name: name, address: trial.Free(t, ip), metrics: trial.Free(t, ip), admin: trial.Free(t, ip), dir: t.TempDir(), stop: func() {}}
		cfg.Dir = t.TempDir()
		var err error
		if d.harbor, err = lab.StartHarbor(cfg); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.harbor.Close() }) //nolint:errcheck // the test is over
		d.harbor.CreateProject("multi-dc-demo", false)
		d.harbor.CreateRobot("*", "edge", "Some1Secret", "pull", "push", "repository:list", "artifact:list", "artifact:read", "tag:list", "tag:delete", "artifact:delete")
		n.ca.forAddress(t, name, ip, nil)
		n.all = append(n.all, d)
		t.Cleanup(func() { d.stop() })
	}
	return n
}

// start starts the edge of a datacenter, in place of the one that runs. how is what its fleet
// file says below edge.
func (n *nodes) start(t *testing.T, d *node, how string, change func(*EdgeConfig)) {
	t.Helper()
	d.stop()
	robot := filepath.Join(d.dir, "robot")
	text := "domain: harbor.example.org\ndatacenters:\n"
	for _, other := range n.all {
		scheme := "http"
		if strings.Contains(how, "tls:") {
			scheme = "https"
		}
		text += fmt.Sprintf("  %s: { harbor: %q, edge: \"%s://%s\" }\n", other.name, other.harbor.URL(), scheme, other.address)
	}
	text += fmt.Sprintf("projects: { multi-dc: { demo: { immutable_tags: [\"**\"], robots: { sync: \"env:S\" } } } }\nedge:\n  listen: %q\n  metrics: %q\n  admin: %q\n  store: { path: %q }\n  robot: { name: edge, secret: \"file:%s\" }\n  %s\n%s",
		d.address, d.metrics, d.admin, filepath.Join(d.dir, "store"), robot, how, n.file)
	if err := os.WriteFile(robot, []byte("Some1Secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := fleet.Load("fleet.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	cfg := EdgeConfig{Fleet: f, Datacenter: d.name, Version: "1.2.3", Log: slog.New(slog.NewJSONHandler(&d.log, nil)), Level: new(slog.LevelVar)}
	if change != nil {
		change(&cfg)
	}
	ctx, cancel := context.WithCancel(context.Background())
	e, err := NewEdge(ctx, cfg)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- e.Daemon.Run(ctx, e.Servers...) }()
	d.stop = func() {
		cancel()
		if err := errors.Join(<-ended, e.Close()); err != nil {
			t.Error(err)
		}
		d.stop = func() {}
	}
}

func fetched(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", resp.StatusCode, body)
	}
	return string(body), err
}

// seen is how an edge shows a peer: in its metrics, what /readyz says, in explain's step for
// that peer, and how many warnings of it are in its log.
func (d *node) seen(ctx context.Context, peer string) (state, ready, step, says string, err error) {
	metrics, err1 := fetched(ctx, "http://"+d.metrics+"/metrics")
	ready, err2 := fetched(ctx, "http://"+d.metrics+"/readyz")
	explained, err3 := fetched(ctx, "http://"+d.admin+"/explain?ref="+url.QueryEscape("multi-dc-demo/app:v1"))
	if m := regexp.MustCompile(`breakwater_edge_peer_state\{peer="` + peer + `",state="(\w+)"\} 1`).FindStringSubmatch(metrics); m != nil {
		state = m[1]
	}
	var x struct {
		Route []struct{ Source, State, Says string }
	}
	if err4 := errors.Join(err1, err2, err3, json.Unmarshal([]byte(explained), &x)); err4 != nil {
		return "", "", "", "", err4
	}
	for _, s := range x.Route {
		if s.Source == "peer-"+peer {
			step, says = s.State, s.Says
		}
	}
	return state, ready, step, says, nil
}

// A peer that differs is seen within 15 s, wherever an operator looks, and within 15 s of the
// mend nothing is left of it.
func TestAPeerThatDiffersIsSeen(t *testing.T) {
	const soon, busy = 15 * time.Second, 3 // the machine has others to serve: it is so many times slower
	dir := t.TempDir()
	for name, text := range map[string]string{"first": firstKey, "second": secondKey} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	key := func(name string) string {
		return fmt.Sprintf("plain_http: true\n  peers: { key: \"file:%s/%s\" }", dir, name)
	}
	for name, c := range map[string]struct {
		good, bad   func(*nodes) string
		change      func(*EdgeConfig)
		state, says string
	}{
		"another key": {good: func(*nodes) string { return key("first") }, bad: func(*nodes) string { return key("second") }, state: "key", says: "the edge of mad1 has another edge.peers.key"},
		"a clock that is an hour ahead": {good: func(*nodes) string { return key("first") }, bad: func(*nodes) string { return key("first") },
			change: func(cfg *EdgeConfig) { cfg.now = func() time.Time { return time.Now().Add(time.Hour) } }, state: "clock", says: "the clock of the edge of mad1 is 1h0m0s ahead"},
		"another datacenter's name": {good: func(*nodes) string { return key("first") }, bad: func(*nodes) string { return key("first") },
			change: func(cfg *EdgeConfig) { cfg.Datacenter = "drp1" }, state: "datacenter", says: "datacenters.mad1.edge leads to the edge of drp1"},
		"a certificate that has ended": {good: certified("mad1"), bad: certified("expired"), state: "certificate", says: "certificate has expired"},
		"another fleet's certificate":  {good: certified("mad1"), bad: certified("foreign"), state: "certificate", says: "signed by unknown authority"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // each waits for questions that are asked now and then
			n := newNodes(t, lab.HarborConfig{}, "par1", "mad1", "drp1")
			n.ca.forAddress(t, "expired", "127.0.0.3", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
			newAuthority(t).forAddressIn(t, n.ca.dir, "foreign", "127.0.0.3")
			par1, mad1 := n.all[0], n.all[1]
			until := func(when, state, says string, check func(state, ready, step, told string) bool) {
				t.Helper()
				begun := time.Now()
				trial.Until(t, func() error {
					got, ready, step, told, err := par1.seen(t.Context(), "mad1")
					if err == nil && (got != state || !check(got, ready, step, told)) {
						err = fmt.Errorf("%s: %s, %q, %s, %q", when, got, ready, step, told)
					}
					if err != nil && time.Since(begun) > busy*soon {
						t.Fatal(err)
					}
					return err
				})
			}
			well := func(when string) {
				t.Helper()
				until(when, "ok", "", func(_, ready, step, told string) bool {
					return !strings.Contains(ready, "mad1") && told == "" && step == "up"
				})
			}
			good := c.good(n)
			n.start(t, par1, strings.ReplaceAll(good, "/mad1.", "/par1."), nil)
			n.start(t, mad1, good, nil)
			well("at the start")
			n.start(t, mad1, c.bad(n), c.change)
			until("meanwhile", c.state, c.says, func(_, ready, step, told string) bool {
				return strings.HasPrefix(ready, "ok\n") && strings.Contains(ready, c.says) && strings.Contains(told, c.says) && step == "refused"
			})
			if lines := strings.Count(par1.log.String(), `"state":"`+c.state+`"`); lines != 1 || !strings.Contains(par1.log.String(), `"level":"WARN","msg":"peer","peer":"mad1","state":"`+c.state+`"`) {
				t.Errorf("%d lines of it in the log:\n%s", lines, par1.log.String())
			}
			n.start(t, mad1, good, nil)
			well("when it is mended")
		})
	}
}

// certified is an edge with this certificate, to which others are known by theirs.
func certified(name string) func(*nodes) string {
	return func(n *nodes) string {
		return fmt.Sprintf("tls: { certificate: %q, key: %q }\n  peers: { ca: %q }", n.ca.file(name+".crt"), n.ca.file(name+".key"), n.ca.file("ca.crt"))
	}
}
