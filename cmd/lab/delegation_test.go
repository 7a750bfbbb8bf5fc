package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// delegated is the fleet's name in a DNS of the test's own: NSD has the root and the
// parent zone, unbound and BIND resolve, and clients live in network namespaces.
// Addresses are of 198.18.0.0/15, which is for tests (RFC 2544).
type delegated struct {
	*fleetUnderTest
	net     int // servers are in 198.18.net.0/24, par1's clients in the next one, mad1's in the one after
	home    string
	program string
	config  string
	edges   map[string]*exec.Cmd
}

const (
	atEdge, atGSLB  = 11, 21 // and the two after it
	atParent        = 31
	atUnbound       = 41
	atBIND          = 42
	edgePort        = 5000
	parentZone      = "lab.example.org."
	fallsOverWithin = 15 * time.Second
)

func (d *delegated) address(host int) string { return fmt.Sprintf("198.18.%d.%d", d.net, host) }

func TestDelegation(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("addresses, ports below 1024 and network namespaces need root")
	}
	for _, client := range []string{"nsd", "unbound", "named", "ip", "nsenter", "unshare", "curl", "crane", "helm", "dockerd"} {
		need(t, client)
	}
	t.Setenv("NO_PROXY", "*")
	d := &delegated{fleetUnderTest: startLab(t), net: 3 * rand.IntN(80), home: t.TempDir(), program: bin(t, "breakwater"), edges: map[string]*exec.Cmd{}}
	for i := range 3 {
		d.own(t, atEdge+i)
		d.own(t, atGSLB+i)
	}
	d.own(t, atParent)
	d.own(t, atUnbound)
	d.own(t, atBIND)
	d.startFleet(t)
	d.startDNS(t)
	d.addClients(t, "par1", 1)
	d.addClients(t, "mad1", 2)

	// With client subnets a client is where it is, without them where its resolver is.
	for _, c := range []struct {
		clients  string
		resolver int
		want     string
	}{{"par1", atUnbound, "par1"}, {"mad1", atUnbound, "mad1"}, {"par1", atBIND, "mad1"}, {"mad1", atBIND, "mad1"}} {
		d.sentTo(t, c.clients, c.resolver, c.want)
	}
	check := exec.Command(d.program, "gslb", "check-delegation", "--config", d.config, "--root", d.address(atParent))
	if got := output(t, check); !strings.Contains(got, "as it should be") {
		t.Error(got)
	}
	docker := dockerDaemon(t, t.TempDir(), d.script(t, "par1", "dockerd"), "--insecure-registry", "198.18.0.0/15")
	pulls := func() {
		t.Helper()
		image := fmt.Sprintf("harbor.%s:%d/cache-dockerhub/library/hello:latest", strings.TrimSuffix(parentZone, "."), edgePort)
		output(t, docker("pull", image))
		output(t, docker("rmi", image))
		output(t, d.in(t, "par1", atUnbound, "crane", "digest", "--insecure", image))
		output(t, d.in(t, "par1", atUnbound, "helm", "pull", "--plain-http", "--destination", t.TempDir(), "oci://"+strings.Replace(image, "cache-dockerhub/library/hello:latest", d.Charts[0], 1)))
	}
	pulls()
	d.kill(t, "par1")
	d.sentTo(t, "par1", atUnbound, "mad1")
	pulls()
	d.kill(t, "mad1")
	d.sentTo(t, "par1", atUnbound, "drp1")
	d.sentTo(t, "mad1", atBIND, "drp1")
	pulls()
	d.startEdge(t, "mad1")
	d.sentTo(t, "par1", atUnbound, "mad1")
}

// own gives this machine an address until the test ends.
func (d *delegated) own(t *testing.T, host int) {
	t.Helper()
	output(t, exec.Command("ip", "address", "add", d.address(host)+"/32", "dev", "lo"))
	t.Cleanup(func() { exec.Command("ip", "address", "del", d.address(host)+"/32", "dev", "lo").Run() }) //nolint:errcheck // as far as it goes
}

// startFleet starts an edge and a name server in each datacenter, as processes.
func (d *delegated) startFleet(t *testing.T) {
	t.Helper()
	lab := filepath.Dir(filepath.Dir(d.Datacenters[0].Fleet))
	networks := map[string]string{
		"par1": fmt.Sprintf("198.18.%d.0/24", d.net+1),
		"mad1": fmt.Sprintf("198.18.%d.0/24, %s/32", d.net+2, d.address(atBIND)),
		"drp1": "192.0.2.0/24",
	}
	text := "domain: harbor." + strings.TrimSuffix(parentZone, ".") + "\ndatacenters:\n"
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
		d.start(t, d.program, "gslb", "--config", d.config, "--datacenter", dc.Name)
	}
}

func (d *delegated) startEdge(t *testing.T, datacenter string) {
	t.Helper()
	config := filepath.Join(d.home, datacenter, "fleet.yaml")
	d.edges[datacenter] = d.start(t, d.program, "edge", "--config", config, "--datacenter", datacenter, "--drain", "1ms")
}

// start runs a server until the test ends; what it says goes to a file of its own.
func (d *delegated) start(t *testing.T, program string, args ...string) *exec.Cmd {
	t.Helper()
	log, err := os.CreateTemp(d.home, filepath.Base(program)+"-*.log")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill() //nolint:errcheck // it may have ended
		cmd.Wait()         //nolint:errcheck // it was killed
		log.Close()
		if text, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("%s:\n%s", strings.Join(cmd.Args, " "), text[max(0, len(text)-4000):])
		}
	})
	return cmd
}

func (d *delegated) kill(t *testing.T, datacenter string) {
	t.Helper()
	if err := d.edges[datacenter].Process.Kill(); err != nil {
		t.Fatal(err)
	}
}

// startDNS starts the parent's server and two resolvers, with the parent as the root.
func (d *delegated) startDNS(t *testing.T) {
	t.Helper()
	write := func(name, text string) string {
		path := filepath.Join(d.home, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if err := os.Chmod(d.home, 0o755); err != nil {
		t.Fatal(err)
	}
	parent := d.address(atParent)
	soa := "@ 3600 IN SOA a.root.lab.example.org. root.lab.example.org. 1 3600 600 86400 5\n"
	root := write("root.zone", soa+"@ 3600 IN NS a.root.lab.example.org.\n"+parentZone+" 3600 IN NS a.root.lab.example.org.\na.root.lab.example.org. 3600 IN A "+parent+"\n")
	zone := soa + "@ 3600 IN NS a.root\na.root 3600 IN A " + parent + "\n"
	for i, dc := range d.Datacenters {
		zone += fmt.Sprintf("harbor 3600 IN NS ns-%[1]s.harbor\nns-%[1]s.harbor 3600 IN A %[2]s\n", dc.Name, d.address(atGSLB+i))
	}
	d.start(t, need(t, "nsd"), "-d", "-c", write("nsd.conf", fmt.Sprintf(`server:
  ip-address: %s
  username: ""
  pidfile: ""
  zonesdir: "%[2]s"
  zonelistfile: "%[2]s/zone.list"
  xfrdfile: ""
  xfrdir: "%[2]s"
  database: ""
remote-control:
  control-enable: no
zone:
  name: "."
  zonefile: %[3]q
zone:
  name: %[4]q
  zonefile: %[5]q
`, parent, d.home, root, parentZone, write("parent.zone", zone))))
	hints := write("root.hints", ". 3600 IN NS a.root.lab.example.org.\na.root.lab.example.org. 3600 IN A "+parent+"\n")
	subnets := ""
	for i := range d.Datacenters {
		subnets += "  send-client-subnet: " + d.address(atGSLB+i) + "\n"
	}
	d.start(t, need(t, "unbound"), "-d", "-c", write("unbound.conf", fmt.Sprintf(`server:
  interface: %s
  access-control: 198.18.0.0/15 allow
  username: ""
  chroot: ""
  directory: %q
  pidfile: ""
  use-syslog: no
  root-hints: %q
  module-config: "subnetcache iterator"
  do-ip6: no
  infra-cache-max-rtt: 1000
%sremote-control:
  control-enable: no
`, d.address(atUnbound), d.home, hints, subnets)))
	d.start(t, need(t, "named"), "-g", "-c", write("named.conf", fmt.Sprintf(`options {
  directory %[1]q; pid-file none; session-keyfile none;
  listen-on { %[2]s; }; listen-on-v6 { none; }; query-source address %[2]s;
  recursion yes; allow-query { any; }; dnssec-validation no; empty-zones-enable no;
};
controls { };
zone "." { type hint; file %[3]q; };
`, d.home, d.address(atBIND), hints)))
}

// addClients makes a network namespace whose clients are in one datacenter's network.
func (d *delegated) addClients(t *testing.T, name string, network int) {
	t.Helper()
	space, outside, inside := d.space(name), fmt.Sprintf("bw%do%d", d.net, network), fmt.Sprintf("bw%di%d", d.net, network)
	ip := func(args ...string) {
		t.Helper()
		output(t, exec.Command("ip", args...))
	}
	ip("netns", "add", space)
	t.Cleanup(func() { exec.Command("ip", "netns", "del", space).Run() }) //nolint:errcheck // as far as it goes
	ip("link", "add", outside, "type", "veth", "peer", "name", inside, "netns", space)
	t.Cleanup(func() { exec.Command("ip", "link", "del", outside).Run() }) //nolint:errcheck // see above
	gateway, client := fmt.Sprintf("198.18.%d.1", d.net+network), fmt.Sprintf("198.18.%d.2", d.net+network)
	ip("address", "add", gateway+"/24", "dev", outside)
	ip("link", "set", outside, "up")
	ip("-n", space, "address", "add", client+"/24", "dev", inside)
	ip("-n", space, "link", "set", inside, "up")
	ip("-n", space, "link", "set", "lo", "up")
	ip("-n", space, "route", "add", "default", "via", gateway)
}

func (d *delegated) space(clients string) string { return fmt.Sprintf("bw%d-%s", d.net, clients) }

// enter are the words before a command that run it where the clients are, with
// their resolver. (ip netns exec would hide the control groups from dockerd.)
func (d *delegated) enter(t *testing.T, clients string, resolver int) []string {
	t.Helper()
	conf := filepath.Join(d.home, fmt.Sprintf("resolv-%d.conf", resolver))
	if err := os.WriteFile(conf, []byte("nameserver "+d.address(resolver)+"\noptions timeout:2 attempts:3\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return []string{"nsenter", "--net=/var/run/netns/" + d.space(clients), "unshare", "--mount", "sh", "-c", `mount --bind ` + conf + ` /etc/resolv.conf && exec "$@"`, "sh"}
}

// in is a command of a client.
func (d *delegated) in(t *testing.T, clients string, resolver int, name string, args ...string) *exec.Cmd {
	t.Helper()
	words := append(d.enter(t, clients, resolver), need(t, name))
	return clientCommand(t, t.TempDir(), words[0], append(words[1:], args...)...)
}

// script is a program that runs another one where the clients are.
func (d *delegated) script(t *testing.T, clients, name string) string {
	t.Helper()
	path := filepath.Join(d.home, name+"-of-"+clients)
	words := ""
	for _, w := range append(d.enter(t, clients, atUnbound), need(t, name)) {
		words += fmt.Sprintf("'%s' ", w)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\nexec "+words+`"$@"`+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// sentTo wants the clients to reach the datacenter's edge by the one name, soon.
func (d *delegated) sentTo(t *testing.T, clients string, resolver int, want string) {
	t.Helper()
	url := fmt.Sprintf("http://harbor.%s:%d/breakwater/v1/health", strings.TrimSuffix(parentZone, "."), edgePort)
	var text []byte
	for until := time.Now().Add(fallsOverWithin); time.Now().Before(until); {
		var health struct{ Datacenter string }
		text, _ = d.in(t, clients, resolver, "curl", "-sS", "--max-time", "2", url).CombinedOutput()
		if json.Unmarshal(text, &health) == nil && health.Datacenter == want {
			return
		}
	}
	t.Fatalf("clients of %s, resolved by %s, do not come to %s within %v: %s", clients, d.address(resolver), want, fallsOverWithin, text)
}
