package store

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of the store; README.md lists them.
type metrics struct {
	open      prometheus.Gauge
	fills     *prometheus.CounterVec
	evictions prometheus.Counter
	passed    prometheus.Counter
	rotten    prometheus.Counter
	windows   prometheus.Counter
	all       []prometheus.Collector
}

func newMetrics(r prometheus.Registerer, s *Store) (*metrics, error) {
	m := &metrics{
		open:      prometheus.NewGauge(prometheus.GaugeOpts{Name: "breakwater_store_fills_open", Help: "Transfers into the store that are under way."}),
		fills:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "breakwater_store_fills_total", Help: "Transfers that ended, by result."}, []string{"result"}),
		passed:    prometheus.NewCounter(prometheus.CounterOpts{Name: "breakwater_store_passed_total", Help: "Streams past the store, because the disk refused."}),
		windows:   prometheus.NewCounter(prometheus.CounterOpts{Name: "breakwater_store_windows_total", Help: "Parts of blobs asked for far ahead of their transfer."}),
		rotten:    prometheus.NewCounter(prometheus.CounterOpts{Name: "breakwater_store_rotten_total", Help: "Blobs on disk that were found to be something else, and dropped."}),
		evictions: prometheus.NewCounter(prometheus.CounterOpts{Name: "breakwater_store_evictions_total", Help: "Blobs removed to stay within the budget."}),
	}
	for _, result := range []string{"kept", "wrong", "failed"} { // counted from 0: a series that begins with 1 has not increased
		m.fills.WithLabelValues(result)
	}
	m.all = []prometheus.Collector{m.open, m.fills, m.evictions, m.passed, m.rotten, m.windows, prometheus.NewGaugeFunc(
		prometheus.GaugeOpts{Name: "breakwater_store_degraded", Help: "1 while the disk refuses what is pulled."}, func() float64 {
			if s.Degraded() {
				return 1
			}
			return 0
		}), prometheus.NewGaugeFunc(
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

// unregister lets the next store that is opened count in the same place.
func (m *metrics) unregister(r prometheus.Registerer) {
	if r == nil {
		return
	}
	for _, c := range m.all {
		r.Unregister(c)
	}
}

func (m *metrics) count(err error) {
	result := "kept"
	switch {
	case errors.Is(err, errBehind): // it brought nothing
		return
	case errors.Is(err, ErrWrongContent):
		result = "wrong"
	case err != nil:
		result = "failed"
	}
	m.fills.WithLabelValues(result).Inc()
}
