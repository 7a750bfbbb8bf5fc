// Package traffic knows what goes through an edge: the metrics of its public listener, the
// samples of them that it keeps in memory for its operators, and the fills that are under
// way.
package traffic

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"example.org/breakwater/registry"
)

// Metrics are those of the public listener; proxy/README.md lists them.
type Metrics struct {
	requests *prometheus.CounterVec
	bytes    *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	first    *prometheus.HistogramVec
	webhooks *prometheus.CounterVec
	toPeers  atomic.Int64 // bytes of bodies that other edges were answered
	content  atomic.Int64 // those of them that are content
	aside    atomic.Int64 // bytes for who asks for the edge's health, and for operators
}

// Answer is what is counted of an answer.
type Answer struct {
	Endpoint string
	Kind     string // of the namespace
	Outcome  string
	Status   int           // 0: there was no answer
	Bytes    int64         // of the body
	Took     time.Duration // until its last byte
	Headed   time.Duration // until its header
	Peer     bool          // it is another edge's
	Content  bool          // it is of content: the outcome says where that came from
}

// NewMetrics makes the metrics and registers them; nil: they are counted and not shown.
// draining says whether the edge's health says that it leaves, up whether Harbor's does that it is well.
func NewMetrics(r prometheus.Registerer, draining, up func() bool) *Metrics {
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "breakwater_edge_requests_total",
			Help: "Requests by end point, kind of namespace, outcome and status class."}, []string{"endpoint", "namespace", "outcome", "status"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "breakwater_edge_response_bytes_total",
			Help: "Bytes of response bodies by kind of namespace and outcome."}, []string{"namespace", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "breakwater_edge_request_duration_seconds",
			Help: "Time to the last byte by end point and outcome.", Buckets: prometheus.ExponentialBuckets(0.001, 4, 9)}, []string{"endpoint", "outcome"}),
		first: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "breakwater_edge_time_to_first_byte_seconds",
			Help: "Time to the response's header by end point and outcome.", Buckets: prometheus.ExponentialBuckets(0.0005, 4, 8)}, []string{"endpoint", "outcome"}),
		webhooks: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "breakwater_edge_webhooks_total",
			Help: "Events that Harbor told of, by what became of them."}, []string{"result"}),
	}
	if r != nil {
		// The circuit breaker of Harbor would not do: it opens only when somebody asks for
		// something, and not when the database alone is down.
		r.MustRegister(m.requests, m.bytes, m.seconds, m.first, m.webhooks,
			gauge("breakwater_edge_draining", "1 while the health says that this edge leaves.", draining),
			gauge("breakwater_edge_harbor_up", "Whether the local Harbor says that it is healthy: core, registry, database, redis.", up))
	}
	return m
}

// gauge is 1 while is says so.
func gauge(name, help string, is func() bool) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
		if is() {
			return 1
		}
		return 0
	})
}

// Answered counts an answer.
func (m *Metrics) Answered(a Answer) {
	m.requests.WithLabelValues(a.Endpoint, a.Kind, a.Outcome, registry.StatusClass(a.Status)).Inc()
	m.bytes.WithLabelValues(a.Kind, a.Outcome).Add(float64(a.Bytes))
	m.seconds.WithLabelValues(a.Endpoint, a.Outcome).Observe(a.Took.Seconds())
	if a.Status > 0 {
		m.first.WithLabelValues(a.Endpoint, a.Outcome).Observe(a.Headed.Seconds())
	}
	switch {
	case a.Peer && a.Content:
		m.content.Add(a.Bytes)
		fallthrough
	case a.Peer || a.Endpoint == "hello":
		m.toPeers.Add(a.Bytes)
	case apart[a.Endpoint]:
		m.aside.Add(a.Bytes)
	}
}

// Heard counts an event that Harbor told of.
func (m *Metrics) Heard(result string) { m.webhooks.WithLabelValues(result).Inc() }
