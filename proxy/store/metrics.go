package store

import (
	"errors"

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
}

func newMetrics(r prometheus.Registerer, s *Store) *metrics {
	m := &metrics{
		open:      prometheus.NewGauge(prometheus.GaugeOpts{Name: "breakwater_store_fills_open", Help: "Transfers into the store that are under way."}),
		fills:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "breakwater_store_fills_total", Help: "Transfers that ended, by result."}, []string{"result"}),
		passed:    prometheus.NewCounter(prometheus.CounterOpts{Name: "breakwater_store_passed_total", Help: "Streams past the store, because the disk refused."}),
		windows:   prometheus.NewCounter(prometheus.CounterOpts{Name: "breakwater_store_windows_total", Help: "Parts of blobs asked for far ahead of their transfer."}),
		rotten:    prometheus.NewCounter(prometheus.CounterOpts{Name: "breakwater_store_rotten_total", Help: "Blobs on disk that were found to be something else, and dropped."}),
		evictions: prometheus.NewCounter(prometheus.CounterOpts{Name: "breakwater_store_evictions_total", Help: "Blobs removed to stay within the budget."}),
	}
	if r != nil {
		r.MustRegister(m.open, m.fills, m.evictions, m.passed, m.rotten, m.windows, prometheus.NewGaugeFunc(
			prometheus.GaugeOpts{Name: "breakwater_store_troubled", Help: "1 while the disk refuses what is pulled."}, func() float64 {
				if s.troubled.Load() {
					return 1
				}
				return 0
			}), prometheus.NewGaugeFunc(
			prometheus.GaugeOpts{Name: "breakwater_store_bytes", Help: "Bytes of the blobs that are held."}, func() float64 {
				s.mu.Lock()
				defer s.mu.Unlock()
				return float64(s.bytes)
			}))
	}
	return m
}

func (m *metrics) count(err error) {
	result := "kept"
	switch {
	case errors.Is(err, ErrWrongContent):
		result = "wrong"
	case err != nil:
		result = "failed"
	}
	m.fills.WithLabelValues(result).Inc()
}
