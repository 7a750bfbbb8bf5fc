package provision

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// savedFormat is the number of what Saved looks like in a file.
const savedFormat = 1

// Saved is a plan that somebody has looked at, for a later run that does exactly that. It holds
// no secrets: those are where the fleet file leads when it is done.
type Saved struct {
	Format      int       `json:"format"`
	Made        time.Time `json:"made"`
	Datacenters []string  `json:"datacenters,omitempty"` // of Options
	Rewrite     bool      `json:"rewrite_secrets,omitempty"`
	Prune       bool      `json:"prune,omitempty"`
	PruneMax    int       `json:"prune_max,omitempty"`
	Changes     []Change  `json:"changes"`
	Faults      []Fault   `json:"faults,omitempty"`
}

// Save returns the plan as it is kept.
func (p *Provisioner) Save(plan *Plan, now time.Time) Saved {
	o := p.options
	return Saved{Format: savedFormat, Made: now.UTC(), Datacenters: o.Datacenters, Rewrite: o.Rewrite, Prune: o.Prune, PruneMax: o.PruneMax, Changes: plan.Changes, Faults: plan.Faults}
}

// ReadSaved reads a plan that was kept.
func ReadSaved(text []byte) (s Saved, err error) {
	if err := json.Unmarshal(text, &s); err != nil || s.Format == 0 {
		return s, errors.New("plan --out has not written this")
	}
	if s.Format != savedFormat {
		return s, fmt.Errorf("the plan has format %d, and this program reads %d: plan again with this one", s.Format, savedFormat)
	}
	return s, nil
}

// Differs says in what another plan is not this one, a line a change; nothing where it is. What a
// Harbor or the fleet file has become since then is seen by it.
func (s Saved) Differs(plan *Plan) (lines []string) {
	was, is := asKept(s.Changes), asKept(plan.Changes)
	for _, c := range s.Changes {
		switch now, there := is[c.Key]; {
		case !there:
			lines = append(lines, fmt.Sprintf("%s: the plan has %s, and there is nothing to do", c.Key, c.Action))
		case now != was[c.Key]:
			lines = append(lines, fmt.Sprintf("%s: the plan has another %s", c.Key, c.Action))
		}
	}
	for _, c := range plan.Changes {
		if _, there := was[c.Key]; !there {
			lines = append(lines, fmt.Sprintf("%s: the plan does not have this %s", c.Key, c.Action))
		}
	}
	for _, f := range plan.Faults {
		if !slices.ContainsFunc(s.Faults, func(o Fault) bool { return o.Datacenter == f.Datacenter && o.Away == f.Away }) {
			lines = append(lines, f.String())
		}
	}
	return lines
}

// asKept is all that a file has of the changes, by object.
func asKept(changes []Change) map[Key]string {
	all := map[Key]string{}
	for _, c := range changes {
		all[c.Key] = fmt.Sprintf("%q %q %q", c.Action, c.Fields, c.Why)
	}
	return all
}
