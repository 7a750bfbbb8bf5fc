package source

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"example.org/breakwater/registry"
)

const (
	healthDeadline = 400 * time.Millisecond // of a question for Harbor's health
	healthPatience = 50 * time.Millisecond  // that a prober waits for it: the edge serves whatever Harbor does
)

// HealthFor is how long an answer about Harbor's health is good.
const HealthFor = time.Second

// Health watches how the local Harbor says it is. However many ask, Harbor is asked
// once a second at most. Safe for concurrent use.
type Health struct {
	harbor *registry.Source
	now    func() time.Time
	ctx    context.Context // of the questions

	mu     sync.Mutex
	at     time.Time // when the last question was asked
	up     bool
	asking chan struct{} // closed when the question that is under way has ended; nil: none is
}

// NewHealth returns the health of a Harbor. Its questions end with ctx.
func NewHealth(ctx context.Context, harbor *registry.Source, now func() time.Time) *Health {
	return &Health{harbor: harbor, now: now, ctx: ctx}
}

// Up reports whether Harbor said that it is well. Nobody waits for a slow answer:
// then it is what Harbor said before.
func (h *Health) Up() bool {
	h.mu.Lock()
	if t := h.now(); h.asking == nil && t.Sub(h.at) >= HealthFor {
		ended := make(chan struct{})
		h.at, h.asking = t, ended
		go func() {
			up := h.ask(h.ctx)
			h.mu.Lock()
			defer h.mu.Unlock()
			h.up, h.asking = up, nil
			close(ended)
		}()
	}
	asking := h.asking
	h.mu.Unlock()
	if asking != nil {
		timer := time.NewTimer(healthPatience)
		defer timer.Stop()
		select {
		case <-asking:
		case <-timer.C:
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.up
}

// ask asks Harbor for its health (GET /api/v2.0/health). Harbor answers 200 even
// when it is not well: the body says, component by component. A registry that is
// no Harbor has no such path, and is up when it answers at all.
func (h *Health) ask(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, healthDeadline)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.harbor.URL().String()+"/api/v2.0/health", nil)
	if err != nil {
		return false
	}
	resp, err := h.harbor.Transport().RoundTrip(req)
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

// KnowsPeople reports whether Harbor's database answers. Harbor's health would say
// so some seconds late; an API that needs a login and the database says it now
// (GET /api/v2.0/projects). A page, a redirect or a 404 is of what stands before a
// Harbor that is gone; a limiter says nothing against Harbor.
func (h *Health) KnowsPeople(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, probeDeadline)
	defer cancel()
	resp, err := h.harbor.API(ctx, "/api/v2.0/projects", url.Values{"page_size": {"1"}})
	if errors.Is(err, registry.ErrNoCredentials) {
		return h.ask(h.ctx)
	}
	if err != nil {
		return false
	}
	resp.Body.Close()
	isHarbors := resp.StatusCode/100 != 3 && registry.IsJSON(resp)
	return resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode < 500 && isHarbors
}
