package follow

import "github.com/prometheus/client_golang/prometheus"

// metrics count what Harbor was given.
type metrics struct {
	restored *prometheus.CounterVec
	givenUp  prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		restored: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "breakwater_edge_harbor_followed_total",
			Help: "Tags that Harbor was given the newest version of: brought where it had none, restored where it had another, deleted."}, []string{"result"}),
		givenUp: prometheus.NewGauge(prometheus.GaugeOpts{Name: "breakwater_edge_harbor_given_up",
			Help: "Tags of which Harbor does not keep the newest version: it refuses, or something puts them back."}),
	}
	if r != nil {
		r.MustRegister(m.restored, m.givenUp)
	}
	return m
}
