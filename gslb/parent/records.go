// Package parent writes what the parent zone is to say of the fleet's zones: into a
// parent that takes updates (RFC 2136), or in the form that its hoster takes.
package parent

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Zone is what the parent is to say of one delegated zone.
type Zone struct {
	Origin  string                  // as harbor.example.org
	Servers map[string][]netip.Addr // the name servers: host name as ns-par1.harbor.example.org, addresses
	// DS are the digests of the zone's keys, owned by the zone; empty: it is signed no longer,
	// and the parent is to have none; nil: it is not known, and what the parent has stays.
	DS  []dns.RR
	TTL time.Duration // of all of them, whole seconds
}

// set is one RRset.
type set struct {
	name    string // canonical
	rrtype  uint16
	ttl     uint32
	records []dns.RR // sorted
}

// sets are what the parent is to say: addresses first, so that nobody is sent to a server
// that is not to be found.
func (z Zone) sets() []set {
	var all []dns.RR
	origin := dns.CanonicalName(z.Origin)
	head := func(name string, rrtype uint16) dns.RR_Header {
		return dns.RR_Header{Name: name, Rrtype: rrtype, Class: dns.ClassINET, Ttl: uint32(z.TTL.Seconds())}
	}
	for host, addresses := range z.Servers {
		host = dns.CanonicalName(host)
		all = append(all, &dns.NS{Hdr: head(origin, dns.TypeNS), Ns: host})
		for _, a := range addresses {
			if a = a.Unmap(); a.Is4() {
				all = append(all, &dns.A{Hdr: head(host, dns.TypeA), A: a.AsSlice()})
			} else {
				all = append(all, &dns.AAAA{Hdr: head(host, dns.TypeAAAA), AAAA: a.AsSlice()})
			}
		}
	}
	for _, ds := range z.DS {
		ds = dns.Copy(ds)
		*ds.Header() = head(origin, dns.TypeDS)
		all = append(all, ds)
	}
	return setsOf(all)
}

// setsOf puts records together by name and type, addresses first.
func setsOf(all []dns.RR) (sets []set) {
	for _, rr := range all {
		rr = dns.Copy(rr)
		h := rr.Header()
		h.Name = dns.CanonicalName(h.Name)
		if ns, ok := rr.(*dns.NS); ok {
			ns.Ns = dns.CanonicalName(ns.Ns)
		}
		i := slices.IndexFunc(sets, func(s set) bool { return s.name == h.Name && s.rrtype == h.Rrtype })
		if i < 0 {
			i, sets = len(sets), append(sets, set{name: h.Name, rrtype: h.Rrtype, ttl: h.Ttl})
		}
		if !slices.Contains(sets[i].data(), data(rr)) {
			sets[i].records = append(sets[i].records, rr)
		}
	}
	for _, s := range sets {
		slices.SortFunc(s.records, func(a, b dns.RR) int { return cmp.Compare(data(a), data(b)) })
	}
	slices.SortFunc(sets, func(a, b set) int {
		return cmp.Or(cmp.Compare(a.rank(), b.rank()), cmp.Compare(a.name, b.name), cmp.Compare(a.rrtype, b.rrtype))
	})
	return sets
}

func (s set) rank() int {
	if s.rrtype == dns.TypeNS || s.rrtype == dns.TypeDS {
		return 1
	}
	return 0
}

// data is a record without its head, in presentation form.
func data(rr dns.RR) string { return strings.TrimPrefix(rr.String(), rr.Header().String()) }

func (s set) data() (all []string) {
	for _, rr := range s.records {
		all = append(all, data(rr))
	}
	return all
}

// lines are the set's records as zone files have them.
func (s set) lines() (all []string) {
	for _, rr := range s.records {
		all = append(all, rr.String())
	}
	return all
}

func (s set) equal(o set) bool { return s.same(o) && slices.Equal(s.lines(), o.lines()) }

func (s set) same(o set) bool { return s.name == o.name && s.rrtype == o.rrtype }
