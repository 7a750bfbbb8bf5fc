package source

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
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
	said   Condition
	asking chan struct{} // closed when the question that is under way has ended; nil: none is
}

// Condition is how Harbor said it is.
type Condition struct {
	Up         bool
	Since      time.Time         // since when it is up, or is not; zero: it was not asked yet
	Why        string            // it is not up; "" where its components say so
	Components map[string]string // what it says of each: healthy, unhealthy; nil: it does not say
}

const maxComponents = 32 // that are read of a Harbor's health

// NewHealth returns the health of a Harbor. Its questions end with ctx.
func NewHealth(ctx context.Context, harbor *registry.Source, now func() time.Time) *Health {
	return &Health{harbor: harbor, now: now, ctx: ctx}
}

// Up reports whether Harbor said that it is well. Nobody waits for a slow answer:
// then it is what Harbor said before.
func (h *Health) Up() bool { return h.Condition().Up }

// Condition is what Up goes by.
func (h *Health) Condition() Condition {
	h.mu.Lock()
	if t := h.now(); h.asking == nil && t.Sub(h.at) >= HealthFor {
		ended := make(chan struct{})
		h.at, h.asking = t, ended
		go func() {
			said := h.ask(h.ctx)
			h.mu.Lock()
			defer h.mu.Unlock()
			if said.Since = h.said.Since; said.Since.IsZero() || said.Up != h.said.Up {
				said.Since = t
			}
			h.said, h.asking = said, nil
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
	return h.said
}

// ask asks Harbor for its health (GET /api/v2.0/health). Harbor answers 200 even
// when it is not well: the body says, component by component. A registry that is
// no Harbor has no such path, or wants a login for it, and is up when it answers at all.
func (h *Health) ask(ctx context.Context) Condition {
	ctx, cancel := context.WithTimeout(ctx, healthDeadline)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.harbor.URL().String()+"/api/v2.0/health", nil)
	if err != nil {
		return Condition{Why: err.Error()}
	}
	resp, err := h.harbor.Transport().RoundTrip(req)
	if err != nil {
		return Condition{Why: err.Error()}
	}
	defer resp.Body.Close()
	if slices.Contains([]int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound}, resp.StatusCode) {
		return Condition{Up: true}
	}
	var body struct {
		Components []struct{ Name, Status string }
	}
	switch err := json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&body); {
	case resp.StatusCode != http.StatusOK:
		return Condition{Why: "it answers " + resp.Status}
	case err != nil || len(body.Components) == 0:
		return Condition{Why: "it does not answer as Harbor does"}
	}
	said := Condition{Up: true, Components: map[string]string{}}
	for _, c := range body.Components {
		if c.Status != "healthy" && slices.Contains(needed, c.Name) {
			said.Up = false
		}
		if len(said.Components) < maxComponents {
			said.Components[c.Name] = c.Status
		}
	}
	return said
}

// needed are the components without which Harbor is down.
var needed = []string{"core", "registry", "database", "redis"}

// KnowsPeople reports whether Harbor's database answers. Harbor's health would say
// so some seconds late; an API that needs a login and the database says it now
// (GET /api/v2.0/projects). A page, a redirect or a 404 is of what stands before a
// Harbor that is gone; a limiter says nothing against Harbor.
func (h *Health) KnowsPeople(ctx context.Context) bool {
	status, isHarbors := h.askPeople(ctx)
	return status == http.StatusTooManyRequests || status < 500 && isHarbors
}

// HasLostPeople reports whether Harbor's database is seen not to answer. It is not the
// opposite of KnowsPeople: what is no Harbor's answer shows nothing.
func (h *Health) HasLostPeople(ctx context.Context) bool {
	status, _ := h.askPeople(ctx)
	return status == 0 || status >= 500
}

// askPeople asks what needs the database. status is 0 where there is no answer.
func (h *Health) askPeople(ctx context.Context) (status int, isHarbors bool) {
	ctx, cancel := context.WithTimeout(ctx, probeDeadline)
	defer cancel()
	resp, err := h.harbor.API(ctx, "/api/v2.0/projects", url.Values{"page_size": {"1"}})
	switch {
	case errors.Is(err, registry.ErrNoCredentials) && h.ask(h.ctx).Up:
		return http.StatusOK, true
	case err != nil:
		return 0, false
	}
	resp.Body.Close()
	return resp.StatusCode, resp.StatusCode/100 != 3 && registry.IsJSON(resp)
}
