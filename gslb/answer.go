package gslb

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// answer is what a question gets.
type answer struct {
	rcode              int
	authoritative      bool
	answers, ns, extra []dns.RR
	scope              uint8 // of the client subnet, where the query has one
}

// answer is what the view says to a question of class IN. README.md has the rules in
// this order.
func (v *view) answer(q *query, from netip.Addr) answer {
	name := presentation(q.name())
	z := v.zoneOf(name)
	if z == nil {
		return answer{rcode: dns.RcodeRefused}
	}
	c := client{resolver: from.Unmap(), subnet: q.opt.subnet}
	if n := z.names[name]; n != nil {
		if a, ok := z.ofName(v.fleet, n, q, c); ok {
			return a
		}
	}
	if why, ok := strings.CutPrefix(name, explainLabel); ok && z.names[why] != nil && allowed(v.fleet.Explain, from) {
		return z.why(v.fleet, z.names[why], q, c)
	}
	return z.fixed(q, name)
}

// ofName answers with a datacenter's addresses; ok is false for the types that do
// not depend on who asks.
func (z *zoneView) ofName(f *Fleet, n *nameView, q *query, c client) (a answer, ok bool) {
	if q.qtype != dns.TypeA && q.qtype != dns.TypeAAAA && q.qtype != dns.TypeANY {
		return a, false
	}
	d := n.decide(f, c)
	a = answer{authoritative: true, scope: uint8(d.scope)}
	if d.datacenter >= 0 {
		asked := q.owner()
		for _, ip := range f.Datacenters[d.datacenter].Addresses {
			rr := address(asked, ip, uint32(d.ttl.Seconds()))
			if rr.Header().Rrtype == q.qtype || q.qtype == dns.TypeANY && (len(a.answers) == 0 || rr.Header().Rrtype == a.answers[0].Header().Rrtype) {
				a.answers = append(a.answers, rr)
			}
		}
	}
	if len(a.answers) == 0 { // a negative answer, whose scope is 0 (RFC 7871, section 7.4)
		return z.nothing(dns.RcodeSuccess), true
	}
	return a, true
}

// fixed answers what depends on nobody's health.
func (z *zoneView) fixed(q *query, name string) answer {
	asked := q.owner()
	a := answer{authoritative: true}
	hosts, host := z.hosts[name]
	switch apex := name == z.Origin; {
	case apex && q.qtype == dns.TypeSOA, apex && q.qtype == dns.TypeANY:
		a.answers = []dns.RR{named(z.soa, asked)}
	case apex && q.qtype == dns.TypeNS:
		for _, rr := range z.ns {
			a.answers = append(a.answers, named(rr, asked))
		}
		a.extra = z.glue
	case host:
		for _, ip := range hosts {
			rr := address(asked, ip, fixedTTL)
			if rr.Header().Rrtype == q.qtype || q.qtype == dns.TypeANY && len(a.answers) == 0 {
				a.answers = append(a.answers, rr)
			}
		}
	case !apex && z.names[name] == nil && !z.inner[name]:
		return z.nothing(dns.RcodeNameError)
	}
	if len(a.answers) == 0 {
		return z.nothing(dns.RcodeSuccess)
	}
	return a
}

// nothing is a negative answer: the SOA with the time that it holds (RFC 2308, section 3).
func (z *zoneView) nothing(rcode int) answer {
	soa := *z.soa
	soa.Hdr.Ttl = min(soa.Hdr.Ttl, soa.Minttl)
	return answer{rcode: rcode, authoritative: true, ns: []dns.RR{&soa}}
}

// named is the record with its owner as it was asked for (draft-vixie-dnsext-dns0x20).
func named(rr dns.RR, asked string) dns.RR {
	rr = dns.Copy(rr)
	rr.Header().Name = asked
	return rr
}

// why answers TXT questions for _why.<name>: sentences of the decision.
func (z *zoneView) why(f *Fleet, n *nameView, q *query, c client) answer {
	if q.qtype != dns.TypeTXT {
		return z.nothing(dns.RcodeSuccess)
	}
	d := n.decide(f, c)
	txt := &dns.TXT{Hdr: header(q.owner(), dns.TypeTXT, 0)}
	for _, line := range n.explain(f, c, d) {
		txt.Txt = append(txt.Txt, line[:min(len(line), maxTXT)])
	}
	return answer{authoritative: true, answers: []dns.RR{txt}, scope: uint8(d.scope)}
}

func allowed(networks []netip.Prefix, from netip.Addr) bool {
	return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(from.Unmap()) })
}
