package gslb

import (
	"maps"
	"slices"
	"sort"
	"strings"

	"github.com/miekg/dns"
)

// link is one of the NSEC records that lead from each name of a zone to the next one, in
// canonical order (RFC 4034, sections 4 and 6.1): it proves that there is none between them,
// and which types its own name has. So what is not there is denied by what was signed before.
type link struct {
	order string // see canonical
	set   *signedSet
}

// chain makes the links of a zone whose sets of records are signed, and notes which names
// there are.
func (b *signing) chain(z *zoneView, out *signedZone) {
	types, fleeting := map[string][]uint16{}, map[string]bool{}
	for of := range out.sets {
		types[of.name] = append(types[of.name], of.rtype)
	}
	for name, n := range z.names {
		types[name] = append(types[name], n.types()...)
		fleeting[name] = len(n.types()) < len(n.families)
	}
	order := map[string]string{}
	for name := range types {
		order[canonical(wireName(name))] = name
		for up := name; len(up) >= len(z.Origin); up = parent(up) {
			out.exists[up] = true
		}
	}
	sorted := slices.Sorted(maps.Keys(order))
	for i, key := range sorted {
		name := order[key]
		ttl := min(z.soa.Hdr.Ttl, z.soa.Minttl) // RFC 9077, section 3
		if fleeting[name] {
			ttl = min(ttl, uint32(lastResortTTL.Seconds()))
		}
		all := append(types[name], dns.TypeRRSIG, dns.TypeNSEC)
		slices.Sort(all)
		nsec := &dns.NSEC{Hdr: header(name, dns.TypeNSEC, ttl), NextDomain: order[sorted[(i+1)%len(sorted)]], TypeBitMap: all}
		set := b.set(out, []dns.RR{nsec})
		out.sets[setOf{name, dns.TypeNSEC}] = set
		out.sets[setOf{name, dns.TypeRRSIG}] = &signedSet{records: set.signatures} // one of those there are, as for ANY
		out.links = append(out.links, link{key, set})
	}
}

// types are those of addresses that clients of the name get now.
func (v *nameView) types() (all []uint16) {
	for _, own := range v.families {
		if slices.ContainsFunc(own.choices, func(c choice) bool { return len(c.set) > 0 }) {
			all = append(all, own.qtype)
		}
	}
	return all
}

// wireName is the wire form of a name of the zone's.
func wireName(name string) []byte {
	wire := make([]byte, maxName+1)
	n, err := dns.PackDomainName(name, wire, 0, nil, false)
	if err != nil {
		return []byte{0} // what is no name is not signed either, which says so
	}
	return wire[:n]
}

// canonical sorts as names do: by their labels, from the last to the first, as bytes, and
// a name before those below it (RFC 4034, section 6.1). The wire form is in lower case.
func canonical(wire []byte) string {
	var labels [][]byte
	for at := 0; at < len(wire) && wire[at] > 0; at += 1 + int(wire[at]) {
		labels = append(labels, wire[at+1:at+1+int(wire[at])])
	}
	var key strings.Builder
	for _, label := range slices.Backward(labels) {
		for _, c := range label {
			if c < 2 { // 0 ends a label, and sorts before all that it may have
				key.WriteByte(1)
				c++
			}
			key.WriteByte(c)
		}
		key.WriteByte(0)
	}
	return key.String()
}

// at is the link of the name, or the one before it that says that it is not there.
func (z *signedZone) at(wire []byte) *signedSet {
	key := canonical(wire)
	i := sort.Search(len(z.links), func(i int) bool { return z.links[i].order > key }) - 1
	return z.links[max(i, 0)].set // the first name is the zone's own, before which there is none in it
}

// denials are the links that prove a negative answer (RFC 4035, section 3.1.3): that of the
// name, or where it is not there, also that no wildcard stands for it.
func (z *signedZone) denials(rcode int, wire []byte) []*signedSet {
	name := presentation(wire)
	switch {
	case rcode == dns.RcodeNameError:
		all := []*signedSet{z.at(wire)}
		closest := wire
		for !z.exists[presentation(closest)] && closest[0] > 0 {
			closest = closest[1+closest[0]:]
		}
		if wildcard := z.at(append([]byte{1, '*'}, closest...)); wildcard != all[0] {
			all = append(all, wildcard)
		}
		return all
	case !z.exists[name]: // it is there for few, who are told why
		nsec := []dns.RR{&dns.NSEC{Hdr: header(name, dns.TypeNSEC, 0), NextDomain: `\000.` + name, TypeBitMap: []uint16{dns.TypeTXT, dns.TypeRRSIG, dns.TypeNSEC}}}
		return []*signedSet{{nsec, z.now(nsec)}}
	}
	return []*signedSet{z.at(wire)} // also of an empty non-terminal: what comes next is below it
}
