package gslb

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// answer is what the view says to a question of class IN. README.md has the rules in
// this order.
func (v *view) answer(q *query, from netip.Addr) answer {
	c := client{resolver: from.Unmap(), subnet: q.opt.subnet}
	if a, ok := v.ready(q, c); ok {
		return a
	}
	name := presentation(q.name())
	z := v.zoneOf(name)
	if z == nil {
		return answer{rcode: dns.RcodeRefused}
	}
	a := v.ofZone(z, name, q, c)
	if q.opt.do && z.signed != nil {
		z.withProof(&a, q)
	}
	return a
}

// ofZone is what the view says of a name in a zone, but for addresses of the zone's names.
func (v *view) ofZone(z *zoneView, name string, q *query, c client) answer {
	if why, ok := strings.CutPrefix(name, explainLabel); ok && z.names[why] != nil && allowed(v.fleet.Explain, c.resolver) {
		return z.why(v.fleet, z.names[why], q, c)
	}
	if of, ok := strings.CutPrefix(name, acmeLabel); ok && z.ACMEChallenge != "" && z.names[of] != nil {
		// It is the answer to every type; where it leads is another zone's to say (RFC 1034, section 3.6.2).
		return answer{auth: true, answers: []dns.RR{z.challenge(name)}, signatures: z.signed.of(name, dns.TypeCNAME).signatures}
	}
	return z.fixed(q, name)
}

// ofName answers with a datacenter's addresses.
func (z *zoneView) ofName(v *view, n *nameView, q *query, c client) answer {
	own := n.of(q.qtype)
	if own == nil {
		return z.prepare(z.nothing(dns.RcodeSuccess), q, q.name()).answer
	}
	f := v.fleet
	d := own.decide(f, c)
	p := own.slot(&d, q.opt.do).get(func() *prepared {
		a := z.decided(f, own, &d)
		p := z.prepare(a, q, q.name())
		p.count = v.metrics.decision(p.decided.datacenter, p.decided.tier)
		return p
	})
	v.metrics.decided(p.count, d.bySubnet)
	a := p.answer
	a.decided.subnet = d.of(c)
	if len(a.answers) > 0 { // a negative answer has the scope 0 (RFC 7871, section 7.4)
		a.scope = uint8(d.scope)
	}
	return a
}

// decided is what a decision says, for all whose it is.
func (z *zoneView) decided(f *Fleet, own *familyView, d *decision) answer {
	a := answer{auth: true, decided: decided{tier: d.choice.tier}}
	if d.datacenter >= 0 {
		a.decided.datacenter = f.Datacenters[d.datacenter].Name
		for _, rr := range rotated(own.records[d.datacenter], d.client) {
			a.answers = append(a.answers, withTTL(rr, uint32(d.ttl.Seconds())))
		}
		if z.signed != nil {
			a.signatures = own.signatures[d.datacenter]
		}
	}
	if len(a.answers) == 0 {
		of := a.decided
		a = z.nothingFor(dns.RcodeSuccess, d.ttl)
		a.decided = of
	}
	return a
}

// withTTL is the record with that TTL, itself if it has it.
func withTTL(rr dns.RR, ttl uint32) dns.RR {
	if rr.Header().Ttl != ttl {
		rr = dns.Copy(rr)
		rr.Header().Ttl = ttl
	}
	return rr
}

// fixed answers what depends on nobody's health.
func (z *zoneView) fixed(q *query, name string) answer {
	a := answer{auth: true}
	_, host := z.hosts[name]
	own := z.signed.of(name, q.qtype)
	switch apex := name == z.Origin; {
	case apex && q.qtype == dns.TypeSOA:
		a.answers = []dns.RR{z.soa}
	case apex && q.qtype == dns.TypeNS:
		a.answers, a.extra = z.ns, z.glue
	case host:
		a.answers = z.ofHost(name, q.qtype)
	case !apex && z.names[name] == nil && !z.inner[name]:
		return z.nothing(dns.RcodeNameError)
	}
	if len(a.answers) == 0 {
		a.answers = own.records // what is there because the zone is signed
	}
	if len(a.answers) == 0 {
		return z.nothing(dns.RcodeSuccess)
	}
	a.signatures = own.signatures
	return a
}

// ofHost are the addresses of one family of a name server.
func (z *zoneView) ofHost(host string, qtype uint16) (all []dns.RR) {
	for _, ip := range z.hosts[host] {
		if rr := address(host, ip, seconds(z.GlueTTL)); rr.Header().Rrtype == qtype {
			all = append(all, rr)
		}
	}
	return all
}

// challenge is where an ACME server is led that wants a name's proof.
func (z *zoneView) challenge(name string) dns.RR {
	return &dns.CNAME{Hdr: header(name, dns.TypeCNAME, fixedTTL), Target: z.ACMEChallenge}
}

// nothing is a negative answer that holds as long as the zone's do.
func (z *zoneView) nothing(rcode int) answer { return z.nothingFor(rcode, fixedTTL*time.Second) }

// nothingFor is a negative answer: the SOA with the time that it holds, which is no longer
// than the SOA and its MINIMUM say (RFC 2308, section 3).
func (z *zoneView) nothingFor(rcode int, ttl time.Duration) answer {
	soa := *z.soa
	soa.Hdr.Ttl = min(soa.Hdr.Ttl, soa.Minttl, uint32(ttl.Seconds()))
	return answer{rcode: rcode, auth: true, ns: []dns.RR{&soa}}
}

// why answers TXT questions for _why.<name>: sentences of the decision.
func (z *zoneView) why(f *Fleet, n *nameView, q *query, c client) answer {
	if q.qtype != dns.TypeTXT {
		return z.nothing(dns.RcodeSuccess)
	}
	txt := &dns.TXT{Hdr: header(explainLabel+n.Name.Name, dns.TypeTXT, 0)}
	e := n.explain(f, c)
	for _, line := range e.Sentences {
		txt.Txt = append(txt.Txt, characterStrings(line)...)
	}
	a := answer{auth: true, answers: []dns.RR{txt}, scope: uint8(e.Scope)}
	if q.opt.do && z.signed != nil {
		a.signatures = z.signed.now(a.answers)
	}
	return a
}

// characterStrings cuts a sentence that one string cannot hold, behind a space where
// there is one: joined, the strings are the sentence.
func characterStrings(line string) (all []string) {
	for len(line) > maxTXT {
		n := strings.LastIndexByte(line[:maxTXT], ' ') + 1
		if n == 0 {
			n = maxTXT
		}
		all, line = append(all, line[:n]), line[n:]
	}
	return append(all, line)
}

func allowed(networks []netip.Prefix, from netip.Addr) bool {
	return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(from.Unmap()) })
}
