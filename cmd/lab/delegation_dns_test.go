package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"example.org/breakwater/internal/trial"
)

// startDNS starts the parent's server, one like it whose zone has faults, both with a
// root of their own, and the resolvers, who believe the first root.
func (d *delegated) startDNS(t *testing.T) {
	t.Helper()
	if err := os.Chmod(d.home, 0o755); err != nil { // for servers that give up root
		t.Fatal(err)
	}
	var right string
	for i, dc := range d.Datacenters {
		right += fmt.Sprintf("harbor 3600 IN NS ns-%[1]s.harbor\nns-%[1]s.harbor 3600 IN A %[2]s\n", dc.Name, d.address(atGSLB+i))
	}
	hints := d.startNSD(t, atParent, right)
	// mad1's server is said to be at the parent's own address, drp1's is left out, and
	// the TTL is a week.
	d.startNSD(t, atWrongParent, fmt.Sprintf(`harbor 604800 IN NS ns-par1.harbor
harbor 604800 IN NS ns-mad1.harbor
ns-par1.harbor 604800 IN A %s
ns-mad1.harbor 604800 IN A %s
`, d.address(atGSLB), d.address(atWrongParent)))
	var subnets string
	for i := range d.Datacenters {
		subnets += "  send-client-subnet: " + d.address(atGSLB+i) + "\n"
	}
	d.startUnbound(t, atUnbound, hints, "  module-config: \"subnetcache iterator\"\n"+subnets)
	d.startUnbound(t, atPlainUnbound, hints, "  module-config: \"iterator\"\n")
	d.start(t, trial.Client(t, "named"), "-g", "-c", d.write(t, "named.conf", fmt.Sprintf(`options {
  directory %[1]q; pid-file none; session-keyfile none;
  listen-on { %[2]s; }; listen-on-v6 { none; }; query-source address %[2]s;
  recursion yes; allow-query { any; }; dnssec-validation no; empty-zones-enable no;
};
controls { };
zone "." { type hint; file %[3]q; };
`, d.home, d.address(atBIND), hints)))
}

func (d *delegated) write(t *testing.T, name, text string) (path string) {
	t.Helper()
	path = filepath.Join(d.home, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// startNSD serves a root and below it the parent zone, with this delegation in it. It
// returns the file of hints for resolvers that are to begin there.
func (d *delegated) startNSD(t *testing.T, host int, delegation string) (hints string) {
	t.Helper()
	at, own := d.address(host), fmt.Sprintf("nsd-%d", host)
	soa := "@ 3600 IN SOA a.root.lab.example.org. root.lab.example.org. 1 3600 600 86400 5\n"
	root := d.write(t, own+"-root.zone", soa+"@ 3600 IN NS a.root.lab.example.org.\n"+parentZone+" 3600 IN NS a.root.lab.example.org.\na.root.lab.example.org. 3600 IN A "+at+"\n")
	parent := d.write(t, own+"-parent.zone", soa+"@ 3600 IN NS a.root\na.root 3600 IN A "+at+"\n"+delegation)
	d.start(t, trial.Client(t, "nsd"), "-d", "-c", d.write(t, own+".conf", fmt.Sprintf(`server:
  ip-address: %s
  username: ""
  pidfile: ""
  zonesdir: "%[2]s"
  zonelistfile: "%[2]s/%[3]s.list"
  xfrdfile: ""
  xfrdir: "%[2]s"
  database: ""
remote-control:
  control-enable: no
zone:
  name: "."
  zonefile: %[4]q
zone:
  name: %[5]q
  zonefile: %[6]q
`, at, d.home, own, root, parentZone, parent)))
	return d.write(t, own+".hints", ". 3600 IN NS a.root.lab.example.org.\na.root.lab.example.org. 3600 IN A "+at+"\n")
}

func (d *delegated) startUnbound(t *testing.T, host int, hints, options string) {
	t.Helper()
	at := d.address(host)
	d.start(t, trial.Client(t, "unbound"), "-d", "-c", d.write(t, fmt.Sprintf("unbound-%d.conf", host), fmt.Sprintf(`server:
  interface: %[1]s
  outgoing-interface: %[1]s
  access-control: 198.18.0.0/15 allow
  username: ""
  chroot: ""
  directory: %[2]q
  pidfile: ""
  use-syslog: no
  root-hints: %[3]q
  do-ip6: no
  infra-cache-max-rtt: 1000
%[4]sremote-control:
  control-enable: no
`, at, d.home, hints, options)))
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
	gateway := strings.Replace(d.network(name), ".0/24", ".1", 1)
	ip("address", "add", gateway+"/24", "dev", outside)
	ip("link", "set", outside, "up")
	ip("-n", space, "address", "add", d.client(name)+"/24", "dev", inside)
	ip("-n", space, "link", "set", inside, "up")
	ip("-n", space, "link", "set", "lo", "up")
	ip("-n", space, "route", "add", "default", "via", gateway)
}

func (d *delegated) space(clients string) string { return fmt.Sprintf("bw%d-%s", d.net, clients) }

// enter are the words before a command that run it where the clients are, with
// their resolver. (ip netns exec would hide the control groups from dockerd.)
func (d *delegated) enter(t *testing.T, clients string, resolver int) []string {
	t.Helper()
	conf := d.write(t, fmt.Sprintf("resolv-%d.conf", resolver), "nameserver "+d.address(resolver)+"\noptions timeout:5 attempts:3\n")
	return []string{"nsenter", "--net=/var/run/netns/" + d.space(clients), "unshare", "--mount", "sh", "-c", `mount --bind ` + conf + ` /etc/resolv.conf && exec "$@"`, "sh"}
}

// in is a command of a client.
func (d *delegated) in(t *testing.T, clients string, resolver int, name string, args ...string) *exec.Cmd {
	t.Helper()
	words := append(d.enter(t, clients, resolver), trial.Client(t, name))
	return clientCommand(t, t.TempDir(), words[0], append(words[1:], args...)...)
}

// script is a program that runs another one where the clients are.
func (d *delegated) script(t *testing.T, clients, name string) string {
	t.Helper()
	words := ""
	for _, w := range append(d.enter(t, clients, atUnbound), trial.Client(t, name)) {
		words += fmt.Sprintf("'%s' ", w)
	}
	path := d.write(t, name+"-of-"+clients, "#!/bin/sh\nexec "+words+`"$@"`+"\n")
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}
