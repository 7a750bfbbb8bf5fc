package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// ownAddresses gives this machine the servers' addresses until the test ends.
func (d *delegated) ownAddresses(t *testing.T) {
	t.Helper()
	hosts := []int{atEdge, atEdge + 1, atEdge + 2, atGSLB, atGSLB + 1, atGSLB + 2, atParent, atWrongParent, atUnbound, atPlainUnbound, atBIND}
	add := func(host int) error {
		err := exec.Command("ip", "address", "add", d.address(host)+"/32", "dev", "lo").Run()
		if address := d.address(host); err == nil {
			t.Cleanup(func() { exec.Command("ip", "address", "del", address+"/32", "dev", "lo").Run() }) //nolint:errcheck // as far as it goes
		}
		return err
	}
	for range 10 { // another run may have the first ones
		d.net = 3 * rand.IntN(80)
		if add(hosts[0]) == nil {
			break
		}
	}
	for _, host := range hosts[1:] {
		if err := add(host); err != nil {
			t.Fatalf("ip address add %s: %v", d.address(host), err)
		}
	}
}

// network is where the clients of a datacenter are, and client the one of them.
func (d *delegated) network(clients string) string {
	return fmt.Sprintf("198.18.%d.0/24", d.net+map[string]int{"par1": 1, "mad1": 2}[clients])
}

func (d *delegated) client(clients string) string {
	return strings.Replace(d.network(clients), ".0/24", ".2", 1)
}

// host is what clients write before an image.
func (d *delegated) host() string { return fmt.Sprintf("%s:%d", d.Domain, edgePort) }

// startFleet starts an edge and a name server in each datacenter, as processes.
func (d *delegated) startFleet(t *testing.T) {
	t.Helper()
	lab := filepath.Dir(filepath.Dir(d.Datacenters[0].Fleet))
	networks := map[string]string{
		"par1": d.network("par1") + ", " + d.address(atPlainUnbound) + "/32",
		"mad1": d.network("mad1") + ", " + d.address(atBIND) + "/32",
		"drp1": "192.0.2.0/24",
	}
	text := "domain: " + d.Domain + "\ndatacenters:\n"
	for i, dc := range d.Datacenters {
		text += fmt.Sprintf("  %s: { role: %s, harbor: %q, edge: \"http://%s:%d\", addresses: [%s], gslb: [%s], networks: [%s] }\n",
			dc.Name, dc.Role, dc.Harbor, d.address(atEdge+i), edgePort, d.address(atEdge+i), d.address(atGSLB+i), networks[dc.Name])
	}
	text += fmt.Sprintf(`harbor: { token_certificates: ["file:%[1]s/harbor-token.pem"] }
projects: { cache: { dockerhub: { provider: docker-hub, endpoint: %[2]q, public: true } } }
edge:
  listen: "ADDRESS:%[3]d"
  plain_http: true
  metrics: "127.0.0.1:0"
  admin: "127.0.0.1:0"
  store: { path: "HOME/store" }
  robot: { name: breakwater-edge, secret: "file:%[1]s/edge-secret" }
  peers: { key: "file:%[1]s/peer-key" }
gslb:
  listen: "DNS:53"
  metrics: "127.0.0.1:0"
  admin: "127.0.0.1:0"
  state: "HOME/gslb.json"
  ttl: 1s
  probe: { interval: 500ms, timeout: 300ms, rise: 2, hold: 1s }
`, lab, d.Upstreams[0].URL, edgePort)
	for i, dc := range d.Datacenters {
		home := filepath.Join(d.home, dc.Name)
		d.config = filepath.Join(home, "fleet.yaml")
		own := strings.NewReplacer("ADDRESS", d.address(atEdge+i), "DNS", d.address(atGSLB+i), "HOME", home).Replace(text)
		if err := os.Mkdir(home, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(d.config, []byte(own), 0o600); err != nil {
			t.Fatal(err)
		}
		d.startEdge(t, dc.Name)
		d.startGSLB(t, dc.Name)
	}
}

// startEdge starts a datacenter's edge, which takes a minute to leave when it is told to end.
func (d *delegated) startEdge(t *testing.T, datacenter string) {
	t.Helper()
	d.edges[datacenter] = d.start(t, d.program, "edge", "--config", filepath.Join(d.home, datacenter, "fleet.yaml"), "--datacenter", datacenter, "--drain", "1m")
}

func (d *delegated) startGSLB(t *testing.T, datacenter string) {
	t.Helper()
	d.gslbs[datacenter] = d.start(t, d.program, "gslb", "--config", filepath.Join(d.home, datacenter, "fleet.yaml"), "--datacenter", datacenter)
}

// server is a process that runs until the test ends, or is killed.
type server struct {
	process *os.Process
	log     string // file: what it says
	killed  bool
	wait    func() error
}

// start starts one, whatever part of the test asks for it.
func (d *delegated) start(t *testing.T, program string, args ...string) *server {
	t.Helper()
	log, err := os.CreateTemp(d.home, filepath.Base(program)+"-*.log")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &server{process: cmd.Process, log: log.Name(), wait: cmd.Wait}
	d.t.Cleanup(func() {
		s.end()
		if text, err := os.ReadFile(s.log); err == nil && d.t.Failed() {
			d.t.Logf("%s:\n%s", strings.Join(cmd.Args, " "), text[max(0, len(text)-4000):])
		}
	})
	return s
}

// signal tells a server something; one that is killed has ended when this returns.
func (d *delegated) signal(t *testing.T, s *server, signal syscall.Signal) {
	t.Helper()
	if signal == syscall.SIGKILL {
		s.end()
		return
	}
	if err := s.process.Signal(signal); err != nil {
		t.Fatal(err)
	}
}

func (s *server) end() {
	if s.killed {
		return
	}
	s.killed = true
	s.process.Kill() //nolint:errcheck // it may have ended
	s.wait()         //nolint:errcheck // it was killed
}
