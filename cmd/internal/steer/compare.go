package steer

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"example.org/breakwater/gslb"
)

// Fact is one thing that all name servers should say alike.
type Fact struct {
	What string
	Says []string // by node, in the order of the nodes; "": it was not asked
}

// Facts puts side by side what the nodes say.
func Facts(seen []Seen) (all []Fact) {
	for i, s := range seen {
		if s.Report == nil {
			continue
		}
		for _, said := range facts(s.Report) {
			at := slices.IndexFunc(all, func(f Fact) bool { return f.What == said[0] })
			if at < 0 {
				at, all = len(all), append(all, Fact{What: said[0], Says: make([]string, len(seen))})
			}
			all[at].Says[i] = said[1]
		}
	}
	return all
}

// facts are pairs of what and says.
func facts(r *gslb.Report) (all [][2]string) {
	add := func(what, says string) { all = append(all, [2]string{what, says}) }
	for _, a := range r.Answers {
		add(a.Name, strings.TrimPrefix(a.Sentence, a.Name+": "))
	}
	if !r.Answering {
		add("answers", "nothing yet")
	}
	for _, name := range slices.Sorted(maps.Keys(r.Datacenters)) {
		add("health of "+name, r.Datacenters[name].State())
	}
	for _, name := range slices.Sorted(maps.Keys(r.Probes)) {
		add("probes of "+name, r.Probes[name].State())
	}
	var overrides []string
	for _, o := range r.Overrides {
		text := string(o.Mode) + " " + o.Datacenter
		if o.Name != "" {
			text += " for " + strings.TrimSuffix(o.Name, ".")
		}
		if !o.Until.IsZero() {
			text += " until " + o.Until.Local().Format(time.DateTime)
		}
		if !o.Holds {
			text += " (does not hold)"
		}
		overrides = append(overrides, text)
	}
	slices.Sort(overrides)
	if overrides == nil {
		overrides = []string{"none"}
	}
	add("overrides", strings.Join(overrides, "; "))
	for _, zone := range slices.Sorted(maps.Keys(r.Serial)) {
		add("serial of "+strings.TrimSuffix(zone, "."), fmt.Sprint(r.Serial[zone]))
	}
	add("version", r.Version)
	add("config", r.Config)
	return all
}

// Differences says in sentences what is not the same on all nodes, and who could not be asked.
func Differences(seen []Seen) (all []string) {
	for _, s := range seen {
		if s.Report == nil {
			all = append(all, fmt.Sprintf("the name server of %s says nothing: %s", s.Node, s.Error))
		}
	}
	for _, f := range Facts(seen) {
		var values, who []string
		for i, s := range seen {
			if s.Report == nil {
				continue
			}
			says := f.Says[i]
			if says == "" {
				says = "nothing"
			}
			at := slices.Index(values, says)
			if at < 0 {
				values, who = append(values, says), append(who, s.Node)
			} else {
				who[at] += ", " + s.Node
			}
		}
		if len(values) < 2 {
			continue
		}
		for i := range values {
			who[i] += ": " + values[i]
		}
		all = append(all, fmt.Sprintf("%s differs: %s", f.What, strings.Join(who, " | ")))
	}
	return all
}
