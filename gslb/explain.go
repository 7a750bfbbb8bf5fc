package gslb

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// explain says what the client is answered and why. Of families that are not answered alike
// it is IPv4, with who answers for the other.
func (v *nameView) explain(f *Fleet, c client) Explanation {
	e := Explanation{Name: v.Name.Name, Client: c.subnet, Tier: tierNobody}
	if len(v.families) == 0 {
		e.Sentences = []string{"No datacenter of " + v.Name.Name + " has an address: the answer is empty."}
	}
	first := decision{datacenter: -1}
	for i, own := range v.families {
		d := own.decide(f, c)
		switch {
		case i == 0:
			first, e.Tier, e.TTL, e.Scope, e.Candidates = d, d.choice.tier, d.ttl.Seconds(), d.scope, own.candidates(f, d)
			e.Sentences = own.explain(f, c, d)
			for _, other := range e.Candidates {
				if !other.Chosen {
					e.Sentences = append(e.Sentences, other.Sentence())
				}
			}
			if d.datacenter >= 0 {
				e.Datacenter = f.Datacenters[d.datacenter].Name
				for _, of := range families {
					all, _ := f.Datacenters[d.datacenter].answering(of, v.status[d.datacenter].dead)
					e.Addresses = append(e.Addresses, all...)
				}
			}
		case d.datacenter < 0 && first.datacenter >= 0:
			e.Sentences = append(e.Sentences, fmt.Sprintf("Who asks for %s gets an empty answer: %s.", own.called, own.none(f)))
		case d.datacenter != first.datacenter:
			text := fmt.Sprintf("Who asks for %s gets %s, tier %s", own.called, f.Datacenters[d.datacenter].Name, d.choice.tier)
			if first.datacenter >= 0 {
				text += fmt.Sprintf(", and not %s: %s", e.Datacenter, own.rejected(f, first.datacenter, d))
			}
			e.Sentences = append(e.Sentences, text+".")
		}
	}
	return e
}

// explain says in sentences what the client is answered and why.
func (v *familyView) explain(f *Fleet, c client, d decision) (lines []string) {
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	switch {
	case d.bySubnet:
		say("The client is %s, by its client subnet.", c.subnet)
	case c.subnet.IsValid() && c.subnet.Bits() > 0:
		say("The client is %s, who asks: its client subnet %s cannot be on the internet, and no topology lists it.", d.client, c.subnet)
	default:
		say("The client is %s, who asks.", d.client)
	}
	say("Where it is: %s.", f.Places.explain(d.client))
	names := func(set []int) string {
		var all []string
		for _, dc := range set {
			all = append(all, f.Datacenters[dc].Name)
		}
		return strings.Join(all, ", ")
	}
	if d.datacenter < 0 {
		say("The answer is empty: %s, and the panic policy of %s is %s.", v.none(f), v.Name.Name, v.Panic)
	} else {
		chosen := f.Datacenters[d.datacenter].Name
		say("The answer is %s, tier %s, kept for %s, the same for all of %s.", chosen, d.choice.tier, d.ttl, reach(d))
		for _, a := range f.Datacenters[d.datacenter].Addresses {
			if why, is := v.status[d.datacenter].dead[a]; is {
				say("Its address %s does not answer: %s.", a, why)
			}
		}
		if len(d.choice.set) > 1 {
			say("%s share these clients by weight; the clients of %s stay with %s.", names(d.choice.set), together(d.client), chosen)
		}
	}
	return lines
}

// candidates are all datacenters: the answer first, the others nearest first.
func (v *familyView) candidates(f *Fleet, d decision) (all []Candidate) {
	if d.datacenter >= 0 {
		all = append(all, Candidate{Datacenter: f.Datacenters[d.datacenter].Name, Chosen: true, Why: "the answer, tier " + d.choice.tier})
	}
	for _, dc := range v.order(f, d) {
		if dc != d.datacenter {
			all = append(all, Candidate{Datacenter: f.Datacenters[dc].Name, Why: v.rejected(f, dc, d)})
		}
	}
	return all
}

func reach(d decision) string {
	if !d.bySubnet {
		return "who asks through this resolver"
	}
	p, _ := d.client.Prefix(d.scope)
	return p.String()
}

// order lists all datacenters, nearest first.
func (v *familyView) order(f *Fleet, d decision) (all []int) {
	for _, group := range f.Places.regions[d.region].groups {
		all = append(all, group...)
	}
	return all
}

// rejected says why a datacenter is not the answer.
func (v *familyView) rejected(f *Fleet, dc int, d decision) string {
	s := v.status[dc]
	switch {
	case !slices.Contains(v.whole.Members, dc):
		return "it is no datacenter of this name"
	case !slices.Contains(v.Members, dc):
		return "it has no " + v.called + " address"
	case s.away:
		return "an operator has taken it out"
	case !s.healthy && len(s.dead) > 0 && v.Method != Static && d.choice.tier != tierPanic:
		return "none of its " + v.called + " addresses answers"
	case !s.healthy && v.Method != Static && d.choice.tier != tierPanic:
		return "it is not healthy"
	case slices.Contains(d.choice.set, dc):
		return "it is as near, and others of these clients are its"
	case f.Datacenters[dc].Backup && d.choice.tier != tierBackup && d.choice.tier != tierPanic:
		return "it is a backup, and primaries serve"
	case v.Method == Nearest:
		return "it is farther away"
	}
	return "it comes later in the declared order"
}

// Explanation is what `gslb explain` says, for programs.
type Explanation struct {
	Name       string       `json:"name"`
	Client     netip.Prefix `json:"client"`
	Datacenter string       `json:"datacenter"` // "": nobody
	Tier       string       `json:"tier"`
	Addresses  []netip.Addr `json:"addresses"`
	TTL        float64      `json:"ttl"`        // seconds
	Scope      int          `json:"scope"`      // length of the client's prefix that has the same answer
	Candidates []Candidate  `json:"candidates"` // the answer first, the others nearest first; of IPv4 where families are not answered alike
	Sentences  []string     `json:"sentences"`
}

// Candidate is a datacenter that could be the answer.
type Candidate struct {
	Datacenter string `json:"datacenter"`
	Chosen     bool   `json:"chosen"`
	Why        string `json:"why"` // it is the answer, or is not
}

// Sentence says why the candidate is not the answer.
func (c Candidate) Sentence() string { return fmt.Sprintf("Not %s: %s.", c.Datacenter, c.Why) }

// explainFor answers as if a query for the name came with the client subnet.
func (v *view) explainFor(name string, subnet netip.Prefix) (Explanation, error) {
	z := v.zoneOf(name)
	if z == nil || z.names[name] == nil {
		var known []string
		for _, z := range v.zones {
			known = append(known, keys(z.names)...)
		}
		slices.Sort(known)
		return Explanation{}, fmt.Errorf("%s is no name of this fleet; known: %s", name, strings.Join(known, ", "))
	}
	return z.names[name].explain(v.fleet, client{resolver: subnet.Addr(), subnet: subnet}), nil
}
