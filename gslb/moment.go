package gslb

import (
	"maps"
	"slices"
	"time"
)

// moment is all that what is answered follows from beside the fleet: what is known and
// said of datacenters at one time. That time may be one that is only thought of.
type moment struct {
	at        time.Time
	overrides []Override
	health    map[string]DatacenterHealth
	lastGood  map[string][]string // by name; noted when a view is made
}

// known is what the node knows now, if operators had said that. The lock is held.
func (s *Node) known(at time.Time, overrides []Override) *moment {
	return &moment{at, overrides, s.state.Judged, s.state.LastGood}
}

// imagined is a moment whose views leave no trace.
func (m moment) imagined(overrides []Override) *moment {
	m.overrides, m.lastGood = overrides, maps.Clone(m.lastGood)
	if m.lastGood == nil {
		m.lastGood = map[string][]string{}
	}
	return &m
}

// view is what is answered then.
func (m *moment) view(f *Fleet, metrics *metrics) *view {
	return newView(f, metrics, func(n *Name) []status { return m.statusOf(f, n) })
}

// statusOf is what is known of the datacenters for one name. Who serves is the last good from then on.
func (m *moment) statusOf(f *Fleet, n *Name) []status {
	all := make([]status, len(f.Datacenters))
	var serving []string
	for i, dc := range f.Datacenters {
		mode := effective(m.overrides, m.at, dc.Name, n.Name)
		all[i] = status{
			healthy: (m.health[dc.Name].Up || mode == Up) && mode != Down,
			away:    mode == Drain || mode == Down,
		}
		if all[i].healthy && !all[i].away && slices.Contains(n.Members, i) {
			serving = append(serving, dc.Name)
		}
	}
	if len(serving) > 0 {
		m.lastGood[n.Name] = serving
	}
	for i, dc := range f.Datacenters {
		all[i].lastGood = slices.Contains(m.lastGood[n.Name], dc.Name)
	}
	return all
}
