package source

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"

	"example.org/breakwater/registry"
)

// Metrics of the sources; docs/metrics.md lists them.
type Metrics struct {
	requests *prometheus.CounterVec
	bytes    *prometheus.CounterVec
	down     *prometheus.GaugeVec
	rateLeft *prometheus.GaugeVec
	refused  *prometheus.GaugeVec
}

// NewMetrics makes the metrics and registers them; nil: they are counted and not shown.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "breakwater_edge_source_requests_total",
			Help: "Requests to a source by status class; 0xx: it did not answer."}, []string{"source", "status"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "breakwater_edge_source_bytes_total",
			Help: "Bytes of bodies that came from a source."}, []string{"source"}),
		down: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "breakwater_edge_source_down",
			Help: "1 while the circuit breaker of a source is open: it is asked last, or not at all."}, []string{"source"}),
		rateLeft: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "breakwater_edge_upstream_rate_remaining",
			Help: "Pulls that an upstream said are left of its limit."}, []string{"source"}),
		refused: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "breakwater_edge_source_credentials_refused",
			Help: "1 while a source refuses the credentials that the edge has for it."}, []string{"source"}),
	}
	if r != nil {
		r.MustRegister(m.requests, m.bytes, m.down, m.rateLeft, m.refused)
	}
	return m
}

// Counters are what was asked of the sources, and what came from them.
func (m *Metrics) Counters() []prometheus.Collector {
	return []prometheus.Collector{m.requests, m.bytes}
}

func (m *Metrics) breaker(source string, open bool) {
	value := 0.0
	if open {
		value = 1
	}
	m.down.WithLabelValues(source).Set(value)
}

// credentials shows whether a source refuses those that the edge has for it.
func (m *Metrics) credentials(s *Source) {
	if s.Registry.Anonymous() {
		return
	}
	value := 0.0
	if s.Registry.CredentialsRefused() {
		value = 1
	}
	m.refused.WithLabelValues(s.Name).Set(value)
}

// forget takes away what was said of how a source is doing.
func (m *Metrics) forget(source string) {
	m.down.DeleteLabelValues(source)
	m.rateLeft.DeleteLabelValues(source)
	m.refused.DeleteLabelValues(source)
}

// asked counts a request; answer is nil where there was none.
func (m *Metrics) asked(source string, answer *http.Response) {
	status := 0
	if answer != nil {
		status = answer.StatusCode
	}
	m.requests.WithLabelValues(source, registry.StatusClass(status)).Inc()
}
