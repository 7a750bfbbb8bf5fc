package gslb

import (
	"slices"
	"time"
)

// fewer are the datacenters that serve a name while somebody is missing who did when it was
// good.
type fewer struct {
	serving []string
	since   time.Time
}

// noteGood notes who serves each name: they are the last good once nobody does. A set that has
// lost somebody is good only when it has held for as long as a verdict takes: where all fall
// within seconds, who fell last was no better than the others. It returns when the next one
// will have; zero: there is none. The lock is held, and there is a map to note it in.
func (s *Node) noteGood(m *moment) (next time.Time) {
	pending := map[string]fewer{}
	for z := range s.fleet.Zones {
		for i := range s.fleet.Zones[z].Names {
			n := &s.fleet.Zones[z].Names[i]
			serving, good := m.healthy(s.fleet.Fleet, n), s.state.LastGood[n.Name]
			if len(serving) == 0 {
				continue
			}
			lost := slices.ContainsFunc(good, func(dc string) bool { return !slices.Contains(serving, dc) })
			before := s.fewer[n.Name]
			switch {
			case !lost, slices.Equal(before.serving, serving) && m.at.Sub(before.since) >= s.fleet.probe.verdict():
				s.state.LastGood[n.Name] = serving
			case slices.Equal(before.serving, serving):
				pending[n.Name] = before
			default:
				pending[n.Name] = fewer{serving, m.at}
			}
			if p, ok := pending[n.Name]; ok {
				if at := p.since.Add(s.fleet.probe.verdict()); next.IsZero() || at.Before(next) {
					next = at
				}
			}
		}
	}
	s.fewer = pending
	return next
}

// healthy are the members of a name that are healthy and that no operator has taken out.
func (m *moment) healthy(f *Fleet, n *Name) (all []string) {
	now := m.statusOf(f, n)
	for i, dc := range f.Datacenters {
		if now[i].healthy && !now[i].away && slices.Contains(n.Members, i) {
			all = append(all, dc.Name)
		}
	}
	return all
}
