package proxy

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	livenessPath = "/healthz"
	healthPath   = "/breakwater/v1/health"

	healthDeadline = 400 * time.Millisecond // of a look at Harbor
	healthPatience = 50 * time.Millisecond  // that a prober waits for it: this edge serves whatever Harbor does
	lookFor        = time.Second            // how old a look may be
)

// Health is the answer of /breakwater/v1/health.
type Health struct {
	Datacenter string    `json:"datacenter"`
	Serving    bool      `json:"serving"` // the edge can do its job for what it holds, whatever its Harbor does
	Harbor     string    `json:"harbor"`  // "up" or "down", by the body of Harbor's own health
	Store      string    `json:"store"`   // "ok", or "degraded" while the disk refuses what is pulled: pulls go on past it
	Draining   bool      `json:"draining"`
	Since      time.Time `json:"since"` // when this edge started
}

func liveness(w http.ResponseWriter) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, err := io.WriteString(w, "ok\n")
	return err
}

func (h *Handler) health(x *exchange) error {
	draining := h.draining()
	a := Health{Datacenter: h.cfg.Datacenter, Serving: !draining, Harbor: "down", Store: "ok", Draining: draining, Since: h.started.UTC()}
	if h.seesHarbor() {
		a.Harbor = "up"
	}
	if h.cfg.Store.Degraded() {
		a.Store = "degraded"
	}
	x.w.Header().Set("Content-Type", "application/json")
	if !a.Serving {
		x.w.WriteHeader(http.StatusServiceUnavailable)
	}
	return json.NewEncoder(x.w).Encode(a)
}

func (h *Handler) seesHarbor() bool {
	return h.harborSeen.get(h.cfg.Now, func() bool { return h.harborUp(h.ctx) })
}

// gaugeHarbor tells what the health tells. The breaker of Harbor does not: it opens
// only when somebody asks for something, and not when the database alone is down.
func (h *Handler) gaugeHarbor() {
	if h.cfg.Metrics == nil {
		return
	}
	h.cfg.Metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "breakwater_edge_harbor_up",
		Help: "Whether the local Harbor says that it is healthy: core, registry, database, redis."}, func() float64 {
		if h.seesHarbor() {
			return 1
		}
		return 0
	}))
}

// watched is what was seen of Harbor last: however many ask for health, it is asked
// once a second, and who asks waits for no answer that is long in coming.
type watched struct {
	mu   sync.Mutex
	at   time.Time // when the last look began
	up   bool
	look chan struct{} // closed when the look that goes on has ended; nil: none does
}

func (w *watched) get(now func() time.Time, look func() bool) bool {
	w.mu.Lock()
	if t := now(); w.look == nil && t.Sub(w.at) >= lookFor {
		ended := make(chan struct{})
		w.at, w.look = t, ended
		go func() {
			up := look()
			w.mu.Lock()
			defer w.mu.Unlock()
			w.up, w.look = up, nil
			close(ended)
		}()
	}
	going := w.look
	w.mu.Unlock()
	if going != nil {
		timer := time.NewTimer(healthPatience)
		defer timer.Stop()
		select {
		case <-going:
		case <-timer.C:
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.up
}

// lastLook keeps one answer for a short time: of those who ask, one looks for all.
type lastLook struct {
	mu sync.Mutex
	at time.Time // when it began
	up bool
}

// within is for a caller who needs an answer of no more than an age. Of those who
// waited for an older look, one looks for all.
func (l *lastLook) within(age time.Duration, now func() time.Time, look func() bool) bool {
	asked := now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if asked.Sub(l.at) >= age {
		l.at = now()
		l.up = look()
	}
	return l.up
}

// harborUp asks Harbor for its health. Harbor answers 200 even when it is not
// well (/api/v2.0/health): the body says, component by component. A registry
// that is no Harbor has no such path, and is up when it answers at all.
func (h *Handler) harborUp(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, healthDeadline)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.cfg.Harbor.URL().String()+"/api/v2.0/health", nil)
	if err != nil {
		return false
	}
	resp, err := h.cfg.Harbor.Transport().RoundTrip(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		return true
	}
	var body struct {
		Components []struct{ Name, Status string }
	}
	if resp.StatusCode != http.StatusOK || json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&body) != nil {
		return false
	}
	for _, c := range body.Components {
		switch c.Name {
		case "core", "registry", "database", "redis":
			if c.Status != "healthy" {
				return false
			}
		}
	}
	return len(body.Components) > 0
}
