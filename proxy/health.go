package proxy

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"time"
)

// healthDeadline bounds the look at Harbor: the prober waits for it.
const healthDeadline = 400 * time.Millisecond

// Health is the answer of /breakwater/v1/health.
type Health struct {
	Datacenter string    `json:"datacenter"`
	Serving    bool      `json:"serving"` // the edge can do its job for what it holds, whatever its Harbor does
	Harbor     string    `json:"harbor"`  // "up" or "down", by the body of Harbor's own health
	Store      string    `json:"store"`   // "ok"
	Draining   bool      `json:"draining"`
	Since      time.Time `json:"since"` // when this edge started
}

func liveness(w http.ResponseWriter) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, err := io.WriteString(w, "ok\n")
	return err
}

func (h *Handler) health(x *exchange) error {
	draining := h.draining.Load()
	a := Health{Datacenter: h.cfg.Datacenter, Serving: !draining, Harbor: "down", Store: "ok", Draining: draining, Since: h.started.UTC()}
	if h.harborSeen.get(h.cfg.Now, func() bool { return h.harborUp(x.r.Context()) }) {
		a.Harbor = "up"
	}
	x.w.Header().Set("Content-Type", "application/json")
	if !a.Serving {
		x.w.WriteHeader(http.StatusServiceUnavailable)
	}
	return json.NewEncoder(x.w).Encode(a)
}

// lastLook keeps one answer for a short time: however many ask for health,
// Harbor is asked once.
type lastLook struct {
	mu sync.Mutex
	at time.Time // when it began
	up bool
}

const lookFor = time.Second

func (l *lastLook) get(now func() time.Time, look func() bool) bool {
	return l.within(lookFor, now, look)
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
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), healthDeadline)
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
