package warm

import "github.com/prometheus/client_golang/prometheus"

// What becomes of images, in metrics.
const (
	resultWarmed = "warmed"
	resultFailed = "failed"
	resultNoRoom = "no_room" // the store has none to spare
)

type metrics struct {
	images *prometheus.CounterVec
	bytes  prometheus.Counter
}

func newMetrics(r prometheus.Registerer, w *Warmer) *metrics {
	m := &metrics{
		images: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "breakwater_edge_warm_images_total",
			Help: "Images that were to be in the store before they are asked for, by why and by what became of them."}, []string{"kind", "result"}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{Name: "breakwater_edge_warm_bytes_total",
			Help: "Bytes of blobs that were brought before they were asked for."}),
	}
	for _, kind := range kinds {
		for _, result := range []string{resultWarmed, resultFailed, resultNoRoom} {
			m.images.WithLabelValues(kind, result) // an increase from nothing is none to Prometheus
		}
	}
	if r != nil {
		r.MustRegister(m.images, m.bytes, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "breakwater_edge_warm_pending",
			Help: "Images that wait to be warmed, or are being."}, func() float64 { return float64(w.pending()) }))
	}
	return m
}

func (w *Warmer) pending() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.jobs)
}
