package status

import (
	"fmt"
	"slices"
	"strings"

	"example.org/breakwater/cmd/internal/steer"
	"example.org/breakwater/gslb"
	"example.org/breakwater/internal/fleet"
)

// names looks at what DNS answers.
func (j judge) names() {
	var well []NameServer
	for _, s := range j.NameServers {
		if s.Fault == "" {
			well = append(well, s)
		}
	}
	for _, s := range j.NameServers {
		if s.Fault == "" {
			continue
		}
		kind := "name server down"
		if len(well) == 0 {
			kind = "name servers down"
		}
		j.say(kind, s.Datacenter, "its name server cannot be asked: %s (%s).", s.Why, s.Address)
	}
	for _, s := range well {
		for _, r := range s.Reports {
			if r.Report == nil && otherKey(r.Error) {
				j.say("name server key differs", s.Datacenter, "the name server of %s has another gslb.key than the fleet file here (%s). It takes no steering.", r.Node, s.Address)
			}
		}
	}
	for _, s := range j.reports() {
		j.report(s)
	}
	if len(well) == 0 {
		return
	}
	j.disagree(well)
	j.answered(well[0])
}

// disagree compares answers with those of the first name server.
func (j judge) disagree(all []NameServer) {
	for _, s := range all[1:] {
		for i, a := range s.Answers {
			if first := all[0].Answers[i]; a.Datacenter != first.Datacenter {
				j.find(j.base, "name servers disagree", "", fmt.Sprintf("The name servers disagree: clients of %s are sent to %s by that of %s, and to %s by that of %s.",
					whom(a.Network), orNobody(first.Datacenter), all[0].Datacenter, orNobody(a.Datacenter), s.Datacenter))
				break
			}
		}
	}
}

func whom(network string) string {
	if network == "" {
		return "unknown networks"
	}
	return network
}

func orNobody(datacenter string) string {
	if datacenter == "" {
		return "nobody"
	}
	return datacenter
}

// answered looks at whether what a name server answers goes with how the edges are.
func (j judge) answered(s NameServer) {
	named, lost := map[string]bool{}, []string{}
	for _, a := range s.Answers {
		named[a.Datacenter] = true
		if a.Datacenter == "" {
			lost = append(lost, whom(a.Network))
		}
	}
	if len(lost) > 0 {
		j.find(j.base, "nobody serves", "", fmt.Sprintf("Clients of %s are answered with none of the datacenters.", strings.Join(lost, ", ")))
	}
	primaries := 0
	for _, d := range j.Datacenters {
		if named[d.Name] && d.Role == fleet.Primary {
			primaries++
		}
	}
	for _, d := range j.Datacenters {
		switch serves, known := d.serves(); {
		case named[d.Name] && d.Role == fleet.Backup && primaries == 0:
			j.say("backup answered", d.Name, "DNS sends clients to it, and it is a backup: no primary can be answered.")
		case named[d.Name] && known && !serves:
			j.say("named and away", d.Name, "DNS sends clients to it, and none of its edges serves.")
		case known && serves && d.Role == fleet.Primary:
			j.home(d, s)
		}
	}
}

// home looks at whether the clients that are at home in a datacenter are sent there.
func (j judge) home(d Datacenter, s NameServer) {
	if method := j.file.GSLB.Method; method != "nearest" && method != "twrr" || takenOut(j.reports(), d.Name) {
		return
	}
	var away []string
	for _, a := range s.Answers {
		if a.Home == d.Name && a.Datacenter != d.Name {
			away = append(away, a.Network)
		}
	}
	if len(away) > 0 {
		j.say("not named", d.Name, "its edge serves, and DNS sends its clients (%s) elsewhere.", strings.Join(away, ", "))
	}
}

// reports are those of all name servers that gave one.
func (j judge) reports() (all []steer.Seen) {
	for _, s := range j.NameServers {
		for _, r := range s.Reports {
			if r.Report != nil {
				all = append(all, r)
			}
		}
	}
	return all
}

// report looks at what one name server says of itself.
func (j judge) report(s steer.Seen) {
	for _, a := range s.Report.Answers {
		if a.Panic {
			j.find(j.base, "nobody serves", "", a.Sentence+".")
		}
	}
	for _, l := range s.Report.Lacks {
		j.lacks(s.Node, "the name server", l)
	}
	for _, o := range s.Report.Overrides {
		said := fmt.Sprintf("name servers were told %q", o.Mode)
		if o.By != "" {
			said += " by " + o.By
		}
		if o.Name != "" {
			said += " for " + strings.TrimSuffix(o.Name, ".")
		}
		if o.Reason != "" {
			said += ": " + o.Reason
		}
		if o.Holds {
			j.say("overridden", o.Datacenter, "%s.", said)
			continue
		}
		j.say("override does not hold", o.Datacenter, "%s; it does not hold: %s.", said, strings.TrimRight(o.Why, "."))
	}
	for _, d := range j.Datacenters {
		if seen, ok := s.Report.Datacenters[d.Name]; ok && !seen.Up {
			if serves, _ := d.serves(); serves {
				j.say("seen down", d.Name, "its edge serves, and the name server of %s sees it down: %s.", s.Node, strings.TrimRight(seen.Why, "."))
			}
		}
	}
}

// takenOut reports whether operators have told a name server to leave a datacenter out.
func takenOut(reports []steer.Seen, datacenter string) bool {
	return slices.ContainsFunc(reports, func(s steer.Seen) bool {
		return s.Report != nil && slices.ContainsFunc(s.Report.Overrides, func(o gslb.Held) bool { return o.Datacenter == datacenter && o.Mode != gslb.Up })
	})
}

// serves reports whether an edge of the datacenter serves; known is false where none said.
func (d *Datacenter) serves() (serves, known bool) {
	for _, e := range d.Edges {
		switch {
		case e.Report != nil:
			serves, known = serves || e.Report.Serving, true
		case e.Health != nil:
			serves, known = serves || e.Health.Serving, true
		case slices.Contains([]Fault{FaultRefused, FaultSilent, FaultCertificate}, e.Fault):
			known = true
		}
	}
	return serves, known
}
