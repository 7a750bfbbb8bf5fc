package gslb

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

var silent = slog.New(slog.DiscardHandler)

// fleetOfFiles is a fleet whose datacenters are up and down as files say.
type fleetOfFiles struct {
	cfg Config
	dir string
}

func newFleetOfFiles(t *testing.T) *fleetOfFiles {
	t.Helper()
	f := &fleetOfFiles{dir: t.TempDir()}
	f.cfg = Config{
		Node: "par1", Listen: "127.0.0.1:0", Log: silent, State: filepath.Join(f.dir, "state.json"),
		Probe: ProbeConfig{Interval: 20 * time.Millisecond, Timeout: 15 * time.Millisecond, Fall: 2, Rise: 2, Confirm: time.Millisecond},
		Fleet: FleetConfig{
			Datacenters: []Datacenter{
				{Name: "par1", Addresses: addrs("192.0.2.1", "2001:db8::1"), Networks: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}, NameServers: addrs("192.0.2.53")},
				{Name: "mad1", Addresses: addrs("192.0.2.2"), Networks: []netip.Prefix{netip.MustParsePrefix("10.2.0.0/16")}, NameServers: addrs("192.0.2.54")},
				{Name: "drp1", Backup: true, Addresses: addrs("192.0.2.3")},
			},
			Zones: []Zone{{Origin: "h.example.", Mbox: "sre.h.example.", Names: []Name{
				{Name: "h.example.", Method: Nearest, Panic: PanicLastGood, TTL: 30 * time.Second, Members: []int{0, 1, 2}},
				{Name: "two.h.example.", Method: Failover, Panic: PanicNodata, TTL: 10 * time.Second, Members: []int{1, 0}},
			}}},
		},
	}
	for _, dc := range f.cfg.Fleet.Datacenters {
		f.say(t, dc.Name, "up")
		f.cfg.Targets = append(f.cfg.Targets, Target{Datacenter: dc.Name, Kind: ProbeFile, URL: "file:" + filepath.Join(f.dir, dc.Name)})
	}
	return f
}

func addrs(all ...string) (list []netip.Addr) {
	for _, a := range all {
		list = append(list, netip.MustParseAddr(a))
	}
	return list
}

// say writes what a datacenter's probes find; far in the future, so that it does not age.
func (f *fleetOfFiles) say(t *testing.T, datacenter, text string) {
	t.Helper()
	file := filepath.Join(f.dir, datacenter)
	if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(file+".new", later, later); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

// running is a node that answers on loopback.
type running struct {
	*Node
	t    *testing.T
	stop func()
}

func (f *fleetOfFiles) run(t *testing.T) *running {
	t.Helper()
	n, err := New(t.Context(), f.cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	stopped := false
	r := &running{n, t, func() {
		if !stopped {
			stopped = true
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}}
	t.Cleanup(r.stop)
	return r
}

// ask is a query over UDP, with a client subnet where there is one.
func (r *running) ask(name, subnet string, qtype uint16) *dns.Msg {
	r.t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(name, qtype)
	m.SetEdns0(1232, false)
	if subnet != "" {
		p := netip.MustParsePrefix(subnet)
		ecs := &dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: uint8(p.Bits()), Address: p.Addr().AsSlice()}
		if p.Addr().Is6() {
			ecs.Family = 2
		}
		m.IsEdns0().Option = append(m.IsEdns0().Option, ecs)
	}
	answer, _, err := (&dns.Client{Timeout: 5 * time.Second}).Exchange(m, r.Addresses()[0])
	if err != nil {
		r.t.Fatal(err)
	}
	return answer
}

// addresses are the A records of the answer.
func (r *running) addresses(name, subnet string) (all []string) {
	r.t.Helper()
	for _, rr := range r.ask(name, subnet, dns.TypeA).Answer {
		all = append(all, rr.(*dns.A).A.String())
	}
	return all
}

// becomes waits until the name is answered so.
func (r *running) becomes(name, subnet string, want ...string) {
	r.t.Helper()
	var got []string
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); {
		if got = r.addresses(name, subnet); slices.Equal(got, want) {
			return
		}
	}
	r.t.Fatalf("%s for %q is %v and does not become %v", name, subnet, got, want)
}

func TestNodeFollowsHealth(t *testing.T) {
	f := newFleetOfFiles(t)
	r := f.run(t)
	r.becomes("h.example.", "10.1.2.0/24", "192.0.2.1")
	r.becomes("h.example.", "10.2.2.0/24", "192.0.2.2")
	f.say(t, "par1", "down")
	r.becomes("h.example.", "10.1.2.0/24", "192.0.2.2")
	if got := r.addresses("h.example.", "10.2.2.0/24"); !slices.Equal(got, []string{"192.0.2.2"}) {
		t.Errorf("clients of mad1 moved to %v", got)
	}
	f.say(t, "mad1", "down")
	r.becomes("h.example.", "10.1.2.0/24", "192.0.2.3")
	r.becomes("two.h.example.", "") // nodata is the policy of this one
	f.say(t, "drp1", "down")
	for until := time.Now().Add(10 * time.Second); ; { // the last that was good, and for a short time
		a := r.ask("h.example.", "10.1.2.0/24", dns.TypeA)
		if len(a.Answer) != 1 || a.Answer[0].(*dns.A).A.String() != "192.0.2.3" || time.Now().After(until) {
			t.Fatalf("nobody is healthy: %v", a)
		}
		if a.Answer[0].Header().Ttl <= 5 {
			break
		}
	}
	f.say(t, "par1", "up")
	r.becomes("h.example.", "10.2.2.0/24", "192.0.2.1")
	r.becomes("two.h.example.", "", "192.0.2.1")
}

func TestNodeIsSteered(t *testing.T) {
	f := newFleetOfFiles(t)
	r := f.run(t)
	r.becomes("h.example.", "10.1.2.0/24", "192.0.2.1")
	done, err := r.Override(Override{Datacenter: "par1", Mode: Drain, Reason: "new switches"})
	if err != nil {
		t.Fatal(err)
	}
	if in := time.Until(done.SafeAt); in < 29*time.Second || in > 30*time.Second {
		t.Errorf("safe to stop in %v, and the longest TTL is 30s", in)
	}
	if got := r.addresses("h.example.", "10.1.2.0/24"); !slices.Equal(got, []string{"192.0.2.2"}) {
		t.Errorf("a drain takes effect at once: %v", got)
	}
	// One name is told apart from all.
	if _, err := r.Override(Override{Datacenter: "par1", Name: "two.h.example", Mode: Up}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Override(Override{Datacenter: "mad1", Name: "two.h.example.", Mode: Down}); err != nil {
		t.Fatal(err)
	}
	if got := r.addresses("two.h.example.", ""); !slices.Equal(got, []string{"192.0.2.1"}) {
		t.Errorf("%v", got)
	}
	// It survives a restart, and ends when it was said to.
	r.stop()
	r = f.run(t)
	r.becomes("h.example.", "10.1.2.0/24", "192.0.2.2")
	if err := r.Release("par1", ""); err != nil {
		t.Fatal(err)
	}
	r.becomes("h.example.", "10.1.2.0/24", "192.0.2.1")
	if _, err := r.Override(Override{Datacenter: "par1", Mode: Drain, Until: time.Now().Add(300 * time.Millisecond)}); err != nil {
		t.Fatal(err)
	}
	if got := r.addresses("h.example.", "10.1.2.0/24"); !slices.Equal(got, []string{"192.0.2.2"}) {
		t.Errorf("%v", got)
	}
	r.becomes("h.example.", "10.1.2.0/24", "192.0.2.1")
	for _, wrong := range []Override{
		{Datacenter: "fra1", Mode: Drain}, {Datacenter: "par1", Mode: "off"}, {Datacenter: "par1", Mode: Drain, Name: "x.example."},
		{Datacenter: "par1", Mode: Drain, Until: time.Now().Add(-time.Second)}, {Datacenter: "par1", Mode: Drain, Reason: strings.Repeat("x", 300)},
	} {
		if _, err := r.Override(wrong); err == nil {
			t.Errorf("%+v was taken", wrong)
		}
	}
	if err := r.Release("par1", "h.example."); err == nil {
		t.Error("what was never said was taken back")
	}
}

// Before the first round is in nobody is answered; what was known a moment ago is
// known at once, what is old is not.
func TestColdStart(t *testing.T) {
	f := newFleetOfFiles(t)
	r := f.run(t)
	r.becomes("h.example.", "10.1.2.0/24", "192.0.2.1")
	r.stop()
	f.cfg.Targets[0] = Target{Datacenter: "par1", Kind: ProbeEdge, URL: "http://" + serveTCP(t, func(net.Conn) {})} // no answer
	f.cfg.Probe.Timeout, f.cfg.Probe.Interval, f.cfg.Probe.Fall = 2*time.Second, 3*time.Second, 10
	r = f.run(t)
	begun := time.Now()
	r.becomes("h.example.", "10.1.2.0/24", "192.0.2.1")
	if took := time.Since(begun); took > time.Second {
		t.Errorf("what was known is answered after %v", took)
	}
	r.stop()
	s, err := loadState(f.cfg.State, silent)
	if err != nil {
		t.Fatal(err)
	}
	s.At = time.Now().Add(-time.Hour)
	if data, err := s.encode(); err != nil || os.WriteFile(f.cfg.State, data, 0o600) != nil {
		t.Fatal(err)
	}
	r = f.run(t)
	m := new(dns.Msg)
	m.SetQuestion("h.example.", dns.TypeA)
	if a, _, err := (&dns.Client{Timeout: 300 * time.Millisecond}).Exchange(m, r.Addresses()[0]); err == nil {
		t.Errorf("an answer before the first round: %v", a)
	}
	if r.Report().Answering {
		t.Error("it says that it answers")
	}
}

func TestStateFilesThatCannotBeTaken(t *testing.T) {
	f := newFleetOfFiles(t)
	if err := os.WriteFile(f.cfg.State, []byte(`{"version":1,`), 0o600); err != nil {
		t.Fatal(err)
	}
	r := f.run(t)
	r.becomes("h.example.", "10.1.2.0/24", "192.0.2.1")
	r.stop()
	if _, err := os.Stat(f.cfg.State + ".damaged"); err != nil {
		t.Error("the damaged file is not kept aside")
	}
	if err := os.WriteFile(f.cfg.State, []byte(`{"version":99}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(t.Context(), f.cfg); err == nil || !strings.Contains(err.Error(), "newer breakwater") {
		t.Error(err)
	}
	f.cfg.State = filepath.Join(f.dir, "par1", "state.json") // below a file
	r = f.run(t)
	r.becomes("h.example.", "10.1.2.0/24", "192.0.2.1")
}

func TestReload(t *testing.T) {
	f := newFleetOfFiles(t)
	topology := filepath.Join(f.dir, "topology.txt")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(topology, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("198.51.100.0/24 mad1\n")
	f.cfg.Fleet.Topology = topology
	r := f.run(t)
	r.becomes("h.example.", "198.51.100.0/24", "192.0.2.2")
	f.say(t, "mad1", "down")
	r.becomes("h.example.", "198.51.100.0/24", "192.0.2.1")
	write("198.51.100.0/24 mad9\n")
	if err := r.Reload(f.cfg); err == nil || !strings.Contains(err.Error(), "topology.txt:1: ") {
		t.Errorf("%v", err)
	}
	write("198.51.100.0/24 drp1 mad1\n203.0.113.0/24 mad1\n")
	if err := r.Reload(f.cfg); err != nil {
		t.Fatal(err)
	}
	// What was known of datacenters goes on: mad1 is down from the first answer.
	if got := r.addresses("h.example.", "203.0.113.0/24"); !slices.Equal(got, []string{"192.0.2.1"}) {
		t.Errorf("%v", got)
	}
	f.say(t, "mad1", "up")
	r.becomes("h.example.", "203.0.113.0/24", "192.0.2.2")
}

// The TXT record says what the answer does, to those who may ask.
func TestWhyIsSaidToThoseWhoMayAsk(t *testing.T) {
	f := newFleetOfFiles(t)
	r := f.run(t)
	r.becomes("h.example.", "10.1.2.0/24", "192.0.2.1")
	if a := r.ask("_why.h.example.", "10.1.2.0/24", dns.TypeTXT); a.Rcode != dns.RcodeNameError {
		t.Errorf("everybody may ask: %v", a)
	}
	f.cfg.Fleet.Explain = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	if err := r.Reload(f.cfg); err != nil {
		t.Fatal(err)
	}
	e, err := r.Explain("", "10.2.3.4")
	if err != nil || e.Datacenter != "mad1" || !slices.Equal(e.Addresses, addrs("192.0.2.2")) {
		t.Errorf("%+v %v", e, err)
	}
	a := r.ask("_why.h.example.", "10.2.3.4/32", dns.TypeTXT)
	if len(a.Answer) != 1 || !slices.Equal(a.Answer[0].(*dns.TXT).Txt, e.Sentences) {
		t.Errorf("%v\n%v", a, e.Sentences)
	}
	for _, wrong := range [][2]string{{"x.example", "10.2.3.4"}, {"", "all"}, {"", ""}} {
		if _, err := r.Explain(wrong[0], wrong[1]); err == nil {
			t.Errorf("%q is explained", wrong)
		}
	}
}

// Who proves a name by ACME's dns-01 is led to a zone that takes records, whatever the
// type and the case; without a target there is no such name.
func TestTheProofOfANameIsElsewhere(t *testing.T) {
	f := newFleetOfFiles(t)
	r := f.run(t)
	const name = "_acme-challenge.h.example."
	if a := r.ask(name, "10.1.2.0/24", dns.TypeTXT); a.Rcode != dns.RcodeNameError {
		t.Errorf("nobody has said where it is: %v", a)
	}
	f.cfg.Fleet.Zones = slices.Clone(f.cfg.Fleet.Zones) // the node reads the old one
	f.cfg.Fleet.Zones[0].ACMEChallenge = "h.acme.example.net."
	if err := r.Reload(f.cfg); err != nil {
		t.Fatal(err)
	}
	for _, qtype := range []uint16{dns.TypeTXT, dns.TypeCNAME, dns.TypeA, dns.TypeANY} {
		for _, asked := range []string{name, "_ACME-challenge.H.example."} {
			a := r.ask(asked, "10.1.2.0/24", qtype)
			if !a.Authoritative || a.Rcode != dns.RcodeSuccess || len(a.Answer) != 1 || a.Answer[0].Header().Name != asked {
				t.Errorf("%s %s: %v", asked, dns.TypeToString[qtype], a)
				continue
			}
			if to, ok := a.Answer[0].(*dns.CNAME); !ok || to.Target != "h.acme.example.net." {
				t.Errorf("%s %s: %v", asked, dns.TypeToString[qtype], a)
			}
		}
	}
	if a := r.ask("_acme-challenge.ns-par1.h.example.", "10.1.2.0/24", dns.TypeTXT); a.Rcode != dns.RcodeNameError {
		t.Errorf("name servers have no certificates: %v", a)
	}
}

// A sentence that is longer than a string of a TXT record is said in several, and the
// answer that is longer than a datagram over TCP.
func TestWhyIsSaidWhole(t *testing.T) {
	f := newFleetOfFiles(t)
	f.cfg.Fleet.Explain = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	for i := range 40 {
		name := fmt.Sprintf("datacenter-number-%d", i)
		f.cfg.Fleet.Datacenters = append(f.cfg.Fleet.Datacenters, Datacenter{Name: name, Addresses: addrs("192.0.2.100")})
		f.cfg.Fleet.Zones[0].Names[0].Members = append(f.cfg.Fleet.Zones[0].Names[0].Members, 3+i)
	}
	r := f.run(t)
	r.becomes("h.example.", "10.1.2.0/24", "192.0.2.1")
	e, err := r.Explain("", "10.1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	m := new(dns.Msg)
	m.SetQuestion("_why.h.example.", dns.TypeTXT)
	m.SetEdns0(1232, false)
	m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 32, Address: net.IPv4(10, 1, 2, 3).To4()}}
	a, _, err := (&dns.Client{Net: "tcp"}).Exchange(m, r.Addresses()[0])
	if err != nil || len(a.Answer) != 1 {
		t.Fatalf("%v %v", a, err)
	}
	txt, sentences := strings.Join(a.Answer[0].(*dns.TXT).Txt, ""), strings.Join(e.Sentences, "")
	if len(txt) < 1000 || txt != sentences {
		t.Errorf("%s\nis not\n%s", txt, sentences)
	}
}

// Queries go on while health comes and goes and configurations are read again.
func TestAnswersWhileEverythingChanges(t *testing.T) {
	f := newFleetOfFiles(t)
	r := f.run(t)
	r.becomes("h.example.", "10.1.2.0/24", "192.0.2.1")
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	failed := make(chan error, 8)
	for i := range cap(failed) {
		go func() {
			var err error
			for n := 0; err == nil && ctx.Err() == nil; n++ {
				m := new(dns.Msg)
				m.SetQuestion("h.example.", dns.TypeA)
				a, _, e := (&dns.Client{Timeout: 5 * time.Second}).Exchange(m, r.Addresses()[0])
				if e != nil || len(a.Answer) != 1 {
					err = fmt.Errorf("%d of %d: %v %v", n, i, a, e)
				}
			}
			failed <- err
		}()
	}
	for n := 0; ctx.Err() == nil; n++ {
		f.say(t, "par1", []string{"up", "down"}[n%2])
		if err := r.Reload(f.cfg); err != nil {
			t.Error(err)
		}
		if _, err := r.Override(Override{Datacenter: "mad1", Mode: []Mode{Drain, Up}[n%2], Until: time.Now().Add(time.Second)}); err != nil {
			t.Error(err)
		}
	}
	for range cap(failed) {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
}

// The README lists the metrics that there are.
func TestMetricsAreInTheReadme(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	m := newMetrics(registry)
	m.setUp("par1", true)
	m.probed("par1", time.Millisecond, fail("tls", "x"))
	m.decided("par1", tierNearest, true)
	h := m.hooks()
	h.answered(dns.TypeA, 0, false)
	h.limited(true)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if len(families) != 10 {
		t.Errorf("%d metrics; one is not looked at here", len(families))
	}
	for _, f := range families {
		if !strings.Contains(string(readme), "`"+f.GetName()+"`") {
			t.Errorf("%s is not in the README", f.GetName())
		}
	}
}
