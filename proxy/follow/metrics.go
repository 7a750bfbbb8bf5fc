package follow

import "github.com/prometheus/client_golang/prometheus"

// metrics count what Harbor was given.
type metrics struct {
	restored *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer, f *Follower) *metrics {
	m := &metrics{
		restored: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "breakwater_edge_harbor_followed_total",
			Help: "Tags that Harbor was given the newest version of: brought where it had none, restored where it had another, deleted."}, []string{"result"}),
	}
	if r != nil {
		r.MustRegister(m.restored, pending{f})
	}
	return m
}

// pending shows what Harbor is yet to be brought to, and what it is brought to no more.
type pending struct{ f *Follower }

var (
	pendingDesc = prometheus.NewDesc("breakwater_edge_harbor_pending", "Tags that Harbor is yet to be given the newest version of, by project.", []string{"project"}, nil)
	oldestDesc  = prometheus.NewDesc("breakwater_edge_harbor_pending_oldest_seconds", "How long Harbor has lacked the newest version of a tag that it is yet to be given; 0: of none.", nil, nil)
	givenUpDesc = prometheus.NewDesc("breakwater_edge_harbor_given_up", "Tags of which Harbor does not keep the newest version: it refuses, or something puts them back.", nil, nil)
)

// Describe implements prometheus.Collector.
func (p pending) Describe(to chan<- *prometheus.Desc) {
	to <- pendingDesc
	to <- oldestDesc
	to <- givenUpDesc
}

// Collect implements prometheus.Collector.
func (p pending) Collect(to chan<- prometheus.Metric) {
	left := p.f.Left()
	for _, project := range append(p.f.cfg.declared(), Others) {
		to <- prometheus.MustNewConstMetric(pendingDesc, prometheus.GaugeValue, float64(left.Projects[project]), project)
	}
	to <- prometheus.MustNewConstMetric(oldestDesc, prometheus.GaugeValue, left.Oldest.Seconds())
	to <- prometheus.MustNewConstMetric(givenUpDesc, prometheus.GaugeValue, float64(left.GivenUp))
}
