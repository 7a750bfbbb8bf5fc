package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"example.org/breakwater/internal/trial"
)

// delegated is the fleet's name in a DNS of the test's own: NSD has the root and the
// parent zone, unbound and BIND resolve, and clients live in network namespaces.
// Addresses are of 198.18.0.0/15, which is for tests (RFC 2544).
type delegated struct {
	*fleetUnderTest
	t       *testing.T // the whole test: servers live as long
	net     int        // servers are in 198.18.net.0/24, par1's clients in the next one, mad1's in the one after
	home    string
	program string
	config  string
	edges   map[string]*server
	gslbs   map[string]*server
}

const (
	atEdge, atGSLB = 11, 21 // and the two after it
	atParent       = 31
	atWrongParent  = 32 // a server whose zone has faults
	atUnbound      = 41 // sends client subnets
	atPlainUnbound = 42 // sends none; at home in par1
	atBIND         = 43 // sends none: as a resolver, the BIND that is free cannot; at home in mad1
	edgePort       = 5000
	parentZone     = "lab.example.org."
)

func (d *delegated) address(host int) string { return fmt.Sprintf("198.18.%d.%d", d.net, host) }

// TestDelegation: clients that know nothing but a resolver reach the nearest edge by
// the one name, through a real chain from the root, and another one when that is gone.
func TestDelegation(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("addresses, ports below 1024 and network namespaces need root")
	}
	for _, client := range []string{"nsd", "unbound", "named", "ip", "nsenter", "unshare", "curl", "crane", "helm", "docker", "dockerd"} {
		trial.Client(t, client)
	}
	d := &delegated{t: t, fleetUnderTest: startLab(t), home: t.TempDir(), program: bin(t, "breakwater"), edges: map[string]*server{}, gslbs: map[string]*server{}}
	d.ownAddresses(t)
	d.startFleet(t)
	d.startDNS(t)
	d.addClients(t, "par1", 1)
	d.addClients(t, "mad1", 2)

	d.allAreAtHome(t)
	for _, resolver := range []int{atUnbound, atPlainUnbound, atBIND} {
		d.resolves(t, resolver)
	}
	d.delegationIs(t, atParent)
	d.delegationIs(t, atWrongParent, "lame", "parent-ttl", "wrong-glue", "wrong-ns")

	docker := dockerDaemon(t, t.TempDir(), d.script(t, "par1", "dockerd"), "--insecure-registry", "198.18.0.0/15")
	pulls := func(t *testing.T, edge string) {
		t.Helper()
		d.pulls(t, "par1", atUnbound, edge, docker)
	}
	pulls(t, "par1")
	d.pulls(t, "mad1", atUnbound, "mad1", nil)
	d.pulls(t, "par1", atBIND, "mad1", nil)

	t.Run("an edge that drains", func(t *testing.T) {
		d.signal(t, d.edges["par1"], syscall.SIGTERM)
		d.sentTo(t, "par1", atUnbound, "mad1")
		pulls(t, "mad1")
		output(t, d.in(t, "par1", atUnbound, "crane", "digest", "--insecure", fmt.Sprintf("%s:%d/%s", d.address(atEdge), edgePort, helloRepo))) // for those who have its address still
		d.signal(t, d.edges["par1"], syscall.SIGKILL)
		d.startEdge(t, "par1")
		d.sentTo(t, "par1", atUnbound, "par1")
	})
	t.Run("an edge that dies", func(t *testing.T) {
		d.signal(t, d.edges["par1"], syscall.SIGKILL)
		d.sentTo(t, "par1", atUnbound, "mad1")
		d.sentTo(t, "mad1", atPlainUnbound, "mad1")
		pulls(t, "mad1")
	})
	t.Run("with its name server", func(t *testing.T) {
		d.signal(t, d.gslbs["par1"], syscall.SIGKILL)
		d.signal(t, d.gslbs["mad1"], syscall.SIGKILL)
		d.signal(t, d.edges["mad1"], syscall.SIGKILL)
		d.sentTo(t, "par1", atUnbound, "drp1")
		d.sentTo(t, "par1", atPlainUnbound, "drp1")
		d.sentTo(t, "mad1", atBIND, "drp1")
		pulls(t, "drp1")
		d.delegationIs(t, atParent, "no-tcp", "unreachable")
	})
	t.Run("and comes back", func(t *testing.T) {
		d.startEdge(t, "mad1")
		d.startGSLB(t, "mad1")
		d.sentTo(t, "par1", atUnbound, "mad1")
		d.sentTo(t, "mad1", atBIND, "mad1")
	})
}

// allAreAtHome: with client subnets a client is where it is, without them where its
// resolver is.
func (d *delegated) allAreAtHome(t *testing.T) {
	t.Helper()
	for _, c := range []struct {
		clients  string
		resolver int
		want     string
	}{
		{"par1", atUnbound, "par1"}, {"mad1", atUnbound, "mad1"},
		{"par1", atPlainUnbound, "par1"}, {"mad1", atPlainUnbound, "par1"},
		{"par1", atBIND, "mad1"}, {"mad1", atBIND, "mad1"},
	} {
		d.sentTo(t, c.clients, c.resolver, c.want)
	}
}

// sentTo wants the clients to reach the datacenter's edge by the one name, soon, and
// to keep to it: all name servers that live have seen what happened.
func (d *delegated) sentTo(t *testing.T, clients string, resolver int, want string) {
	t.Helper()
	begun, url := time.Now(), fmt.Sprintf("http://%s/breakwater/v1/health", d.host())
	trial.Until(t, func() error {
		if err := d.agreed(t, clients, resolver, want); err != nil {
			return err
		}
		var health struct{ Datacenter string }
		text, _ := d.in(t, clients, resolver, "curl", "-sS", "--max-time", "10", url).CombinedOutput()
		if json.Unmarshal(text, &health) != nil || health.Datacenter != want {
			return fmt.Errorf("clients of %s, resolved by %s, do not come to %s: %s", clients, d.address(resolver), want, text)
		}
		return nil
	})
	t.Logf("clients of %s, by the resolver %d, are at %s after %v", clients, resolver, want, time.Since(begun).Round(time.Millisecond))
}

// agreed wants all name servers that live to say this datacenter.
func (d *delegated) agreed(t *testing.T, clients string, resolver int, want string) error {
	t.Helper()
	client := d.address(resolver) + "/32"
	if resolver == atUnbound {
		client = d.network(clients)
	}
	for i, dc := range d.Datacenters {
		if d.gslbs[dc.Name].killed {
			continue
		}
		answer, err := exchange(t, "udp", d.address(atGSLB+i)+":53", d.Domain+".", dns.TypeA, client, 2*time.Second)
		if err != nil {
			return err
		}
		at := d.address(atEdge + slices.IndexFunc(d.Datacenters, func(dc datacenterReport) bool { return dc.Name == want }))
		if len(answer.Answer) != 1 || !strings.HasSuffix(answer.Answer[0].String(), "\t"+at) {
			return fmt.Errorf("the name server of %s says %v", dc.Name, answer)
		}
	}
	return nil
}

// resolves wants a resolver to pass everything on that a client may ask.
func (d *delegated) resolves(t *testing.T, resolver int) {
	t.Helper()
	for _, c := range []struct {
		name   string
		qtype  uint16
		rcode  int
		answer int
	}{
		{d.Domain + ".", dns.TypeA, dns.RcodeSuccess, 1},
		{d.Domain + ".", dns.TypeAAAA, dns.RcodeSuccess, 0},
		{d.Domain + ".", dns.TypeHTTPS, dns.RcodeSuccess, 0},
		{d.Domain + ".", dns.TypeNS, dns.RcodeSuccess, len(d.Datacenters)},
		{"ns-drp1." + d.Domain + ".", dns.TypeA, dns.RcodeSuccess, 1},
		{"nobody." + d.Domain + ".", dns.TypeA, dns.RcodeNameError, 0},
	} {
		for _, network := range []string{"udp", "tcp"} {
			got := query(t, network, net.JoinHostPort(d.address(resolver), "53"), c.name, c.qtype, "")
			if got.Rcode != c.rcode || len(got.Answer) != c.answer || !got.RecursionAvailable {
				t.Errorf("over %s the resolver %d answers %v", network, resolver, got)
			} else if c.qtype == dns.TypeA && c.name == d.Domain+"." && got.Answer[0].Header().Ttl > 1 {
				t.Errorf("the resolver %d gives a TTL of more than 1 s: %v", resolver, got)
			}
		}
	}
}

// delegationIs wants these kinds of faults, and no others, to be found from the root.
func (d *delegated) delegationIs(t *testing.T, root int, want ...string) {
	t.Helper()
	text, err := exec.Command(d.program, "gslb", "check-delegation", "--json", "--config", d.config, "--root", d.address(root)).Output()
	var found []struct{ Kind string }
	if err := json.Unmarshal(text, &found); err != nil {
		t.Fatalf("check-delegation: %v in %q", err, text)
	}
	var kinds []string
	for _, f := range found {
		kinds = append(kinds, f.Kind)
	}
	if kinds = slices.Compact(kinds); !slices.Equal(kinds, want) || (err == nil) != (len(want) == 0) {
		t.Errorf("check-delegation from %s: %v, and found %s, want %v", d.address(root), err, text, want)
	}
}

// pulls wants every client to take what it pulls from this edge and no other.
func (d *delegated) pulls(t *testing.T, clients string, resolver int, edge string, docker func(args ...string) *exec.Cmd) {
	t.Helper()
	image := d.host() + "/" + helloRepo + ":latest"
	commands := map[string]*exec.Cmd{
		"crane": d.in(t, clients, resolver, "crane", "pull", "--insecure", image, "hello.tar"),
		"helm":  d.in(t, clients, resolver, "helm", "pull", "--plain-http", "oci://"+d.host()+"/"+d.Charts[0]),
	}
	if docker != nil {
		commands["docker"] = docker("pull", image)
		t.Cleanup(func() { docker("rmi", image).Run() }) //nolint:errcheck // the daemon goes too
		docker("rmi", image).Run()                       //nolint:errcheck // it may not be there
	}
	for name, cmd := range commands {
		before := d.asked(t, clients)
		output(t, cmd)
		var after map[string]int
		trial.Until(t, func() error { // a line is written when a request has ended
			if after = d.asked(t, clients); after[edge] == before[edge] {
				return fmt.Errorf("%s in %s, which is to be at %s, asked %v", name, clients, edge, after)
			}
			return nil
		})
		for _, dc := range d.Datacenters {
			if n := after[dc.Name] - before[dc.Name]; (n > 0) != (dc.Name == edge) {
				t.Errorf("%s in %s, which is to be at %s, sent %d requests to %s", name, clients, edge, n, dc.Name)
			}
		}
	}
}

// asked counts, by edge, the requests of the clients that the edges' logs tell of.
func (d *delegated) asked(t *testing.T, clients string) map[string]int {
	t.Helper()
	counts := map[string]int{}
	for name, edge := range d.edges {
		text, err := os.ReadFile(edge.log)
		if err != nil {
			t.Fatal(err)
		}
		counts[name] = strings.Count(string(text), `"client":"`+d.client(clients)+`"`)
	}
	return counts
}
