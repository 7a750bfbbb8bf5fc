package gslb

import (
	"maps"
	"time"
)

// A drain promises that its datacenter gets no new clients, and is safe to stop once the
// answers of before have run out. What makes that untrue may come later: others fall, or
// are drained, or an override ends.

// promise looks, of all that takes a datacenter out, at whether that holds in the view, and
// says in the log when it holds no longer. The lock is held.
func (s *Node) promise(v *view, now time.Time) {
	s.given(now)
	for i := range s.state.Overrides {
		o := &s.state.Overrides[i]
		if !o.takesOut() {
			continue
		}
		switch named := v.namesOf(o.Datacenter); {
		case len(named) > 0 && !o.SafeAt.IsZero():
			s.log.Warn("a drain holds no longer: clients get the datacenter", "datacenter", o.Datacenter, "name", o.Name, "mode", string(o.Mode), "for", listed(named), "by", o.By)
			o.SafeAt = time.Time{}
		case len(named) == 0 && o.SafeAt.IsZero():
			o.SafeAt = s.runOut(now)
		}
	}
}

// namesOf are the names that any client gets the datacenter for.
func (v *view) namesOf(datacenter string) []string {
	return v.broken(Override{Datacenter: datacenter, Mode: Drain})
}

// given notes how long the answers that were given until now are kept. The lock is held.
func (s *Node) given(now time.Time) {
	kept := maps.Clone(s.state.Kept)
	if kept == nil {
		kept = map[string]time.Time{}
	}
	for name, until := range kept {
		if until.Before(now) {
			delete(kept, name)
		}
	}
	for _, z := range s.fleet.Zones {
		for _, n := range z.Names {
			if until := now.Add(n.TTL); until.After(kept[n.Name]) {
				kept[n.Name] = until
			}
		}
	}
	s.state.Kept = kept
}

// runOut is when no answer is kept any longer that was given until now, also with a TTL that
// has been lowered since. The lock is held.
func (s *Node) runOut(now time.Time) time.Time {
	s.given(now)
	last := now
	for _, until := range s.state.Kept {
		if until.After(last) {
			last = until
		}
	}
	return last
}
