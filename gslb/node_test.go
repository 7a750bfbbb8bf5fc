package gslb

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"example.org/breakwater/internal/trial"
)

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
	r.settled()
	f.say(t, "mad1", "down")
	r.becomes("h.example.", "10.1.2.0/24", "192.0.2.3")
	r.becomes("two.h.example.", "") // nodata is the policy of this one
	r.settled()
	f.say(t, "drp1", "down")
	trial.Until(t, func() error { // the last that was good, and for a short time
		a := r.ask("h.example.", "10.1.2.0/24", dns.TypeA)
		if len(a.Answer) != 1 || a.Answer[0].(*dns.A).A.String() != "192.0.2.3" {
			t.Fatalf("nobody is healthy: %v", a)
		}
		if ttl := a.Answer[0].Header().Ttl; ttl > 5 {
			return fmt.Errorf("nobody is healthy, and the TTL is %d", ttl)
		}
		return nil
	})
	for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA} { // and so is an empty answer
		if a := r.ask("two.h.example.", "", qtype); a.Rcode != dns.RcodeSuccess || len(a.Answer) != 0 || len(a.Ns) != 1 || a.Ns[0].Header().Ttl != 5 {
			t.Errorf("nobody is healthy, panic is nodata: %v", a)
		}
	}
	if a := r.ask("two.h.example.", "", dns.TypeMX); len(a.Ns) != 1 || a.Ns[0].Header().Ttl != 10 {
		t.Errorf("what never was is kept as long as ever: %v", a)
	}
	f.say(t, "par1", "up")
	r.becomes("h.example.", "10.2.2.0/24", "192.0.2.1")
	r.becomes("two.h.example.", "", "192.0.2.1")
}

func TestNodeIsSteered(t *testing.T) {
	f := newFleetOfFiles(t)
	r := f.run(t)
	r.becomes("h.example.", "10.1.2.0/24", "192.0.2.1")
	const longest = 30 * time.Second // TTL
	begun := time.Now()
	done, err := r.Steer(Steering{Override: Override{Datacenter: "par1", Mode: Drain, Reason: "new switches"}, Yes: true})
	if err != nil {
		t.Fatal(err)
	}
	if done.SafeAt.Before(begun.Add(longest)) || done.SafeAt.After(time.Now().Add(longest)) {
		t.Errorf("safe to stop at %v, drained at %v, and the longest TTL is %v", done.SafeAt, begun, longest)
	}
	if got := r.addresses("h.example.", "10.1.2.0/24"); !slices.Equal(got, []string{"192.0.2.2"}) {
		t.Errorf("a drain takes effect at once: %v", got)
	}
	// One name is told apart from all.
	if _, err := r.Steer(Steering{Override: Override{Datacenter: "par1", Name: "two.h.example", Mode: Up}, Yes: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Steer(Steering{Override: Override{Datacenter: "mad1", Name: "two.h.example.", Mode: Down}, Yes: true}); err != nil {
		t.Fatal(err)
	}
	if got := r.addresses("two.h.example.", ""); !slices.Equal(got, []string{"192.0.2.1"}) {
		t.Errorf("%v", got)
	}
	// It survives a restart, and ends when it was said to.
	r.stop()
	r = f.run(t)
	r.becomes("h.example.", "10.1.2.0/24", "192.0.2.2")
	if _, err := r.Steer(Steering{Override: Override{Datacenter: "par1", Name: ""}, Release: true}); err != nil {
		t.Fatal(err)
	}
	r.becomes("h.example.", "10.1.2.0/24", "192.0.2.1")
	until := time.Now().Add(300 * time.Millisecond)
	if _, err := r.Steer(Steering{Override: Override{Datacenter: "par1", Mode: Drain, Until: until}, Yes: true}); err != nil {
		t.Fatal(err)
	}
	if got := r.addresses("h.example.", "10.1.2.0/24"); !slices.Equal(got, []string{"192.0.2.2"}) && time.Now().Before(until) {
		t.Errorf("%v, before it ends", got)
	}
	r.becomes("h.example.", "10.1.2.0/24", "192.0.2.1")
	for _, wrong := range []Override{
		{Datacenter: "fra1", Mode: Drain}, {Datacenter: "par1", Mode: "off"}, {Datacenter: "par1", Mode: Drain, Name: "x.example."},
		{Datacenter: "par1", Mode: Drain, Until: time.Now().Add(-time.Second)}, {Datacenter: "par1", Mode: Drain, Reason: strings.Repeat("x", 300)},
	} {
		if _, err := r.Steer(Steering{Override: wrong, Yes: true}); err == nil {
			t.Errorf("%+v was taken", wrong)
		}
	}
	if _, err := r.Steer(Steering{Override: Override{Datacenter: "par1", Name: "h.example."}, Release: true}); err == nil {
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
	f.cfg.Probe.Timeout, f.cfg.Probe.Interval, f.cfg.Probe.Fall = time.Hour, time.Hour, 10                          // no round is ever in
	r = f.run(t)
	r.becomes("h.example.", "10.1.2.0/24", "192.0.2.1")
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

// Queries go on while health comes and goes and configurations are read again.
func TestAnswersWhileEverythingChanges(t *testing.T) {
	const changes = 100
	f := newFleetOfFiles(t)
	r := f.run(t)
	r.becomes("h.example.", "10.1.2.0/24", "192.0.2.1")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	failed := make(chan error, 8)
	for i := range cap(failed) {
		go func() {
			var err error
			for n := 0; err == nil && (n == 0 || ctx.Err() == nil); n++ {
				m := new(dns.Msg)
				m.SetQuestion("h.example.", dns.TypeA)
				a, _, e := (&dns.Client{Timeout: trial.Patience}).Exchange(m, r.Addresses()[0])
				if e != nil || len(a.Answer) != 1 {
					err = fmt.Errorf("%d of %d: %v %v", n, i, a, e)
				}
			}
			failed <- err
		}()
	}
	for n := range changes {
		f.say(t, "par1", []string{"up", "down"}[n%2])
		if err := r.Reload(f.cfg); err != nil {
			t.Error(err)
		}
		if _, err := r.Steer(Steering{Override: Override{Datacenter: "mad1", Mode: []Mode{Drain, Up}[n%2], Until: time.Now().Add(time.Hour)}, Yes: true}); err != nil {
			t.Error(err)
		}
	}
	cancel()
	for range cap(failed) {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
}

// The checks of all datacenters say down within moments: what was answered is answered on, and
// the status says that it is the node. Where the last datacenter fell last, it got all clients,
// a backup too.
func TestAnIllNodeAnswersAsBefore(t *testing.T) {
	f := newFleetOfFiles(t)
	f.cfg.Probe.Interval, f.cfg.Probe.Timeout = 200*time.Millisecond, 150*time.Millisecond
	r := f.run(t)
	r.becomes("h.example.", "10.1.2.0/24", "192.0.2.1")
	for _, dc := range []string{"par1", "mad1", "drp1"} {
		f.say(t, dc, "down")
	}
	trial.Until(t, func() error {
		report := r.Report()
		if report.Ill == "" || report.Probes["mad1"].Up || !strings.Contains(strings.Join(report.Wrong, "\n"), "this name server is ill: all its probes failed at once at ") {
			return fmt.Errorf("%+v", report)
		}
		return nil
	})
	r.becomes("h.example.", "10.1.2.0/24", "192.0.2.1")
	if got := r.addresses("h.example.", "10.2.2.0/24"); !slices.Equal(got, []string{"192.0.2.2"}) {
		t.Errorf("clients of mad1 moved to %v", got)
	}
	if good := r.Report().LastGood["h.example."]; len(good) != 3 {
		t.Errorf("the last good are %v", good)
	}
	r.stop() // and after a restart
	r = f.run(t)
	r.becomes("h.example.", "10.2.2.0/24", "192.0.2.2")
	f.say(t, "drp1", "up")
	trial.Until(t, func() error {
		if ill := r.Report().Ill; ill != "" {
			return fmt.Errorf("%s", ill)
		}
		return nil
	})
	r.becomes("h.example.", "10.1.2.0/24", "192.0.2.3") // the others are down in earnest
}
