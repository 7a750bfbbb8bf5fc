package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"example.org/breakwater/cmd/internal/progress"
	"example.org/breakwater/cmd/internal/wire"
	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/lab"
)

// places are the datacenters, each on a loopback address of its own where the
// system has them (Linux has all of 127.0.0.0/8), else on ports of its own.
var places = []struct{ name, role, host, network, location string }{
	{"par1", fleet.Primary, "127.0.10.1", "10.1.0.0/16", "{ latitude: 48.86, longitude: 2.35 }"},
	{"mad1", fleet.Primary, "127.0.20.1", "10.2.0.0/16", "{ latitude: 40.42, longitude: -3.70 }"},
	{"drp1", fleet.Backup, "127.0.30.1", "10.3.0.0/16", "{ latitude: 50.85, longitude: 4.35 }"},
}

const (
	domain  = "harbor.lab.example.org"
	hubHost = "127.0.40.1"
)

const (
	dnsOffset     = 53
	harborOffset  = 80
	metricsOffset = 90
	adminOffset   = 91

	dnsMetricsOffset = 92
	dnsAdminOffset   = 93
	dnsPeersOffset   = 94
	edgeRobot        = "breakwater-edge"
	edgeSecret       = "Edge1Secret2Edge"
)

// options are what the command line says.
type options struct {
	port  int  // 0: any free ports
	quiet bool // Harbors have nothing else to do
	watch bool // by a Prometheus
}

// running is the fleet while it runs.
type running struct {
	options
	ctx        context.Context // ends all
	lines      io.Writer       // what edges and name servers log
	dir        string
	hub        *lab.Upstream
	harbors    []*lab.Harbor
	gslbs      []*wire.GSLB // none where all datacenters have one address: DNS could not tell them apart
	parent     *parent      // nil without name servers
	places     []addresses
	shared     map[int]int // ports that all name servers have, by offset
	report     report
	group      *errgroup.Group // what serves
	prometheus *prometheus     // nil: there is none
	control    net.Listener    // where the commands of another terminal come

	mu         sync.Mutex // held while something breaks or heals
	edges      []*edgeRun // nil: it is down
	links      links
	conditions conditions
	backups    map[string]*lab.Snapshot // of Harbors, by datacenter: the last one of each
}

// start brings everything up. What it returns is to be closed also after an error.
func start(ctx context.Context, o options, lines io.Writer) (*running, error) {
	l := &running{options: o, ctx: ctx, lines: lines, edges: make([]*edgeRun, len(places)), conditions: allWell(), backups: map[string]*lab.Snapshot{}}
	var err error
	if l.dir, err = os.MkdirTemp("", dirPattern); err != nil {
		return l, err
	}
	listener, err := listen("upstream docker-hub", hubHost, o.port, 0, len(places))
	if err != nil {
		return l, err
	}
	if l.hub, err = lab.StartUpstream(listener); err != nil {
		return l, err
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return l, err
	}
	steps := []step{{"Harbors", func() error { return l.startHarbors(key) }}, {"images", func() error { return l.fill(ctx) }}, {"fleet files", func() error { return l.writeFiles(key) }}}
	for i, place := range places {
		steps = append(steps, step{"edge and name server of " + place.name, func() error { return l.startDatacenter(i) }})
	}
	steps = append(steps, step{"the zone above", l.startAbove})
	bar := progress.Show(os.Stderr)
	defer bar.End()
	for i, s := range steps {
		bar.To(i, len(steps), s.what)
		if err := s.do(); err != nil {
			return l, err
		}
	}
	if l.control, err = listenControl(l.dir); err != nil {
		return l, err
	}
	l.describe()
	if o.watch {
		return l, l.startPrometheus()
	}
	return l, nil
}

// step is a part of the start, which the bar names.
type step struct {
	what string
	do   func() error
}

// writeFiles writes what edges and name servers read, and how they reach each other.
func (l *running) writeFiles(key *rsa.PrivateKey) error {
	if err := l.writeKeys(key); err != nil {
		return err
	}
	for i := range places {
		if err := l.choosePorts(i); err != nil {
			return err
		}
	}
	return l.linkEdges()
}

// startAbove starts the name server of the zone above the domain, where there are name servers.
func (l *running) startAbove() (err error) {
	if !l.ownAddresses() {
		return nil
	}
	glue := map[string]string{}
	for _, place := range places {
		glue[place.name] = place.host
	}
	l.parent, err = startParent(l.port, glue)
	return err
}

// startHarbors starts them all: each is told where the others are, over its links.
func (l *running) startHarbors(key *rsa.PrivateKey) error {
	var listeners []net.Listener
	for i, place := range places {
		listener, err := listen("Harbor of "+place.name, place.host, l.port, harborOffset, i)
		if err != nil {
			return errors.Join(err, closeAll(listeners))
		}
		listeners = append(listeners, listener)
	}
	for i, place := range places {
		registries, err := l.linkHarbors(i, listeners)
		if err != nil {
			return errors.Join(err, closeAll(listeners[i:]))
		}
		cfg := lab.HarborConfig{Listener: listeners[i], Dir: filepath.Join(l.dir, place.name, "harbor"), Key: key, Registries: registries, ExternalHost: domain}
		l.load(&cfg, uint64(i))
		h, err := lab.StartHarbor(cfg)
		if err != nil {
			return errors.Join(err, closeAll(listeners[i:]))
		}
		l.harbors = append(l.harbors, h)
		if err := l.furnish(h); err != nil {
			return errors.Join(err, closeAll(listeners[i+1:]))
		}
	}
	return nil
}

// load says how much else the Harbor has to do. A busy one takes 1 to 15 s for the replication
// of an image (two steps), and two replications at once; its webhooks take 1.2 s at the median.
func (l *running) load(cfg *lab.HarborConfig, seed uint64) {
	if l.quiet {
		cfg.ReplicationDelay, cfg.StatusLag, cfg.WebhookRetry = time.Millisecond, time.Millisecond, time.Second
		return
	}
	cfg.Workers, cfg.ReplicationDelay = 2, 300*time.Millisecond // from a push to the event's execution
	cfg.Replicating = lab.Busy(seed, 500*time.Millisecond, 7500*time.Millisecond)
	cfg.Delivering = lab.BusyDelivery(seed)
}

// furnish makes what every Harbor of the fleet has.
func (l *running) furnish(h *lab.Harbor) error {
	if err := h.CreateCache("cache-dockerhub", "docker-hub", l.hub.URL(), true); err != nil {
		return err
	}
	h.CreateProject("multi-dc-demo", false)
	h.CreateRobot("*", edgeRobot, edgeSecret, "pull", "push", "repository:list", "artifact:list", "artifact:read", "artifact:delete", "tag:list", "tag:delete")
	for _, r := range demoRobots {
		h.CreateRobot("multi-dc-demo", r.name, r.secret, r.actions...)
	}
	return nil
}

var demoRobots = []struct {
	name, secret string
	actions      []string
}{
	{"readonly", "Read1Only2Secret", []string{"pull"}},
	{"readwrite", "Read1Write2Secret", []string{"pull", "push"}},
}

// writeKeys puts what the fleet file refers to beside it.
func (l *running) writeKeys(key *rsa.PrivateKey) error {
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	_, password := l.harbors[0].Admin()
	contents := map[string]string{
		"harbor-token.pem": string(certificate), "harbor-password": password, "edge-secret": edgeSecret, "peer-key": rand.Text() + rand.Text(), "gslb-key": rand.Text() + rand.Text(), "sync-secret": "Sync1With2All",
	}
	for _, r := range demoRobots {
		contents[r.name+"-secret"] = r.secret
	}
	for name, content := range contents {
		if err := os.WriteFile(filepath.Join(l.dir, name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// fleetFile is the fleet file of the edge that will listen on these addresses:
// the same fleet for all, but ports differ where there is one address for all.
func (l *running) fleetFile(dir string, own addresses) string {
	s := "domain: " + domain + "\ndatacenters:\n"
	for i, place := range places {
		s += fmt.Sprintf("  %s: { role: %s, harbor: %q, edge: %q, addresses: [%s], gslb: [%s], networks: [%s], location: %s }\n",
			place.name, place.role, l.harbors[i].URL(), "http://"+l.places[i].public, place.host, place.host, place.network, place.location)
	}
	if l.ownAddresses() {
		s += fmt.Sprintf("gslb: { listen: %q, metrics: %q, admin: %q, peers: %q, key: \"file:%s/gslb-key\", state: %q, ttl: 2s }\n",
			own.dns, own.dnsMetrics, own.dnsAdmin, own.dnsPeers, l.dir, filepath.Join(filepath.Dir(dir), "gslb.json"))
	}
	return s + fmt.Sprintf(`harbor: { username: admin, password: "file:%[1]s/harbor-password", token_certificates: ["file:%[1]s/harbor-token.pem"] }
projects:
  multi-dc:
    demo:
      robots: { readonly: "file:%[1]s/readonly-secret", readwrite: "file:%[1]s/readwrite-secret", sync: "file:%[1]s/sync-secret" }
  cache:
    dockerhub: { provider: docker-hub, endpoint: %[2]q, public: true }
edge:
  listen: %[4]q
  plain_http: true
  metrics: %[5]q
  admin: %[6]q
  changes: "%[1]s/changes.json"
  store: { path: %[3]q, size: 2GiB }
  robot: { name: %[7]s, secret: "file:%[1]s/edge-secret" }
  peers: { key: "file:%[1]s/peer-key" }
`, l.dir, l.hub.URL(), dir, own.public, own.metrics, own.admin, edgeRobot)
}

func (l *running) close() {
	if l.control != nil {
		l.control.Close() //nolint:errcheck // everything below goes with the directory
	}
	for _, e := range l.edges {
		if e != nil {
			e.Close() //nolint:errcheck // see above
		}
	}
	for _, g := range l.gslbs {
		g.Close() //nolint:errcheck // see above
	}
	for _, h := range l.harbors {
		h.Close() //nolint:errcheck // see above
	}
	l.links.close()
	l.parent.close()
	l.prometheus.close()
	if l.hub != nil {
		l.hub.Close() //nolint:errcheck // see above
	}
	os.RemoveAll(l.dir) //nolint:errcheck // a temporary directory
}
