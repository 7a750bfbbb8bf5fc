package gslb

import (
	"net/netip"
	"time"

	"github.com/miekg/dns"
)

// Fleet is all that answers are made of and that does not change by itself.
type Fleet struct {
	Datacenters []Datacenter
	Zones       []Zone
	Places      *Places
	Explain     []netip.Prefix // who may ask why, by TXT; none: nobody
}

// view is the fleet at one moment: what is answered until something changes.
// Immutable, so that any number of queries read it without a lock.
type view struct {
	fleet   *Fleet
	zones   []zoneView // the longest origin first
	metrics *metrics
}

// nameView is one name at one moment.
type nameView struct {
	*Name
	status  []status
	choices []choice   // by region
	shared  []bool     // by region: several share its clients when all serve
	records [][]dns.RR // by datacenter: its addresses, with the name's TTL
}

// decision is what a client is answered, and how far that holds.
type decision struct {
	datacenter int // as an index; -1: nobody
	region     uint16
	choice     choice
	scope      int // the length of the client's prefix for which the answer is the same
	ttl        time.Duration
	client     netip.Addr // who it is for
	bySubnet   bool       // that is the subnet's, not the resolver's
}

// lastResortTTL bounds how long an answer is kept that no primary serves: it may be that
// of one node which sees less than the others.
const lastResortTTL = 5 * time.Second

func newNameView(f *Fleet, n *Name, now []status) *nameView {
	v := &nameView{Name: n, status: now}
	for i := range f.Places.regions {
		groups := f.Places.regions[i].groups
		well := n.among(f.Datacenters, groups, func(int) bool { return true })
		v.choices, v.shared = append(v.choices, choose(n, f.Datacenters, now, groups)), append(v.shared, len(well.set) > 1)
	}
	for _, dc := range f.Datacenters {
		var records []dns.RR
		for _, ip := range dc.Addresses {
			records = append(records, address(n.Name, ip, uint32(n.TTL.Seconds())))
		}
		v.records = append(v.records, records)
	}
	return v
}

// decide is the decision for one client: README.md has the rules in this order.
func (v *nameView) decide(f *Fleet, c client) decision {
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
