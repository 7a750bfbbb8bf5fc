package gslb

import (
	"slices"
	"time"
)

// moment is all that what is answered follows from beside the fleet: what is known and
// said of datacenters at one time. That time may be one that is only thought of.
type moment struct {
	at        time.Time
	overrides []Override
	health    map[string]DatacenterHealth
	lastGood  map[string][]string // by name
}

// known is what the node knows now, if operators had said that. The lock is held.
func (s *Node) known(at time.Time, overrides []Override) *moment {
	return &moment{at, overrides, s.state.Judged, s.state.LastGood}
}

// imagined is the moment if operators had said that.
func (m moment) imagined(overrides []Override) *moment {
	m.overrides = overrides
	return &m
}

// view is what is answered then.
func (m *moment) view(f *Fleet, metrics *metrics) *view {
	return newView(f, metrics, func(n *Name) []status { return m.statusOf(f, n) })
}

// statusOf is what is known of the datacenters for one name.
func (m *moment) statusOf(f *Fleet, n *Name) []status {
	all := make([]status, len(f.Datacenters))
	for i, dc := range f.Datacenters {
		mode := effective(m.overrides, m.at, dc.Name, n.Name)
		all[i] = status{
			healthy:  (m.health[dc.Name].Up || mode == Up) && mode != Down,
			away:     mode == Drain || mode == Down,
			lastGood: slices.Contains(m.lastGood[n.Name], dc.Name),
		}
		if mode != Up {
			all[i].dead = m.health[dc.Name].Dead
		}
	}
	return all
}
