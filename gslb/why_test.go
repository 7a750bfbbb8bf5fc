package gslb

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

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
	for i, c := range e.Candidates {
		if c.Chosen != (i == 0) || c.Chosen && c.Datacenter != e.Datacenter || !c.Chosen && !slices.Contains(e.Sentences, "Not "+c.Datacenter+": "+c.Why+".") {
			t.Errorf("candidate %d is %+v: %q", i, c, e.Sentences)
		}
	}
	if len(e.Candidates) != len(f.cfg.Fleet.Datacenters) {
		t.Errorf("%d candidates of %d datacenters", len(e.Candidates), len(f.cfg.Fleet.Datacenters))
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
