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
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sync/errgroup"

	"example.org/breakwater/cmd/internal/wire"
	"example.org/breakwater/internal/daemon"
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
	edgeRobot        = "breakwater-edge"
	edgeSecret       = "Edge1Secret2Edge"
)

// running is the fleet while it runs.
type running struct {
	dir     string
	hub     *lab.Upstream
	harbors []*lab.Harbor
	edges   []*wire.Edge
	gslbs   []*wire.GSLB // none where all datacenters have one address: DNS could not tell them apart
	places  []addresses
	report  report
}

// addresses are where one edge listens, and its datacenter's name server.
type addresses struct{ public, metrics, admin, dns, dnsMetrics, dnsAdmin string }

// start brings everything up. What it returns is to be closed also after an error.
func start(ctx context.Context, port int, lines io.Writer) (*running, error) {
	l := &running{}
	var err error
	if l.dir, err = os.MkdirTemp("", "breakwater-lab-"); err != nil {
		return l, err
	}
	listener, err := listen("upstream docker-hub", hubHost, port, 0, len(places))
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
	for i, place := range places {
		if err := l.startHarbor(key, i, place.name, port); err != nil {
			return l, err
		}
	}
	if err := l.fill(ctx); err != nil {
		return l, err
	}
	if err := l.writeKeys(key); err != nil {
		return l, err
	}
	for i, place := range places {
		if err := l.choosePorts(i, place.name, port); err != nil {
			return l, err
		}
	}
	for i, place := range places {
		if err := l.startEdge(ctx, i, place.name, lines); err != nil {
			return l, err
		}
	}
	l.describe()
	return l, nil
}

// listen opens a listener on the place's own address, or on one of its ports of
// 127.0.0.1 where there is no such address.
func listen(what, host string, port, offset, place int) (net.Listener, error) {
	at := 0
	if port != 0 {
		at = port + offset
	}
	l, err := daemon.Listen(what, fmt.Sprintf("%s:%d", host, at))
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		if at != 0 {
			at += 100 * (place + 1)
		}
		return daemon.Listen(what, fmt.Sprintf("127.0.0.1:%d", at))
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%w; go run ./cmd/lab --port 0 takes free ones", err)
	}
	return l, err
}

func (l *running) startHarbor(key *rsa.PrivateKey, i int, name string, port int) error {
	listener, err := listen("Harbor of "+name, places[i].host, port, harborOffset, i)
	if err != nil {
		return err
	}
	h, err := lab.StartHarbor(lab.HarborConfig{Listener: listener, Dir: filepath.Join(l.dir, name, "harbor"), Key: key})
	if err != nil {
		return err
	}
	l.harbors = append(l.harbors, h)
	if err := h.CreateCache("cache-dockerhub", "docker-hub", l.hub.URL(), true); err != nil {
		return err
	}
	h.CreateProject("multi-dc-demo", false)
	h.CreateRobot("*", edgeRobot, edgeSecret, "pull")
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
		"harbor-token.pem": string(certificate), "harbor-password": password, "edge-secret": edgeSecret, "peer-key": rand.Text(), "sync-secret": "Sync1With2All",
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

// choosePorts finds out where an edge and name server will listen: all fleet files name all edges.
func (l *running) choosePorts(i int, name string, port int) error {
	var a addresses
	for offset, address := range map[int]*string{0: &a.public, metricsOffset: &a.metrics, adminOffset: &a.admin,
		dnsOffset: &a.dns, dnsMetricsOffset: &a.dnsMetrics, dnsAdminOffset: &a.dnsAdmin} {
		// Opened to see that the port is free and then opened again: the fleet file
		// holds addresses, as every fleet file does.
		listener, err := listen("edge "+name, places[i].host, port, offset, i)
		if err != nil {
			return err
		}
		*address = listener.Addr().String()
		defer listener.Close() // when all are chosen: no two are the same
	}
	l.places = append(l.places, a)
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
		s += fmt.Sprintf("gslb: { listen: %q, metrics: %q, admin: %q, state: %q, ttl: 2s }\n", own.dns, own.dnsMetrics, own.dnsAdmin, filepath.Join(filepath.Dir(dir), "gslb.json"))
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
  store: { path: %[3]q, size: 2GiB }
  robot: { name: %[7]s, secret: "file:%[1]s/edge-secret" }
  peers: { key: "file:%[1]s/peer-key" }
`, l.dir, l.hub.URL(), dir, own.public, own.metrics, own.admin, edgeRobot)
}

func (l *running) startEdge(ctx context.Context, i int, name string, lines io.Writer) error {
	dir := filepath.Join(l.dir, name)
	file := filepath.Join(dir, "fleet.yaml")
	text := l.fleetFile(filepath.Join(dir, "store"), l.places[i])
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	f, err := fleet.ReadFile(file)
	if err != nil {
		return err
	}
	level := new(slog.LevelVar)
	edge, err := wire.NewEdge(ctx, wire.EdgeConfig{Fleet: f, Datacenter: name, Version: daemon.Version(), Log: newLog(lines, name, level), Level: level})
	if err != nil {
		return err
	}
	l.edges = append(l.edges, edge)
	if !l.ownAddresses() {
		return nil
	}
	node, err := wire.NewGSLB(ctx, wire.GSLBFile{Fleet: file, Datacenter: name, Log: newLog(lines, name, level), Level: level})
	if err != nil {
		return err
	}
	l.gslbs = append(l.gslbs, node)
	return nil
}

// ownAddresses reports whether each datacenter listens on its own.
func (l *running) ownAddresses() bool {
	for i, place := range places {
		if !strings.HasPrefix(l.places[i].public, place.host+":") {
			return false
		}
	}
	return true
}

// serve runs the edges and name servers until ctx ends.
func (l *running) serve(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, e := range l.edges {
		group.Go(func() error { return e.Daemon.Run(ctx, e.Servers...) })
	}
	for _, g := range l.gslbs {
		group.Go(func() error { return g.Run(ctx) })
	}
	return group.Wait()
}

func (l *running) close() {
	for _, e := range l.edges {
		e.Close() //nolint:errcheck // everything below goes with the directory
	}
	for _, g := range l.gslbs {
		g.Close() //nolint:errcheck // see above
	}
	for _, h := range l.harbors {
		h.Close() //nolint:errcheck // see above
	}
	if l.hub != nil {
		l.hub.Close() //nolint:errcheck // see above
	}
	os.RemoveAll(l.dir) //nolint:errcheck // a temporary directory
}
