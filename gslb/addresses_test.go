package gslb

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"example.org/breakwater/internal/trial"
)

// door is an address that takes connections, or refuses them.
type door struct {
	t        *testing.T
	at       string
	listener net.Listener
}

func (d *door) open() {
	d.t.Helper()
	l, err := net.Listen("tcp", d.at)
	if err != nil {
		d.t.Fatal(err)
	}
	d.at, d.listener = l.Addr().String(), l
	d.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
}

func (d *door) close() { d.listener.Close() }

// Of a datacenter's addresses those that answer nobody are left out, and one without any is
// down, whatever its own probe says. The others rotate: each client has its first one, which is
// the same at all name servers.
func TestTheHealthOfAddresses(t *testing.T) {
	f := newFleetOfFiles(t)
	own := &door{t: t, at: "127.0.0.1:0"}
	own.open()
	_, port, _ := net.SplitHostPort(own.at)
	doors := []*door{{t: t, at: "127.77.4.1:" + port}, {t: t, at: "127.77.4.2:" + port}, {t: t, at: "127.77.4.3:" + port}}
	addresses := addrs("127.77.4.1", "127.77.4.2", "127.77.4.3")
	f.cfg.Fleet.Datacenters[0].Addresses = addresses
	f.cfg.Targets[0] = Target{Datacenter: "par1", Kind: ProbeTCP, URL: "tcp://" + own.at, Addresses: addresses}
	f.cfg.Probe.Timeout, f.cfg.Probe.Interval = 100*time.Millisecond, 150*time.Millisecond
	r := f.run(t)
	becomes := func(says string, want ...string) {
		t.Helper()
		trial.Until(t, func() error {
			got := r.addresses("h.example.", "10.1.2.0/24")
			if slices.Sort(got); !slices.Equal(got, want) {
				return fmt.Errorf("%s: %v, want %v", says, got, want)
			}
			return nil
		})
	}
	becomes("none answers", "192.0.2.2")
	if d := r.Report().Datacenters["par1"]; d.Up || !strings.Contains(d.Why, "none of its addresses answers; 127.77.4.1: it refuses connections") {
		t.Errorf("%+v", d)
	}
	doors[0].open()
	becomes("one answers", "127.77.4.1")
	doors[1].open()
	doors[2].open()
	becomes("all answer", "127.77.4.1", "127.77.4.2", "127.77.4.3")
	first := map[string]int{}
	for i := range 60 {
		site := fmt.Sprintf("10.1.%d", i)
		got := r.addresses("h.example.", site+".0/24")
		first[got[0]]++
		if again := r.addresses("h.example.", site+".77/32"); !slices.Equal(again, got) {
			t.Errorf("%s: %v, and %v to one of it", site, got, again)
		}
		slices.Sort(got)
		if len(slices.Compact(got)) != 3 {
			t.Errorf("%s: %v", site, got)
		}
	}
	for _, a := range addresses {
		if n := first[a.String()]; n < 10 {
			t.Errorf("%s is the first of %d of 60 sites", a, n)
		}
	}
	doors[0].close()
	becomes("one is dead", "127.77.4.2", "127.77.4.3")
	e, err := r.Explain("", "10.1.2.3")
	if err != nil || !slices.Equal(e.Addresses, addresses[1:]) || !slices.Contains(e.Sentences, "Its address 127.77.4.1 does not answer: it refuses connections.") {
		t.Errorf("%+v %v", e, err)
	}
	if wrong := r.Report().Wrong; !slices.Equal(wrong, []string{"127.77.4.1 of par1 is left out: it refuses connections"}) {
		t.Errorf("%q", wrong)
	}
	r.stop() // that outlasts a restart
	r = f.run(t)
	if becomes("after a restart", "127.77.4.2", "127.77.4.3"); len(r.Report().Datacenters["par1"].Dead) != 1 {
		t.Errorf("%+v", r.Report())
	}
	r.steer(Up, "par1", nil)
	becomes("an operator knows better", "127.77.4.1", "127.77.4.2", "127.77.4.3")
	r.steer(Up, "par1", release)
	own.close()
	becomes("its own probe fails", "192.0.2.2")
}

// A family whose addresses are all dead is one that the datacenter lacks for now, and the other
// goes on.
func TestTheHealthOfAFamily(t *testing.T) {
	f := newFleetOfFiles(t)
	f.cfg.Fleet.Datacenters[1].Addresses = addrs("192.0.2.2", "2001:db8::2")
	own := &door{t: t, at: "127.0.0.1:0"}
	own.open()
	_, port, _ := net.SplitHostPort(own.at)
	four := &door{t: t, at: "127.77.5.1:" + port}
	four.open()
	addresses := addrs("127.77.5.1", "::1")
	f.cfg.Fleet.Datacenters[0].Addresses = addresses
	f.cfg.Targets[0] = Target{Datacenter: "par1", Kind: ProbeTCP, URL: "tcp://" + own.at, Addresses: addresses}
	f.cfg.Probe.Timeout, f.cfg.Probe.Interval = 100*time.Millisecond, 150*time.Millisecond
	if !reachable(netip.IPv6Loopback()) {
		t.Skip("this machine has no IPv6")
	}
	r := f.run(t)
	trial.Until(t, func() error {
		if a := r.ask("h.example.", "10.1.2.0/24", dns.TypeAAAA); leadsTo(a) != "2001:db8::2" {
			return fmt.Errorf("%v", a)
		}
		return nil
	})
	if got := r.addresses("h.example.", "10.1.2.0/24"); !slices.Equal(got, []string{"127.77.5.1"}) {
		t.Errorf("%v", got)
	}
	e, err := r.Explain("", "10.1.2.3")
	if err != nil || !slices.Contains(e.Sentences, "Who asks for IPv6 gets mad1, tier farther, and not par1: none of its IPv6 addresses answers.") {
		t.Errorf("%+v %v", e, err)
	}
}

// That the addresses of a family fall says nothing of any of them until another one of the
// family answers: this node may have lost the family, and they fall one by one.
func TestAFamilyThatThisNodeHasLost(t *testing.T) {
	four, six := addrs("192.0.2.1", "192.0.2.2"), addrs("2001:db8::1", "2001:db8::2")
	names := []string{"par1", "mad1"}
	h := newHistory(nil)
	var targets []Target
	for i, name := range names {
		targets = append(targets, Target{Datacenter: name, Kind: ProbeTCP, Addresses: []netip.Addr{four[i], six[i]}})
	}
	h.health = newHealth(h.cfg, targets, nil, silent, h.metrics, func() {})
	round := func(after time.Duration, of int, fours, sixes bool) (soon bool) {
		h.at = h.at.Add(after)
		f := found{addresses: map[netip.Addr]error{four[of]: nil, six[of]: nil}}
		if !fours {
			f.addresses[four[of]] = errors.New("no answer")
		}
		if !sixes {
			f.addresses[six[of]] = errors.New("no answer")
		}
		return h.observe(names[of], f, h.at)
	}
	dead := func(says string, want ...netip.Addr) {
		t.Helper()
		var got []netip.Addr
		for _, name := range names {
			got = slices.AppendSeq(got, maps.Keys(h.probed()[name].Dead))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v are dead, want %v", says, got, want)
		}
	}
	round(0, 0, true, true)
	round(0, 1, true, true)
	round(time.Second, 0, true, false)
	if soon := round(200*time.Millisecond, 0, true, false); !soon {
		t.Error("who waits for what others say is asked again soon")
	}
	dead("one fell, and nothing is known of the other since")
	round(time.Second, 1, true, false)
	round(200*time.Millisecond, 1, true, false)
	dead("both fell")
	if soon := round(time.Hour, 0, true, false); soon {
		t.Error("it is asked at a hurry for ever")
	}
	dead("an hour later")
	round(time.Second, 1, true, true)
	round(0, 0, true, false)
	dead("the other one answers", six[0])
	round(time.Second, 0, false, false)
	round(200*time.Millisecond, 0, false, false)
	round(time.Second, 1, true, true)
	round(0, 0, false, false)
	if got := len(h.probed()["par1"].Dead); got != 2 {
		t.Errorf("of par1 %d of 2 are dead", got)
	}
}

// Where something stands before an edge or a Harbor, an address is asked there too, by the one
// name; what was named to be probed is asked at its own port, or else only for a connection.
func TestTheWaysToAnAddress(t *testing.T) {
	for _, c := range []struct {
		kind ProbeKind
		url  string
		want string
	}{
		{ProbeEdge, "https://edge.par1.example.net", "edge https://edge.par1.example.net 192.0.2.1:443"},
		{ProbeEdge, "https://edge.par1.example.net:8443", "edge https://edge.par1.example.net:8443 192.0.2.1:8443, edge https://harbor.example.org 192.0.2.1:443"},
		{ProbeEdge, "http://edge.par1.example.net", "edge http://edge.par1.example.net 192.0.2.1:80, edge https://harbor.example.org 192.0.2.1:443"},
		{ProbeHarbor, "https://harbor.par1.example.net", "harbor https://harbor.par1.example.net 192.0.2.1:443, harbor https://harbor.example.org 192.0.2.1:443"},
		{ProbeHTTP, "https://edge.par1.example.net/well", "http https://edge.par1.example.net/well 192.0.2.1:443"},
		{ProbeHTTP, "http://edge.par1.example.net:8080/well", "http http://edge.par1.example.net:8080/well 192.0.2.1:8080, tcp http://edge.par1.example.net:8080/well 192.0.2.1:443"},
		{ProbeTCP, "tcp://edge.par1.example.net:81", "tcp tcp://edge.par1.example.net:81 192.0.2.1:81, tcp tcp://edge.par1.example.net:81 192.0.2.1:443"},
	} {
		var got []string
		for _, way := range (Target{Kind: c.kind, URL: c.url, ServerName: publicName}).waysTo(netip.MustParseAddr("192.0.2.1"), ProbeConfig{}) {
			got = append(got, fmt.Sprintf("%s %s %s", way.Kind, way.URL, way.at))
		}
		if text := strings.Join(got, ", "); text != c.want {
			t.Errorf("%s: %s, want %s", c.url, text, c.want)
		}
	}
}

// One address, and a file, are what the target says.
func TestWhoseAddressesAreProbed(t *testing.T) {
	for kind, want := range map[ProbeKind]int{ProbeTCP: 2, ProbeFile: 0} {
		if p := newProber(Target{Kind: kind, URL: "tcp://192.0.2.9:81", Addresses: addrs("192.0.2.1", "192.0.2.2")}, ProbeConfig{}); len(p.ways) != want {
			t.Errorf("%s: %d", kind, len(p.ways))
		}
		if p := newProber(Target{Kind: kind, URL: "tcp://192.0.2.9:81", Addresses: addrs("192.0.2.1")}, ProbeConfig{}); p.ways != nil {
			t.Errorf("%s: one address is probed: %v", kind, p.ways)
		}
	}
}

// An edge is asked at each of its addresses what it is asked at its own, over TLS and by the
// fleet's name: what answers there with another certificate is not it.
func TestTheAddressesOfAnEdge(t *testing.T) {
	ours, theirs := newCompany(t), newCompany(t)
	url := serveTLS(t, ours.certificate(t, publicName, time.Hour), says(200, serving))
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(url, "https://"))
	other := &door{t: t, at: "127.77.6.1:" + port}
	target := Target{Kind: ProbeEdge, URL: url, ServerName: publicName, Roots: ours.roots, Addresses: addrs("127.0.0.1", "127.77.6.1")}
	look := func(target Target) found {
		return newProber(target, ProbeConfig{Interval: time.Hour, Timeout: trial.Patience}).look(t.Context())
	}
	f := look(target)
	if err := f.addresses[target.Addresses[1]]; f.err != nil || f.addresses[target.Addresses[0]] != nil || err == nil || err.Error() != "it refuses connections" {
		t.Errorf("nobody is at one: %+v", f)
	}
	other.open() // something that is no edge
	if f = look(target); f.err != nil || f.addresses[target.Addresses[1]] == nil {
		t.Errorf("something else is at one: %+v", f)
	}
	target.Roots = theirs.roots
	if f = look(target); f.err == nil || f.addresses[target.Addresses[0]] == nil {
		t.Errorf("another's certificate: %+v", f)
	}
}
