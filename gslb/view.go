package gslb

import (
	"net/netip"
	"slices"
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
	uniform bool       // all regions have one and the same datacenter
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

// panicTTL bounds how long an answer of last resort is kept.
const panicTTL = 5 * time.Second

func newNameView(f *Fleet, n *Name, now []status) *nameView {
	v := &nameView{Name: n, status: now, uniform: true}
	for i := range f.Places.regions {
		c := choose(n, f.Datacenters, now, f.Places.regions[i].groups)
		v.choices = append(v.choices, c)
		v.uniform = v.uniform && len(c.set) < 2 && slices.Equal(c.set, v.choices[0].set)
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
	if d.bySubnet && len(d.choice.set) > 1 {
		d.scope = max(d.scope, together(subnet).Bits())
	}
	if v.uniform { // wherever the client is
		d.scope = 0
	}
	if d.choice.tier == tierPanic || d.choice.tier == tierNobody {
		d.ttl = min(d.ttl, panicTTL)
	}
	return d
}
