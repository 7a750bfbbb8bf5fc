package store

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the store's metrics. docs/metrics.md lists them.
type metrics struct {
	open      prometheus.Gauge
	fills     *prometheus.CounterVec
	evictions prometheus.Counter
	passed    prometheus.Counter
	rotten    prometheus.Counter
	windows   prometheus.Counter
	parts     *prometheus.CounterVec
	all       []prometheus.Collector
}

// newMetrics makes the store's metrics, and registers them with r unless r is nil.
func newMetrics(r prometheus.Registerer, s *Store) (*metrics, error) {
	m := &metrics{
		open:      prometheus.NewGauge(prometheus.GaugeOpts{Name: "breakwater_store_fills_open", Help: "Transfers into the store that are under way."}),
		fills:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "breakwater_store_fills_total", Help: "Transfers that ended, by result."}, []string{"result"}),
		passed:    prometheus.NewCounter(prometheus.CounterOpts{Name: "breakwater_store_passed_total", Help: "Streams past the store, because it has no room or its disk refuses."}),
		windows:   prometheus.NewCounter(prometheus.CounterOpts{Name: "breakwater_store_windows_total", Help: "Parts of blobs that were asked for far ahead of their fill."}),
		parts:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "breakwater_store_parts_total", Help: "Parts of blobs that came beside others of the same fill, or were to, by result."}, []string{"result"}),
		rotten:    prometheus.NewCounter(prometheus.CounterOpts{Name: "breakwater_store_rotten_total", Help: "Held blobs that no longer matched their digest, or could not be read to their end, and were dropped."}),
		evictions: prometheus.NewCounter(prometheus.CounterOpts{Name: "breakwater_store_evictions_total", Help: "Blobs removed to stay within the budget."}),
	}
	for _, result := range []string{"kept", "wrong", "failed"} { // a series that begins with 1 shows no increase, so each begins with 0
		m.fills.WithLabelValues(result)
	}
	for _, result := range []string{"complete", "broke", "refused"} {
		m.parts.WithLabelValues(result)
	}
	m.all = []prometheus.Collector{m.open, m.fills, m.evictions, m.passed, m.rotten, m.windows, m.parts, prometheus.NewGaugeFunc(
		prometheus.GaugeOpts{Name: "breakwater_store_degraded", Help: "1 while the disk refuses what is pulled."}, func() float64 {
			return bit(s.Degraded())
		}), prometheus.NewGaugeFunc(
		prometheus.GaugeOpts{Name: "breakwater_store_hanging", Help: "1 while the disk does not answer, and is not asked."}, func() float64 { return bit(s.Hanging()) }), prometheus.NewGaugeFunc(
		prometheus.GaugeOpts{Name: "breakwater_store_bytes", Help: "Bytes of the blobs that are held."}, func() float64 {
			s.mu.Lock()
			defer s.mu.Unlock()
			return float64(s.blobs.bytes)
		})}
	if r == nil {
		return m, nil
	}
	for i, c := range m.all {
		if err := r.Register(c); err != nil {
			for _, c := range m.all[:i] {
				r.Unregister(c)
			}
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}

// bit is 1 for true.
func bit(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// unregister unregisters the metrics, so that another store can be opened with the same
// Registerer.
func (m *metrics) unregister(r prometheus.Registerer) {
	if r == nil {
		return
	}
	for _, c := range m.all {
		r.Unregister(c)
	}
}

// count counts a fill that ended with err.
func (m *metrics) count(err error) {
	result := "kept"
	switch {
	case errors.Is(err, errBehind): // it brought no byte
		return
	case errors.Is(err, ErrWrongContent):
		result = "wrong"
	case err != nil:
		result = "failed"
	}
	m.fills.WithLabelValues(result).Inc()
}
