package proxy

import (
	"encoding/json"
	"io"
	"net/http"
	"time"
)

const (
	livenessPath = "/healthz"
	// HealthPath is where an edge says how it is (Health), to everybody.
	HealthPath = "/breakwater/v1/health"
)

// Health is the answer of HealthPath.
type Health struct {
	Datacenter string    `json:"datacenter"`
	Serving    bool      `json:"serving"` // the edge can do its job for what it holds, whatever its Harbor does
	Harbor     string    `json:"harbor"`  // "up" or "down", by the body of Harbor's own health
	Store      string    `json:"store"`   // "ok"; "degraded" while the disk takes nothing, "hanging" while it does not answer: pulls go on past it
	Draining   bool      `json:"draining"`
	Since      time.Time `json:"since"` // when this edge started
}

// serveHealth answers that the process lives, or how it is.
func (h *Handler) serveHealth(w *response, r *request) error {
	w.outcome = outcomeOwn
	if r.http.URL.Path == livenessPath {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, err := io.WriteString(w, "ok\n")
		return err
	}
	draining := h.drain.Draining()
	a := Health{Datacenter: h.cfg.Datacenter, Serving: !draining, Harbor: "down", Store: "ok", Draining: draining, Since: h.started.UTC()}
	if h.health.Up() {
		a.Harbor = "up"
	}
	switch {
	case h.cfg.Store.Hanging() || h.cfg.State.Hanging():
		a.Store = "hanging"
	case h.cfg.Store.Degraded():
		a.Store = "degraded"
	}
	w.Header().Set("Content-Type", "application/json")
	if !a.Serving {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	return json.NewEncoder(w).Encode(a)
}
