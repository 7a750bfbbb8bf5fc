package touch

import "github.com/prometheus/client_golang/prometheus"

// What becomes of touches, in metrics.
const (
	resultTouched = "touched"
	resultKnown   = "known"   // Harbor had counted a pull already
	resultAbsent  = "absent"  // Harbor does not hold it
	resultHealed  = "healed"  // it did not, clients got it past it, and it was pulled through it
	resultRefused = "refused" // it does not let the edge: tried again
	resultFailed  = "failed"  // it cannot say: tried again
	resultDropped = "dropped" // there was too much
)

// metrics count what Harbor is shown.
type metrics struct{ touched *prometheus.CounterVec }

func newMetrics(r prometheus.Registerer, t *Toucher) *metrics {
	m := &metrics{prometheus.NewCounterVec(prometheus.CounterOpts{Name: "breakwater_edge_touches_total",
		Help: "Pulls that Harbor's retention was shown because clients were not served by Harbor, by what became of them."}, []string{"result"})}
	for _, result := range []string{resultTouched, resultKnown, resultAbsent, resultHealed, resultRefused, resultFailed, resultDropped} {
		m.touched.WithLabelValues(result) // an increase from nothing is none to Prometheus
	}
	if r != nil {
		r.MustRegister(m.touched,
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "breakwater_edge_touches_pending", Help: "Artifacts whose pulls Harbor's retention has not been shown."},
				func() float64 { pending, _ := t.Owed(); return float64(pending) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "breakwater_edge_touches_untold", Help: "Artifacts of whose pulls the edge that is behind most has not heard."},
				func() float64 { return float64(t.untold()) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "breakwater_edge_touches_oldest_seconds", Help: "Age of the oldest pull that Harbor's retention has not been shown; 0: there is none."},
				func() float64 { _, age := t.Owed(); return age }))
	}
	return m
}

// Owed is how many artifacts Harbor has not been shown, and for how long, in s.
func (t *Toucher) Owed() (n int, age float64) {
	if t == nil {
		return 0, 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.cfg.Now().UnixMilli()
	for _, e := range t.entries {
		if e.Owed {
			n, age = n+1, max(age, float64(now-e.Since)/1000)
		}
	}
	return n, age
}

// untold is how many artifacts some peer has not heard of.
func (t *Toucher) untold() (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	level := t.level()
	for _, e := range t.entries {
		if e.Position > level {
			n++
		}
	}
	return n
}
