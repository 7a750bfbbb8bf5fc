package gslb

import (
	"net/netip"
	"slices"

	"github.com/miekg/dns"
)

// family is a family of addresses, and the type of the records that have it.
type family struct {
	called string
	qtype  uint16
	is     func(netip.Addr) bool
}

var families = []family{{"IPv4", dns.TypeA, netip.Addr.Is4}, {"IPv6", dns.TypeAAAA, netip.Addr.Is6}}

// familyView is who serves the clients of a name that ask for one family of addresses, which
// is somebody who has one: whether a record exists does not depend on where a client is, for
// resolvers keep an empty answer for all of them (RFC 7871, section 7.4).
type familyView struct {
	*Name // of its members those that have an address of the family
	family
	whole   *Name
	status  []status
	choices []choice   // by region
	shared  []bool     // by region: several share its clients when all serve
	records [][]dns.RR // by datacenter, with the name's TTL

	signatures [][]dns.RR // of records, in a signed zone

	slots [][]slot // by datacenter, and last for nobody; see slot
}

// slot is the place of the answer that a decision gets, without or with proof: by tier, which
// says for how long it holds, and by which address comes first.
func (v *familyView) slot(d *decision, proof bool) *slot {
	of, first := v.slots[len(v.slots)-1], 0
	if d.datacenter >= 0 {
		of = v.slots[d.datacenter]
		first = rotation(len(v.records[d.datacenter]), d.client)
	}
	at := (first*(len(tiers)+1) + 1 + slices.Index(tiers, d.choice.tier)) * 2
	if proof {
		at++
	}
	return &of[at]
}

// newFamilyView returns nil where no member of the name has an address of the family.
func newFamilyView(f *Fleet, n *Name, now []status, of family) *familyView {
	own := *n
	own.Members = nil
	v := &familyView{Name: &own, family: of, whole: n, status: slices.Clone(now), records: make([][]dns.RR, len(f.Datacenters))}
	for dc := range f.Datacenters {
		all, alive := f.Datacenters[dc].answering(of, now[dc].dead)
		if v.status[dc].healthy = now[dc].healthy && alive; len(all) > 0 && slices.Contains(n.Members, dc) {
			own.Members = append(own.Members, dc)
		}
		for _, ip := range all {
			v.records[dc] = append(v.records[dc], address(n.Name, ip, uint32(n.TTL.Seconds())))
		}
	}
	slices.SortFunc(own.Members, func(a, b int) int { return slices.Index(n.Members, a) - slices.Index(n.Members, b) })
	if len(own.Members) == 0 {
		return nil
	}
	for _, all := range append(v.records, nil) {
		v.slots = append(v.slots, make([]slot, max(1, len(all))*(len(tiers)+1)*2))
	}
	serves := slices.ContainsFunc(n.Members, n.serving(now))
	for i := range f.Places.regions {
		groups := f.Places.regions[i].groups
		c := choose(&own, f.Datacenters, v.status, groups)
		if c.who == allTheSame && serves { // what operators said is no mistake: there is the other family
			c = choice{tier: tierNobody}
		}
		well := own.among(f.Datacenters, groups, func(int) bool { return true })
		v.choices, v.shared = append(v.choices, c), append(v.shared, len(well.set) > 1)
	}
	return v
}

// answering are the addresses of a family that answer, or all, and false, where none does.
func (dc *Datacenter) answering(of family, dead map[netip.Addr]string) (all []netip.Addr, alive bool) {
	var have []netip.Addr
	for _, a := range dc.Addresses {
		if !of.is(a) {
			continue
		}
		have = append(have, a)
		if _, is := dead[a]; !is {
			all = append(all, a)
		}
	}
	if len(all) == 0 {
		return have, false
	}
	return all, true
}

// decide is the decision for one client: README.md has the rules in this order.
func (v *familyView) decide(f *Fleet, c client) decision {
	d := decision{datacenter: -1, ttl: v.TTL, client: c.resolver}
	subnet := c.subnet.Addr()
	switch {
	case !c.subnet.IsValid() || c.subnet.Bits() == 0: // the resolver's answer is for all of its clients
	case subnet.Is4In6():
		d.scope = 96
	default:
		d.region, d.scope = f.Places.find(subnet)
		d.bySubnet = !f.Places.regions[d.region].nowhere
	}
	if d.bySubnet {
		d.client = subnet
	} else {
		d.region, _ = f.Places.find(c.resolver)
	}
	d.choice = v.choices[d.region]
	if len(d.choice.set) > 0 {
		d.datacenter = pick(d.choice.set, f.Datacenters, d.client)
	}
	if d.bySubnet && (len(d.choice.set) > 1 || v.shared[d.region]) {
		d.scope = max(d.scope, together(subnet).Bits())
	}
	if !v.asksWhere() {
		d.scope = 0
	}
	if d.choice.tier != tierNearest && d.choice.tier != tierFarther {
		d.ttl = min(d.ttl, lastResortTTL)
	}
	return d
}

// asksWhere reports whether answers depend on where a client is, whatever serves. That one
// datacenter is everybody's for now is no reason to say so to resolvers: they would give it
// to all regions as long as the TTL, and this node may be the only one that thinks so.
func (n *Name) asksWhere() bool { return n.Method == Nearest && len(n.Members) > 1 }

// panics reports whether no datacenter serves. Then none does in any region.
func (v *familyView) panics() bool {
	return v.choices[0].tier == tierPanic || v.choices[0].tier == tierNobody
}
