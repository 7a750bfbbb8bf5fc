package gslb

import (
	"net/netip"
	"slices"
	"time"
)

// Fleet is all that answers are made of and that does not change by itself.
type Fleet struct {
	Datacenters []Datacenter
	Zones       []Zone
	Places      *Places
	Explain     []netip.Prefix // who may ask why, by TXT; none: nobody
	Keys        []*SigningKey  // that zones are signed with, all of them by each; none: they are not
}

// view is the fleet at one moment: what is answered until something changes.
// Immutable, so that any number of queries read it without a lock.
type view struct {
	fleet   *Fleet
	zones   []*zoneView // the longest origin first
	known   map[string]*known
	metrics *metrics
	state   string // its epoch
}

// nameView is one name at one moment.
type nameView struct {
	*Name
	status   []status
	families []*familyView // those that a member has an address of, IPv4 first
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

// of is the network of the client subnet that decides, and no more of it than stays together;
// invalid: it is the resolver's.
func (d *decision) of(c client) netip.Prefix {
	if !d.bySubnet {
		return netip.Prefix{}
	}
	p, _ := d.client.Prefix(min(together(d.client).Bits(), c.subnet.Bits())) // fails for no subnet
	return p
}

// lastResortTTL bounds how long an answer is kept that no primary serves: it may be that
// of one node which sees less than the others.
const lastResortTTL = 5 * time.Second

func newNameView(f *Fleet, n *Name, now []status) *nameView {
	v := &nameView{Name: n, status: now}
	for _, of := range families {
		if own := newFamilyView(f, n, now, of); own != nil {
			v.families = append(v.families, own)
		}
	}
	return v
}

// of is the family whose records the type has; nil: the name has none.
func (v *nameView) of(qtype uint16) *familyView {
	for _, own := range v.families {
		if own.qtype == qtype {
			return own
		}
	}
	return nil
}

// panics reports whether no datacenter serves the name.
func (v *nameView) panics() bool {
	return !slices.ContainsFunc(v.families, func(own *familyView) bool { return !own.panics() })
}

// gets reports whether any client is answered with the datacenter.
func (v *nameView) gets(dc int) bool {
	return v.any(func(_ *familyView, c choice) bool { return slices.Contains(c.set, dc) })
}

// any reports whether that is so of any of the choices.
func (v *nameView) any(is func(*familyView, choice) bool) bool {
	return slices.ContainsFunc(v.families, func(own *familyView) bool {
		return slices.ContainsFunc(own.choices, func(c choice) bool { return is(own, c) })
	})
}
