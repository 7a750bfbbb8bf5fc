package gslb

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"

	"example.org/breakwater/internal/trial"
)

// serialWith is the serial of a node that has this topology.
func serialWith(t *testing.T, topology string) uint32 {
	t.Helper()
	f := newFleetOfFiles(t)
	if topology != "" {
		f.cfg.Fleet.Topology = filepath.Join(f.dir, "topology")
		if err := os.WriteFile(f.cfg.Fleet.Topology, []byte(topology), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n, err := New(t.Context(), f.cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	return n.fleet.serial(&n.fleet.Zones[0])
}

// Nodes whose topologies differ have other serials, so that check-delegation sees it; those
// that say the same have the same, whatever the files look like.
func TestTheSerialCoversTheTopology(t *testing.T) {
	one := serialWith(t, "198.51.100.0/24 par1\n203.0.113.0/24 mad1\n")
	if same := serialWith(t, "# again\n203.0.113.0/24 mad1\n198.51.100.0/24  par1\n"); same != one {
		t.Errorf("%d and %d, and the same is said", one, same)
	}
	for _, other := range []string{"", "198.51.100.0/24 mad1\n203.0.113.0/24 mad1\n", "198.51.100.0/25 par1\n203.0.113.0/24 mad1\n", "198.51.100.0/24 par1 drp1\n203.0.113.0/24 mad1\n"} {
		if serial := serialWith(t, other); serial == one {
			t.Errorf("%d with %q too", serial, other)
		}
	}
}

// What was counted and measured of a datacenter goes with it: an alert on it would not end.
func TestTheMetricsOfADatacenterThatIsGoneGo(t *testing.T) {
	f := newFleetOfFiles(t)
	registry := prometheus.NewRegistry()
	f.cfg.Metrics = registry
	f.say(t, "mad1", "down")
	r := f.run(t)
	r.becomes("h.example.", "10.2.2.0/24", "192.0.2.1")
	of := func(datacenter string) (names []string) {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, family := range families {
			for _, m := range family.GetMetric() {
				for _, l := range m.GetLabel() {
					if l.GetName() == "datacenter" && l.GetValue() == datacenter && !slices.Contains(names, family.GetName()) {
						names = append(names, family.GetName())
					}
				}
			}
		}
		return names
	}
	if len(of("mad1")) < 2 {
		t.Fatalf("of mad1 there is %q", of("mad1"))
	}
	f.cfg.Fleet.Datacenters = slices.Delete(slices.Clone(f.cfg.Fleet.Datacenters), 1, 2)
	f.cfg.Targets = slices.Delete(slices.Clone(f.cfg.Targets), 1, 2)
	f.cfg.Fleet.Zones = []Zone{{Origin: "h.example.", Mbox: "sre.h.example.", Names: []Name{{Name: "h.example.", Method: Nearest, TTL: time.Second, Members: []int{0, 1}}}}}
	if err := r.Reload(f.cfg); err != nil {
		t.Fatal(err)
	}
	trial.Until(t, func() error {
		if left := of("mad1"); len(left) > 0 {
			return fmt.Errorf("of mad1, which is gone, there is %q", left)
		}
		return nil
	})
	if len(of("par1")) < 3 {
		t.Errorf("of par1 there is %q", of("par1"))
	}
}

// A drain that is not kept over restarts says so to who asks for it, and the report does.
func TestADrainThatIsNotKeptSaysSo(t *testing.T) {
	f := steeredFleet(t, PanicLastGood)
	taken := filepath.Join(f.dir, "taken")
	if err := os.WriteFile(taken, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f.cfg.State = filepath.Join(taken, "state.json")
	r := f.run(t)
	r.becomes("h.example.", "10.1.2.0/24", "192.0.2.1")
	wrong := func() string { return strings.Join(r.Report().Wrong, "; ") }
	trial.Until(t, func() error { // it was written for the first time
		if !strings.Contains(wrong(), "the state cannot be written") {
			return errors.New(wrong())
		}
		return nil
	})
	if dry := r.steer(Drain, "par1", func(x *Steering) { x.Dry = true }); len(dry.Notes) != 1 || !strings.Contains(dry.Notes[0], "it is not kept") {
		t.Errorf("%+v", dry)
	}
	done := r.steer(Drain, "par1", nil)
	if !done.Done || len(done.Notes) != 1 || !strings.Contains(done.Notes[0], "it is not kept: par1 forgets it at its next restart") {
		t.Errorf("%+v", done)
	}
	if err := os.Remove(taken); err != nil {
		t.Fatal(err)
	}
	if done = r.steer(Drain, "par1", nil); len(done.Notes) > 0 || wrong() != "" {
		t.Errorf("it can be written again: %q, %q", done.Notes, wrong())
	}
}

// Why a datacenter is down is what its last probe said, not the one that took it down.
func TestTheReasonIsTheLatest(t *testing.T) {
	f := newFleetOfFiles(t)
	r := f.run(t)
	for _, why := range []string{"the disk is full", "the power is off"} {
		f.say(t, "mad1", "down "+why)
		trial.Until(t, func() error {
			if d := r.Report().Datacenters["mad1"]; d.Up || !strings.Contains(d.Why, why) {
				return fmt.Errorf("%+v, and by now %s", d, why)
			}
			return nil
		})
	}
}

// How long SOA, NS and glue are kept is for the fleet file to say, and the SOA's bounds how
// long it is that there is nothing.
func TestTheTTLsOfAZone(t *testing.T) {
	f := newFleetOfFiles(t)
	r := f.run(t)
	r.becomes("h.example.", "10.1.2.0/24", "192.0.2.1")
	ttls := func() (all []uint32) {
		soa, ns := r.ask("h.example.", "", dns.TypeSOA), r.ask("h.example.", "", dns.TypeNS)
		for _, records := range [][]dns.RR{soa.Answer, ns.Answer[:1], ns.Extra[1:2], r.ask("ns-par1.h.example.", "", dns.TypeA).Answer, r.ask("no.h.example.", "", dns.TypeA).Ns} {
			all = append(all, records[0].Header().Ttl)
		}
		return all
	}
	if got, want := ttls(), []uint32{3600, 3600, 3600, 3600, 10}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	z := f.cfg.Fleet.Zones[0]
	z.SOATTL, z.NSTTL, z.GlueTTL = 5*time.Second, 2*time.Hour, 3*time.Hour
	f.cfg.Fleet.Zones = []Zone{z}
	if err := r.Reload(f.cfg); err != nil {
		t.Fatal(err)
	}
	if got, want := ttls(), []uint32{5, 7200, 10800, 10800, 5}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
