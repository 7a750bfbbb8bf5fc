package fleet

import (
	"fmt"
	"slices"
	"strings"

	"example.org/breakwater/internal/naming"
)

// Of projects.*.preheat.trigger.
const (
	PreheatPush     = "push"
	PreheatSchedule = "schedule"
	PreheatManual   = "manual"
)

// Preheats reports whether Harbors know their edges as instances to which preheat policies belong.
func (f *Fleet) Preheats() bool {
	if f.Edge.Preheat != nil {
		return *f.Edge.Preheat
	}
	found := false
	f.eachPreheat(func(string, *Preheat) { found = true })
	return found
}

// eachPreheat calls do for each policy that is written, with where it is.
func (f *Fleet) eachPreheat(do func(path string, p *Preheat)) {
	f.eachAhead(func(path, _ string, _ []Warm, p *Preheat) {
		if p != nil {
			do(path+".preheat", p)
		}
	})
}

// checkPreheat checks the preheat policies of all projects.
func (f *Fleet) checkPreheat(d *decoder) {
	keyless := f.Edge.Peers.Key.IsZero()
	if keyless && f.Edge.Preheat != nil && *f.Edge.Preheat {
		d.report("edge.preheat", "Harbors log in at their edges with what is derived from edge.peers.key; write that")
	}
	f.eachPreheat(func(path string, p *Preheat) {
		switch {
		case keyless:
			d.report(path, "Harbors log in at their edges with what is derived from edge.peers.key; write that")
		case !f.Preheats():
			d.report(path, "edge.preheat is false, so it would have no edge; leave one of the two out")
		}
		if !slices.Contains([]string{"", PreheatPush, PreheatSchedule, PreheatManual}, p.Trigger) {
			d.report(path+".trigger", "%q is none; write push, schedule or manual", p.Trigger)
		}
		if p.Every != 0 {
			checkEvery(d, path+".every", p.Every)
			if p.Trigger != PreheatSchedule {
				d.report(path+".every", "it goes with trigger: schedule alone")
			}
		}
		for field, patterns := range map[string][]string{"repos": p.Repos, "tags": p.Tags} {
			for i, pattern := range patterns {
				at := fmt.Sprintf("%s.%s[%d]", path, field, i)
				if err := naming.CheckPattern(pattern); err != nil {
					d.report(at, "%v", err)
				} else if len(patterns) > 1 && strings.ContainsAny(pattern, "{,}") {
					d.report(at, "Harbor takes several as one pattern with braces, and this one has some; write it alone, or what it means one by one")
				}
			}
		}
		for i, label := range p.Labels {
			if label == "" || strings.Contains(label, ",") {
				d.report(fmt.Sprintf("%s.labels[%d]", path, i), "%q is no name of a label", label)
			}
		}
	})
}
