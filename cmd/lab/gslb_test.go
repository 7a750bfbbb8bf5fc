package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"example.org/breakwater/gslb"

	"example.org/breakwater/internal/trial"
)

// TestGSLB asks the lab's name servers from outside: all of them send a client to the
// same datacenter, an operator moves clients, and the backup is for when no primary is left.
func TestGSLB(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	t.Parallel()
	f := startLab(t)
	if f.Datacenters[0].GSLB == "" {
		t.Skip("this system has one loopback address")
	}
	program := bin(t, "breakwater")
	for _, d := range f.Datacenters {
		f.serving(t, program, d)
	}
	home := map[string]string{"10.1.2.0/24": "par1", "10.2.3.0/24": "mad1", "10.3.4.0/24": "drp1"}
	want := func(t *testing.T, par1, mad1 string) {
		t.Helper()
		for _, d := range f.Datacenters {
			for _, network := range []string{"udp", "tcp"} {
				for client, datacenter := range map[string]string{"10.1.2.0/24": par1, "10.2.3.0/24": mad1} {
					trial.Until(t, func() error { // on a busy machine a probe may come late
						if got := f.sentBy(t, network, d.GSLB, client); got != datacenter {
							return fmt.Errorf("over %s the name server of %s sends %s, who is at home in %s, to %q, want %s", network, d.Name, client, home[client], got, datacenter)
						}
						return nil
					})
				}
			}
		}
	}
	said := 0
	say := func(t *testing.T, args ...string) { // to one of them, another one each time
		t.Helper()
		said++
		output(t, exec.Command(program, append([]string{"gslb", args[0], "--admin", f.Datacenters[said%len(f.Datacenters)].Steer}, args[1:]...)...))
	}
	want(t, "par1", "mad1")
	say(t, "drain", "par1", "--for", "1h", "--reason", "new switches")
	want(t, "mad1", "mad1")
	why := output(t, exec.Command(program, "gslb", "explain", "--admin", f.Datacenters[2].Steer, "--client", "10.1.2.3"))
	if !strings.Contains(why, "mad1") || !strings.Contains(why, "Not par1: an operator has taken it out.") {
		t.Errorf("it is not said why: %s", why)
	}
	if status := output(t, exec.Command(program, "gslb", "status", "--admin", f.Datacenters[2].Steer)); !strings.Contains(status, "new switches") {
		t.Errorf("the reason is not in the status: %s", status)
	}
	say(t, "force", "mad1", "down")
	want(t, "drp1", "drp1")
	say(t, "release", "par1")
	want(t, "par1", "par1")
	say(t, "release", "mad1")
	want(t, "par1", "mad1")
	f.allAreTold(t, program, want)
	f.edgeDrains(t, program)
	end(t, f)
}

// allAreTold: one command tells all name servers, but not to leave nobody.
func (f *fleetUnderTest) allAreTold(t *testing.T, program string, want func(t *testing.T, par1, mad1 string)) {
	t.Helper()
	fleet := func(args ...string) *exec.Cmd {
		return exec.Command(program, append([]string{"gslb", args[0], "--fleet", "--config", f.Datacenters[1].Fleet}, args[1:]...)...)
	}
	for _, name := range []string{"drp1", "par1"} {
		if text := output(t, fleet("drain", name)); !strings.Contains(text, "Safe to stop at ") {
			t.Errorf("%s", text)
		}
	}
	want(t, "mad1", "mad1")
	if text := fails(t, fleet("drain", "mad1")); !strings.Contains(text, "nothing is changed") || !strings.Contains(text, "par1 was drained at ") {
		t.Errorf("%s", text)
	}
	want(t, "mad1", "mad1")
	for _, name := range []string{"drp1", "par1"} {
		output(t, fleet("release", name))
	}
	want(t, "par1", "mad1")
	if text := output(t, fleet("status")); !strings.HasPrefix(text, "All name servers answer, and alike.\n") {
		t.Errorf("%s", text)
	}
}

// edgeDrains: an edge that is told to leave tells all name servers so by its health, and
// serves all the same.
func (f *fleetUnderTest) edgeDrains(t *testing.T, program string) {
	t.Helper()
	par1, other := f.Datacenters[0], f.Datacenters[1]
	sentTo := func(datacenter string) {
		t.Helper()
		trial.Until(t, func() error {
			if got := f.sentBy(t, "udp", other.GSLB, "10.1.2.0/24"); got != datacenter {
				return fmt.Errorf("the clients of par1 are sent to %q, want %s", got, datacenter)
			}
			return nil
		})
	}
	ready := func(want int) {
		t.Helper()
		resp, err := http.Get(par1.Metrics + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("readiness is %s, want %d", resp.Status, want)
		}
	}
	admin := strings.TrimPrefix(par1.Admin, "http://")
	output(t, exec.Command(program, "edge", "drain", "--admin", admin, "--wait", "1s"))
	ready(http.StatusServiceUnavailable)
	sentTo("mad1")
	anonymousToken(t, par1.Edge, "cache-dockerhub/library/hello") // still served
	output(t, exec.Command(program, "edge", "release", "--admin", admin))
	ready(http.StatusOK)
	sentTo("par1")
}

// serving waits until the name server has seen that all datacenters serve.
func (f *fleetUnderTest) serving(t *testing.T, program string, d datacenterReport) {
	t.Helper()
	trial.Until(t, func() error {
		text, err := exec.Command(program, "gslb", "status", "--json", "--admin", d.Steer).Output() // its status is 1 until all is well
		var r gslb.Report
		if fault := json.Unmarshal(text, &r); fault != nil {
			t.Fatal(err, fault)
		}
		up := 0
		for _, health := range r.Datacenters {
			if health.Up {
				up++
			}
		}
		if !r.Answering || up != len(f.Datacenters) {
			return fmt.Errorf("the name server of %s does not see the fleet: %s", d.Name, text)
		}
		return nil
	})
}

// sentBy is the datacenter that a name server answers the client with.
func (f *fleetUnderTest) sentBy(t *testing.T, network, server, client string) string {
	t.Helper()
	answer := query(t, network, server, f.Domain+".", dns.TypeA, client)
	if answer.Rcode != dns.RcodeSuccess || !answer.Authoritative || len(answer.Answer) != 1 {
		t.Fatalf("%s answers %v", server, answer)
	}
	a, ok := answer.Answer[0].(*dns.A)
	if !ok || a.Hdr.Ttl > 2 {
		t.Errorf("%s answers %v", server, answer)
	}
	i := slices.IndexFunc(f.Datacenters, func(d datacenterReport) bool {
		host, _, _ := net.SplitHostPort(strings.TrimPrefix(d.Edge, "http://"))
		return ok && host == a.A.String()
	})
	if i < 0 {
		return ""
	}
	return f.Datacenters[i].Name
}

// query asks a DNS server, for a client in the network if one is given.
func query(t *testing.T, network, server, name string, qtype uint16, client string) *dns.Msg {
	t.Helper()
	var answer *dns.Msg
	trial.Until(t, func() (err error) { // as every resolver asks again
		if answer, err = exchange(t, network, server, name, qtype, client, 5*time.Second); err != nil {
			return fmt.Errorf("ask %s over %s for %s: %w", server, network, name, err)
		}
		return nil
	})
	return answer
}

func exchange(t *testing.T, network, server, name string, qtype uint16, client string, patience time.Duration) (*dns.Msg, error) {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(name, qtype)
	m.SetEdns0(1232, false)
	if client != "" {
		p := netip.MustParsePrefix(client)
		m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: uint8(p.Bits()), Address: p.Addr().AsSlice()}}
	}
	answer, _, err := (&dns.Client{Net: network, Timeout: patience}).ExchangeContext(t.Context(), m, server)
	return answer, err
}

// TestOneAddress: where a machine has one loopback address DNS could not tell the
// datacenters apart. The lab runs without name servers then, and says so.
func TestOneAddress(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("a network namespace needs root")
	}
	const only = `ip link set lo up && ip address del 127.0.0.1/8 dev lo && ip address add 127.0.0.1/32 dev lo && exec "$0" --port 0`
	trial.Client(t, "ip")
	lab := exec.Command(trial.Client(t, "unshare"), "--net", "sh", "-c", only, bin(t, "lab"))
	var stderr bytes.Buffer
	lab.Stderr = &stderr
	stdout, err := lab.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := lab.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		lab.Process.Kill() //nolint:errcheck // it may have ended
		lab.Wait()         //nolint:errcheck // see above
	})
	var text strings.Builder
	for buf := make([]byte, 4096); !strings.Contains(text.String(), "Ctrl-C"); {
		n, err := stdout.Read(buf)
		text.Write(buf[:n])
		if err != nil {
			t.Fatalf("%v\n%s%s", err, text.String(), &stderr)
		}
	}
	for _, want := range []string{"http://127.0.0.1:", "No name servers"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("want %q in\n%s", want, text.String())
		}
	}
	if strings.Contains(text.String(), "dig @") {
		t.Errorf("there is nobody to dig at:\n%s", text.String())
	}
	if err := lab.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := lab.Wait(); err != nil {
		t.Errorf("%v\n%s", err, &stderr)
	}
}

func TestReportSaysWhereToDig(t *testing.T) {
	r := report{Domain: "harbor.lab.example.org", Datacenters: []datacenterReport{{Name: "par1", GSLB: "127.0.10.1:5053", Steer: "127.0.10.1:5093"}, {Name: "mad1"}}}
	var text string
	for _, try := range r.tryDNS() {
		text += strings.Join(try.lines, "\n") + "\n"
	}
	for _, want := range []string{
		"dig @127.0.10.1 -p 5053 harbor.lab.example.org +subnet=10.2.3.0/24\n",
		"gslb explain --admin 127.0.10.1:5093 --client 10.2.3.4\n",
		"gslb drain --admin 127.0.10.1:5093 --fleet mad1\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("want %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "%!") {
		t.Errorf("a verb without its value:\n%s", text)
	}
}
