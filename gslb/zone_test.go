package gslb

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// zoneFile is the zone that every wire test is answered from; the peers serve
// the same file.
const zoneFile, zoneOrigin = "testdata/harbor.example.org.zone", "harbor.example.org."

// fixedZone answers from a zone file, whoever asks; to a client subnet it says
// the scopes 24 and 56.
type fixedZone struct {
	soa   *dns.SOA
	names map[string]map[uint16][]dns.RR // every name that exists, empty non-terminals too
}

func loadZone(t testing.TB) *fixedZone {
	t.Helper()
	text, err := os.ReadFile(zoneFile)
	if err != nil {
		t.Fatal(err)
	}
	z := &fixedZone{names: map[string]map[uint16][]dns.RR{}}
	parser := dns.NewZoneParser(strings.NewReader(string(text)), zoneOrigin, zoneFile)
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		owner := rr.Header().Name
		for name := owner; dns.IsSubDomain(zoneOrigin, name); name = parentOf(name) {
			if z.names[name] == nil {
				z.names[name] = map[uint16][]dns.RR{}
			}
		}
		z.names[owner][rr.Header().Rrtype] = append(z.names[owner][rr.Header().Rrtype], rr)
		if soa, ok := rr.(*dns.SOA); ok {
			z.soa = soa
		}
	}
	if err := parser.Err(); err != nil {
		t.Fatal(err)
	}
	return z
}

func parentOf(name string) string {
	_, parent, _ := strings.Cut(name, ".")
	return parent
}

func (z *fixedZone) answer(q *query, _ netip.Addr) answer {
	name := presentation(q.name())
	if !dns.IsSubDomain(zoneOrigin, name) {
		return answer{rcode: dns.RcodeRefused}
	}
	a := answer{auth: true}
	sets, ok := z.names[name]
	a.answers = sets[q.qtype]
	switch {
	case !ok:
		a.rcode = dns.RcodeNameError
		fallthrough
	case len(a.answers) == 0:
		soa := *z.soa
		soa.Hdr.Ttl = min(soa.Hdr.Ttl, soa.Minttl)
		a.ns = []dns.RR{&soa}
	case q.qtype == dns.TypeNS:
		for _, rr := range a.answers {
			for _, glue := range []uint16{dns.TypeA, dns.TypeAAAA} {
				a.extra = append(a.extra, z.names[rr.(*dns.NS).Ns][glue]...)
			}
		}
	case q.qtype == dns.TypeA || q.qtype == dns.TypeAAAA:
		if a.scope = 56; q.opt.subnet.Addr().Is4() {
			a.scope = 24
		}
	}
	return a
}
