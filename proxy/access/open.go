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

// openness knows whether the registry behind the edge asks anybody for
// anything. Harbor always does; a plain registry often does not, and then there
// is no permission to check. The last answer holds while there is no new one.
type openness struct {
	harbor *registry.Source
	now    func() time.Time

	mu      sync.Mutex
	open    bool
	decided bool // it has answered once
	probing bool
	until   time.Time
}

const (
	openFor       = time.Minute
	closedFor     = 10 * time.Minute
	undecidedFor  = 5 * time.Second
	probeDeadline = 2 * time.Second
)

// known answers at once with what was last seen, and looks again behind the
// request's back; only before the first answer does a request wait for it.
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

// probe asks for the API's root without credentials, and believes a 200 only
// with the JSON object that the distribution API answers there: a login page is
// no open registry.
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
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<10)).Decode(&body); err != nil || !isJSON(resp) {
		return 0
	}
	return http.StatusOK
}
