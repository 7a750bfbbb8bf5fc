package gslb

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"

	"example.org/breakwater/internal/trial"
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
		trial.Fresh(t, filepath.Join(f.dir, dc.Name))
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

// say writes what a datacenter's probes find.
func (f *fleetOfFiles) say(t *testing.T, datacenter, text string) {
	t.Helper()
	file := filepath.Join(f.dir, datacenter)
	if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
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
	var answer *dns.Msg
	trial.Until(r.t, func() (err error) {
		answer, _, err = (&dns.Client{Timeout: 5 * time.Second}).Exchange(m, r.Addresses()[0])
		return err
	})
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
	trial.Until(r.t, func() error {
		if got := r.addresses(name, subnet); !slices.Equal(got, want) {
			return fmt.Errorf("%s for %q is %v and does not become %v", name, subnet, got, want)
		}
		return nil
	})
}

// goesDown waits until the probes say so of a datacenter.
func (r *running) goesDown(datacenter string) {
	r.t.Helper()
	trial.Until(r.t, func() error {
		if r.Report().Datacenters[datacenter].Up {
			return fmt.Errorf("%s is up still", datacenter)
		}
		return nil
	})
}

// settled waits until what fell last is no news: what falls next has not fallen together with
// it, and who serves now is the last good.
func (r *running) settled() {
	r.t.Helper()
	trial.Until(r.t, func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.health.mu.Lock()
		defer r.health.mu.Unlock()
		for name, w := range r.health.watched {
			if !w.up && time.Since(w.fell) <= r.fleet.probe.verdict() {
				return fmt.Errorf("%s has just fallen", name)
			}
		}
		if len(r.fewer) > 0 {
			return fmt.Errorf("not good yet: %v", r.fewer)
		}
		return nil
	})
}
