package gslb

import (
	"math"
	"net/netip"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// The tiers that a datacenter is chosen from, best first.
const (
	tierNearest = "nearest" // of what serves, nothing is nearer to the client
	tierFarther = "farther" // a primary, but what is nearer serves nobody
	tierBackup  = "backup"
	tierPanic   = "panic" // nobody is healthy
	tierNobody  = "nobody"
)

// Status is what the decision knows of one datacenter for one name.
type status struct {
	healthy  bool                  // by its probes, or by force
	lastGood bool                  // it was, when anybody was for the last time
	away     bool                  // drained, or forced down
	dead     map[netip.Addr]string // its addresses that do not answer, and why
}

// choice is who serves the clients of one region: those of set share them by weight.
type choice struct {
	set  []int // datacenters, as indexes
	tier string
	who  string // with tierPanic: who stands in, as "the last good"
}

// allTheSame is who stands in where operators have taken all out.
const allTheSame = "them all the same"

// serving tells the datacenters that serve.
func (n *Name) serving(now []status) func(dc int) bool {
	return func(dc int) bool { return (now[dc].healthy || n.Method == Static) && !now[dc].away }
}

// choose says who serves the clients of a region. It is where policy is: README.md
// has the rules in this order.
func choose(n *Name, all []Datacenter, now []status, groups [][]int) choice {
	if c := n.among(all, groups, n.serving(now)); len(c.set) > 0 {
		return c
	}
	type standIn struct {
		who string
		is  func(dc int) bool
	}
	var standIns []standIn
	present := func(dc int) bool { return !now[dc].away }
	switch n.Panic {
	case PanicNodata:
		return choice{tier: tierNobody}
	case PanicLastGood:
		standIns = append(standIns, standIn{"the last good", func(dc int) bool { return now[dc].lastGood && present(dc) }})
	case PanicBackup:
		standIns = append(standIns, standIn{"the backups", func(dc int) bool { return all[dc].Backup && present(dc) }})
	}
	who := "all"
	if slices.ContainsFunc(n.Members, func(dc int) bool { return now[dc].away }) {
		who = "those that are left"
	}
	standIns = append(standIns, standIn{who, present}, standIn{allTheSame, func(int) bool { return true }}) // the last: all are drained, by mistake
	for _, s := range standIns {
		if c := n.among(all, groups, s.is); len(c.set) > 0 {
			return choice{c.set, tierPanic, s.who}
		}
	}
	return choice{tier: tierNobody} // the name has no members
}

// among chooses among the members that may serve.
func (n *Name) among(all []Datacenter, groups [][]int, may func(dc int) bool) choice {
	if n.Method != Nearest {
		return n.first(all, may)
	}
	member := func(dc int) bool { return slices.Contains(n.Members, dc) && may(dc) }
	primaries, declared := 0, 0
	for _, dc := range n.Members {
		if !all[dc].Backup {
			declared++
			if may(dc) {
				primaries++
			}
		}
	}
	few := primaries == 0 || primaries < min(n.MinPrimaries, declared)
	of := func(group []int, backup bool) (set []int) {
		for _, dc := range group {
			if all[dc].Backup == backup && member(dc) {
				set = append(set, dc)
			}
		}
		return set
	}
	tier := tierNearest
	for _, group := range groups {
		if set := of(group, false); len(set) > 0 {
			return choice{set: set, tier: tier}
		}
		if few {
			if set := of(group, true); len(set) > 0 {
				return choice{set: set, tier: tierBackup}
			}
		}
		if slices.ContainsFunc(group, func(dc int) bool { return !all[dc].Backup && slices.Contains(n.Members, dc) }) {
			tier = tierFarther
		}
	}
	return choice{}
}

// first is the first member that may serve, primaries before backups.
func (n *Name) first(all []Datacenter, may func(dc int) bool) choice {
	for _, backup := range []bool{false, true} {
		tier := tierNearest
		if backup {
			tier = tierBackup
		}
		for _, dc := range n.Members {
			if all[dc].Backup != backup {
				continue
			}
			if may(dc) {
				return choice{set: []int{dc}, tier: tier}
			}
			if !backup {
				tier = tierFarther
			}
		}
	}
	return choice{}
}

// The lengths of the prefixes whose clients stay together: those of one site.
const (
	together4 = 24
	together6 = 56
)

// together is the part of the net that the client shares its datacenter with where
// several are equally near.
func together(client netip.Addr) netip.Prefix {
	bits := together6
	if client.Is4() {
		bits = together4
	}
	p, _ := client.Prefix(bits) // fails for no valid address
	return p
}

// pick is the weighted rendezvous hash: every node answers a client alike without
// a word between them, and who is lost takes only its own clients along.
// Of -ln(u)/weight the least wins: the logarithmic method of Schindelhauer and
// Schomaker, "Weighted distributed hash tables" (2005).
func pick(set []int, all []Datacenter, client netip.Addr) int {
	if len(set) == 1 {
		return set[0]
	}
	key := clientHash(client)
	best, least := set[0], math.Inf(1)
	for _, dc := range set {
		u := (float64(mix(key^xxhash.Sum64String(all[dc].Name))>>11) + 0.5) / (1 << 53)
		if score := -math.Log(u) / float64(max(1, all[dc].Weight)); score < least {
			best, least = dc, score
		}
	}
	return best
}

// clientHash is the same for all clients that stay together.
func clientHash(client netip.Addr) uint64 {
	raw := together(client).Addr().As16()
	return xxhash.Sum64(raw[:])
}

// mix spreads what was combined by exclusive or (the finalizer of SplitMix64).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Client is for whom an answer is: who asks, and for which of its clients.
type client struct {
	resolver netip.Addr
	subnet   netip.Prefix // EDNS Client Subnet (RFC 7871); invalid: none
}
