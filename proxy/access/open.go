package access

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"time"

	"example.org/breakwater/registry"
)

// openness knows whether the registry behind the edge is open: whether it answers clients
// without credentials. Harbor does not. A plain registry often does, and then there is no
// permission to check. The last answer holds until there is a new one.
type openness struct {
	harbor *registry.Source
	now    func() time.Time

	mu      sync.Mutex
	open    bool
	decided bool      // the registry has answered once
	probing bool      // a probe is under way
	until   time.Time // when the next probe is due
}

const (
	openFor       = time.Minute
	closedFor     = 10 * time.Minute
	undecidedFor  = 5 * time.Second
	probeDeadline = 2 * time.Second
)

// known returns at once what the last probe found, and starts a new probe in the background
// when one is due. Only before the registry's first answer does a request wait for a probe.
func (o *openness) known(ctx context.Context) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.now().Before(o.until) || o.probing {
		return o.open
	}
	if !o.decided {
		o.note(o.probe(ctx))
		return o.open
	}
	o.probing = true
	go func() {
		status := o.probe(context.WithoutCancel(ctx))
		o.mu.Lock()
		defer o.mu.Unlock()
		o.probing = false
		o.note(status)
	}()
	return o.open
}

// note records a probe's status. o.mu is locked.
func (o *openness) note(status int) {
	switch status {
	case http.StatusOK:
		o.open, o.decided, o.until = true, true, o.now().Add(openFor)
	case http.StatusUnauthorized, http.StatusForbidden:
		o.open, o.decided, o.until = false, true, o.now().Add(closedFor)
	default:
		o.until = o.now().Add(undecidedFor)
	}
}

// probe asks for the API's root without credentials, and returns the status, or 0 for no
// answer. A 200 counts only with the JSON object that the distribution API sends there,
// because a login page is no open registry.
func (o *openness) probe(ctx context.Context) int {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeDeadline)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, o.harbor.URL().String()+"/v2/", nil)
	if err != nil {
		return 0
	}
	resp, err := o.harbor.Transport().RoundTrip(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return resp.StatusCode
	}
	var body map[string]any
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<10)).Decode(&body); err != nil || !registry.IsJSON(resp) {
		return 0
	}
	return http.StatusOK
}
