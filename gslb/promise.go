package gslb

import (
	"maps"
	"strings"
	"time"
)

// A drain promises that its datacenter gets no new clients, and is safe to stop once the
// answers of before have run out. What makes that untrue may come later: others fall, or
// are drained, or an override ends.

// promise looks, of all that takes a datacenter out, at whether that holds in the view, and
// says in the log when it holds no longer. The lock is held.
func (s *Node) promise(v *view, now time.Time) {
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
			o.SafeAt = s.runOut(o.Datacenter, now)
		}
	}
}

// namesOf are the names that any client gets the datacenter for.
func (v *view) namesOf(datacenter string) []string {
	return v.broken(Override{Datacenter: datacenter, Mode: Drain})
}

// given notes how long the answers that were given until now are kept, by the datacenter that
// they name. The lock is held.
func (s *Node) given(now time.Time) {
	kept := maps.Clone(s.state.Kept)
	if kept == nil {
		kept = map[string]time.Time{}
	}
	maps.DeleteFunc(kept, func(_ string, until time.Time) bool { return until.Before(now) })
	if v := s.view.Load(); v != nil {
		for _, n := range v.names() {
			until := now.Add(n.TTL)
			for i, dc := range v.fleet.Datacenters {
				if until.After(kept[dc.Name]) && n.gets(i) {
					kept[dc.Name] = until
				}
			}
		}
	}
	s.state.Kept = kept
}

// runOut is when no answer is kept any longer that names the datacenter and was given until
// now, also with a TTL that has been lowered since. The lock is held.
func (s *Node) runOut(datacenter string, now time.Time) time.Time {
	s.given(now)
	last := now
	for of, until := range s.state.Kept {
		// A name of the fleet, with its final dot, is from a program that noted names alone.
		if (of == datacenter || strings.HasSuffix(of, ".")) && until.After(last) {
			last = until
		}
	}
	return last
}
