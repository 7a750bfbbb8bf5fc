package gslb

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// leadsTo is what the first record of the answer leads to; "": it is empty.
func leadsTo(a *dns.Msg) string {
	if len(a.Answer) == 0 {
		return ""
	}
	switch rr := a.Answer[0].(type) {
	case *dns.A:
		return rr.A.String()
	case *dns.AAAA:
		return rr.AAAA.String()
	}
	return a.Answer[0].String()
}

// Whether there is a record does not depend on where a client is: one whose own datacenter has
// no address of the family gets the nearest that has. An empty answer counts for all clients
// of a resolver, so one to a client of mad1 took par1's IPv6 from all.
func TestAFamilyThatOnlySomeHave(t *testing.T) {
	f := newFleetOfFiles(t)
	dcs := f.cfg.Fleet.Datacenters // par1 has both, mad1 IPv4, drp1 as below
	dcs[1].Networks = append(dcs[1].Networks, netip.MustParsePrefix("2001:db8:200::/48"))
	dcs[2].Addresses = addrs("192.0.2.3", "2001:db8::3")
	r := f.run(t)
	r.becomes("h.example.", "10.1.2.0/24", "192.0.2.1")
	want := func(says, subnet string, qtype uint16, want string) {
		t.Helper()
		if a := r.ask("h.example.", subnet, qtype); leadsTo(a) != want || a.Rcode != dns.RcodeSuccess {
			t.Errorf("%s: %v, want %q", says, a, want)
		}
	}
	want("at home in mad1", "2001:db8:200::/56", dns.TypeA, "192.0.2.2")
	want("at home in mad1, asking for IPv6", "2001:db8:200::/56", dns.TypeAAAA, "2001:db8::1")
	want("at home in mad1 by IPv4, asking for IPv6", "10.2.2.0/24", dns.TypeAAAA, "2001:db8::1")
	want("at home in par1", "10.1.2.0/24", dns.TypeAAAA, "2001:db8::1")
	e, err := r.Explain("", "10.2.2.2")
	if err != nil || e.Datacenter != "mad1" || !slices.Equal(e.Addresses, addrs("192.0.2.2")) ||
		!slices.Contains(e.Sentences, "Who asks for IPv6 gets par1, tier nearest, and not mad1: it has no IPv6 address.") {
		t.Errorf("%+v %v", e, err)
	}
	if got := r.Report().Answers[0]; got.Sentence != "h.example: IPv4: par1 and mad1, each client its nearest, by weight where several are as near; IPv6: par1, all clients" || got.Shares[1].Networks != 2 {
		t.Errorf("%+v", got)
	}
	// The backup waits for the primaries of its family, and for no others.
	f.say(t, "par1", "down")
	r.becomes("h.example.", "10.1.2.0/24", "192.0.2.2")
	want("no primary has IPv6", "10.2.2.0/24", dns.TypeAAAA, "2001:db8::3")
	if a := r.ask("h.example.", "10.2.2.0/24", dns.TypeAAAA); a.Answer[0].Header().Ttl != 5 {
		t.Errorf("a backup: %v", a)
	}
	// Nobody who has one serves: that is what panic is for.
	f.say(t, "drp1", "down")
	r.goesDown("drp1")
	if a := r.ask("h.example.", "10.2.2.0/24", dns.TypeAAAA); len(a.Answer) != 1 || a.Answer[0].Header().Ttl != 5 {
		t.Errorf("nobody with IPv6 is healthy: %v", a)
	}
	if wrong := strings.Join(r.Report().Wrong, "\n"); !strings.Contains(wrong, "IPv6: PANIC: no datacenter with an IPv6 address is healthy") {
		t.Error(wrong)
	}
	// A family that none has is none of the name's, for as long as ever.
	if a := r.ask("h.example.", "", dns.TypeTXT); len(a.Answer) != 0 || a.Ns[0].Header().Ttl != 10 {
		t.Errorf("%v", a)
	}
}
