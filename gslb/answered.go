package gslb

import (
	"fmt"
	"slices"
	"strings"
)

// Answered is what clients of one name get.
type Answered struct {
	Name     string  `json:"name"`
	Sentence string  `json:"sentence"` // all of it, for people
	Panic    bool    `json:"panic"`    // no datacenter serves: the answer is one of last resort, or empty
	Shares   []Share `json:"shares"`   // of the datacenters that are answered, in the order of the fleet file
	Regions  int     `json:"regions"`  // in how many ways clients are told apart
	Networks int     `json:"networks"` // that the fleet file and the topology list
}

// Share is who gets one datacenter. Several that are equally near share their regions and
// networks by weight, and each is counted for all of them.
type Share struct {
	Datacenter string `json:"datacenter"`
	Tier       string `json:"tier"` // the best that it is answered at: nearest, farther, backup, panic
	Regions    int    `json:"regions"`
	Networks   int    `json:"networks"`
	Healthy    bool   `json:"healthy"` // by its probes, or by force
}

var tiers = []string{tierNearest, tierFarther, tierBackup, tierPanic}

// names are the names at that moment, in the order of the fleet file.
func (v *view) names() (all []*nameView) {
	for _, z := range v.fleet.Zones {
		for _, n := range z.Names {
			all = append(all, v.zoneOf(n.Name).names[n.Name])
		}
	}
	return all
}

// answered says what all clients of all names get.
func (v *view) answered() (all []Answered) {
	for _, n := range v.names() {
		all = append(all, n.answered(v.fleet))
	}
	return all
}

func (v *nameView) answered(f *Fleet) Answered {
	a := Answered{Name: plainName(v.Name.Name), Panic: v.panics(), Shares: shares(f, v.families...)}
	for region := range f.Places.regions {
		if !f.Places.regions[region].nowhere {
			a.Regions++
			a.Networks += f.Places.listed[region]
		}
	}
	a.Sentence = a.Name + ": " + v.sentence(f)
	return a
}

// shares are who gets which datacenter, in any of the families.
func shares(f *Fleet, of ...*familyView) (all []Share) {
	found := make([]Share, len(f.Datacenters))
	for region := range f.Places.regions {
		if f.Places.regions[region].nowhere {
			continue // its choices are those of clients of whom nothing is known
		}
		for dc := range found {
			s, tier := &found[dc], len(tiers)
			for _, v := range of {
				if c := v.choices[region]; slices.Contains(c.set, dc) {
					tier, s.Healthy = min(tier, slices.Index(tiers, c.tier)), v.status[dc].healthy
				}
			}
			if tier == len(tiers) {
				continue
			}
			if s.Regions == 0 || tier < slices.Index(tiers, s.Tier) {
				s.Tier = tiers[tier]
			}
			s.Regions++
			s.Networks += f.Places.listed[region]
		}
	}
	for dc, s := range found {
		if s.Regions > 0 {
			s.Datacenter = f.Datacenters[dc].Name
			all = append(all, s)
		}
	}
	return all
}

// sentence says who is answered, by family where it is not the same.
func (v *nameView) sentence(f *Fleet) string {
	var texts []string
	for _, own := range v.families {
		texts = append(texts, own.sentence(f))
	}
	switch {
	case len(texts) == 0:
		return "nobody: it has no datacenters"
	case len(texts) == 1 || texts[0] == texts[1]:
		return texts[0]
	}
	return v.families[0].called + ": " + texts[0] + "; " + v.families[1].called + ": " + texts[1]
}

// sentence says who is answered.
func (v *familyView) sentence(f *Fleet) string {
	var who []string
	for _, s := range shares(f, v) {
		text := s.Datacenter
		switch {
		case s.Tier == tierBackup:
			text += " (a backup)"
		case s.Tier != tierPanic && !s.Healthy:
			text += " (not healthy)"
		}
		who = append(who, text)
	}
	list := listed(who)
	switch c := v.choices[0]; {
	case c.tier == tierNobody && v.Panic != PanicNodata:
		return v.none(f) + "; answers are empty"
	case c.tier == tierNobody:
		return fmt.Sprintf("PANIC: %s; answers are empty (panic: nodata)", v.none(f))
	case c.tier == tierPanic:
		return fmt.Sprintf("PANIC: %s; clients get %s: %s%s", v.none(f), c.who, list, v.spread())
	case len(who) == 1 && v.Method == Static:
		return list + ", whatever its health (method: static)"
	case len(who) == 1 && v.Method == Failover:
		return list + ", the first in order that serves"
	}
	return list + v.spread()
}

// spread says which of the clients get which.
func (v *familyView) spread() string {
	same, alone := true, true // in all regions; one in each
	for _, c := range v.choices {
		same, alone = same && slices.Equal(c.set, v.choices[0].set), alone && len(c.set) == 1
	}
	switch {
	case same && alone:
		return ", all clients"
	case same:
		return ", all clients by weight"
	case alone:
		return ", each client its nearest"
	}
	return ", each client its nearest, by weight where several are as near"
}

// none says why no datacenter serves.
func (v *familyView) none(f *Fleet) string {
	var away, down []string
	one := "no datacenter"
	if len(v.Members) < len(v.whole.Members) {
		one += " with an " + v.called + " address"
	}
	for _, dc := range v.Members {
		switch s := v.status[dc]; {
		case s.away:
			away = append(away, f.Datacenters[dc].Name)
		case !s.healthy:
			down = append(down, f.Datacenters[dc].Name)
		}
	}
	switch {
	case len(away) == 0:
		return one + " is healthy"
	case len(down) == 0:
		return one + " is left: operators have taken out " + listed(away)
	}
	return fmt.Sprintf("%s is left: operators have taken out %s, and %s not healthy", one, listed(away), areNow(down))
}

func areNow(names []string) string {
	if len(names) == 1 {
		return names[0] + " is"
	}
	return listed(names) + " are"
}

// listed joins words as people do.
func listed(words []string) string {
	if n := len(words); n > 1 {
		return strings.Join(words[:n-1], ", ") + " and " + words[n-1]
	}
	return strings.Join(words, "")
}
