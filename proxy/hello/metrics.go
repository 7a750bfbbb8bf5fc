package hello

import "github.com/prometheus/client_golang/prometheus"

// metrics say how the peers are seen.
type metrics struct {
	state *prometheus.GaugeVec
	clock *prometheus.GaugeVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		state: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "breakwater_edge_peer_state",
			Help: "1 for the state in which this edge sees a peer, and 0 for the others."}, []string{"peer", "state"}),
		clock: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "breakwater_edge_peer_clock_difference_seconds",
			Help: "How far the clock of a peer is ahead of this edge's."}, []string{"peer"}),
	}
	if r != nil {
		r.MustRegister(m.state, m.clock)
	}
	return m
}

// forget is for a peer that is none any more.
func (m *metrics) forget(datacenter string) {
	for _, s := range States {
		m.state.DeleteLabelValues(datacenter, string(s))
	}
	m.clock.DeleteLabelValues(datacenter)
}

func (m *metrics) is(v View) {
	for _, s := range States {
		value := 0.0
		if s == v.State {
			value = 1
		}
		m.state.WithLabelValues(v.Datacenter, string(s)).Set(value)
	}
	if v.Answered.IsZero() { // nobody knows
		m.clock.DeleteLabelValues(v.Datacenter)
		return
	}
	m.clock.WithLabelValues(v.Datacenter).Set(v.Clock)
}
