package announce

import "github.com/prometheus/client_golang/prometheus"

// metrics count what edges tell each other.
type metrics struct {
	told    *prometheus.CounterVec
	hearing *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer, a *Announcer) *metrics {
	m := &metrics{
		told:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "breakwater_edge_announced_total", Help: "Versions of tags told to other edges, and tries that failed."}, []string{"datacenter", "result"}),
		hearing: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "breakwater_edge_announcements_heard_total", Help: "Versions of tags that other edges announced, by what became of them."}, []string{"result"}),
	}
	if r != nil {
		r.MustRegister(m.told, m.hearing, backlog{a})
	}
	return m
}

func (m *metrics) sent(datacenter, result string) { m.told.WithLabelValues(datacenter, result).Inc() }

func (m *metrics) sentRecords(datacenter string, n int) {
	m.told.WithLabelValues(datacenter, "sent").Add(float64(n))
}

func (m *metrics) heard(result string) { m.hearing.WithLabelValues(result).Inc() }

func (m *metrics) heardRecords(result string, n int) {
	m.hearing.WithLabelValues(result).Add(float64(n))
}

// backlog shows what each peer has not heard.
type backlog struct{ a *Announcer }

var (
	pendingDesc = prometheus.NewDesc("breakwater_edge_announcements_pending", "Positions of this edge's log that a peer has not heard.", []string{"peer"}, nil)
	waitingDesc = prometheus.NewDesc("breakwater_edge_announcements_waiting_seconds", "How long a peer has not heard everything; 0: it has.", []string{"peer"}, nil)
)

// Describe implements prometheus.Collector.
func (b backlog) Describe(to chan<- *prometheus.Desc) { to <- pendingDesc; to <- waitingDesc }

// Collect implements prometheus.Collector.
func (b backlog) Collect(to chan<- prometheus.Metric) {
	for _, l := range b.a.Backlogs() {
		to <- prometheus.MustNewConstMetric(pendingDesc, prometheus.GaugeValue, float64(l.Positions), l.Datacenter)
		to <- prometheus.MustNewConstMetric(waitingDesc, prometheus.GaugeValue, l.Waiting.Seconds(), l.Datacenter)
	}
}
