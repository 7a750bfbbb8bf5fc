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
		r.MustRegister(m.told, m.hearing, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "breakwater_edge_announcements_pending",
			Help: "Positions of this edge's log that the edge which is behind most has not heard."}, a.behind))
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

// behind is how much the peer that is behind most has not heard.
func (a *Announcer) behind() (most float64) {
	_, _, last := a.cfg.Ledger.Since(0, 0)
	for _, s := range *a.senders.Load() {
		s.mu.Lock()
		most = max(most, float64(last-min(last, s.heard)))
		s.mu.Unlock()
	}
	return most
}
