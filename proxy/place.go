package proxy

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"example.org/breakwater/registry"
)

// placeKind says what a place's answers mean.
type placeKind int

const (
	placeHarbor   placeKind = iota // the local Harbor
	placePeer                      // another datacenter's edge: its own store and Harbor
	placeUpstream                  // the registry outside the fleet that a cache is of
)

// place is somewhere that content may be fetched from, and how it has been doing.
type place struct {
	name     string // in logs, Cache-Status and explanations: harbor, peer-mad1, upstream-quay.io
	kind     placeKind
	registry *registry.Source
	token    func() (string, error) // a peer's; nil: the registry's own credentials
	now      func() time.Time
	ctx      context.Context // of the probes
	metrics  *metrics

	mu      sync.Mutex
	probing bool
	open    bool                 // the breaker: the last probe failed
	paused  time.Time            // an upstream has had enough until then
	probed  time.Time            // when the last probe ended
	took    [takes]time.Duration // its last answers' headers
	answers int
}

const takes = 64

const (
	probeDeadline = time.Second
	probeFirst    = time.Second // between two probes of a place that is down; doubled up to
	probeLast     = 15 * time.Second
	probePause    = time.Second // between two suspicions that are looked into
	pauseDefault  = time.Minute // after a 429 that names no time
	pauseMost     = time.Hour
)

// usable reports whether the place may be asked now without waiting in vain.
func (p *place) usable() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.open && !p.now().Before(p.paused)
}

// limited returns what a place that has had enough is known to say, nil for others.
func (p *place) limited() *registry.Error {
	p.mu.Lock()
	defer p.mu.Unlock()
	left := p.paused.Sub(p.now())
	if left <= 0 {
		return nil
	}
	e := tooMany(left)
	e.Cause = fmt.Errorf("%s asked for a pause", p.name)
	return e
}

func tooMany(after time.Duration) *registry.Error {
	e := registry.Errorf(registry.CodeTooManyRequests, "too many requests to the upstream; try again later")
	e.RetryAfter = after
	return e
}

// showKey adds what shows a peer that one of the fleet's edges asks; nothing where
// this edge's certificate does.
func (p *place) showKey(h http.Header) error {
	if p.token == nil {
		return nil
	}
	token, err := p.token()
	if err == nil {
		h.Set("Authorization", "Bearer "+token)
	}
	return err
}

// do asks the place, and returns its answer as it is, or why there was none.
// deadline bounds the wait for the answer's header; 0: as long as ctx allows.
// What an answer says of the place as a whole is noted.
func (p *place) do(ctx context.Context, req registry.Request, header http.Header, deadline time.Duration) (*http.Response, error) {
	if p.kind == placeUpstream {
		if e := p.limited(); e != nil {
			return nil, e
		}
	}
	if p.token != nil {
		header = header.Clone()
		if err := p.showKey(header); err != nil {
			return nil, dontKnow(err)
		}
	}
	bounded, cancel := context.WithCancelCause(ctx)
	if deadline > 0 {
		timer := time.AfterFunc(deadline, func() { cancel(fmt.Errorf("%s did not answer for %v", p.name, deadline)) })
		defer timer.Stop()
	}
	begun := p.now()
	resp, err := p.registry.Do(bounded, req, header)
	p.metrics.askedOf(p.name, resp)
	if err != nil {
		cause := context.Cause(bounded)
		cancel(nil)
		if ctx.Err() == nil {
			p.suspect()
		}
		if cause != nil && ctx.Err() == nil {
			return nil, dontKnow(cause)
		}
		return nil, err
	}
	p.remember(p.now().Sub(begun))
	p.note(resp)
	if isPage(resp) {
		resp.Body.Close()
		cancel(nil)
		return nil, dontKnow(fmt.Errorf("%s sent a page", p.name))
	}
	resp.Body = &cancelingBody{resp.Body, cancel, p.metrics.fetched.WithLabelValues(p.name)}
	return resp, nil
}

// isPage reports whether an answer is a login page or the like, whatever was
// asked for: no registry's word, least of all that a repo holds something.
func isPage(resp *http.Response) bool {
	return resp.StatusCode == http.StatusOK && strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") && resp.Header.Get("Docker-Content-Digest") == ""
}

func (p *place) remember(took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.took[p.answers%takes] = took
	p.answers++
}

// usual is what 95 of 100 of the place's last answers took at most.
func (p *place) usual() time.Duration {
	p.mu.Lock()
	took := slices.Clone(p.took[:min(p.answers, takes)])
	p.mu.Unlock()
	if len(took) == 0 {
		return 0
	}
	slices.Sort(took)
	return took[len(took)*95/100]
}

// note reads off an answer how the place as a whole is doing.
func (p *place) note(resp *http.Response) {
	switch {
	case resp.StatusCode == http.StatusBadGateway || resp.StatusCode == http.StatusServiceUnavailable || resp.StatusCode == http.StatusGatewayTimeout:
		p.suspect()
	case p.kind == placeUpstream && resp.StatusCode == http.StatusTooManyRequests:
		p.pause(registry.RetryAfter(resp.Header.Get("Retry-After"), p.now()))
	}
	if left, ok := rateLeft(resp.Header); ok && p.kind == placeUpstream {
		p.metrics.rateLeft.WithLabelValues(p.name).Set(float64(left))
		if left == 0 {
			p.pause(0)
		}
	}
}

// pause leaves the place alone for a while: it said that it has had enough.
func (p *place) pause(d time.Duration) {
	if d <= 0 {
		d = pauseDefault
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.paused = p.now().Add(min(d, pauseMost))
}

// rateLeft reads "ratelimit-remaining: 76;w=21600", as Docker Hub says it.
func rateLeft(h http.Header) (left int, ok bool) {
	text, _, _ := strings.Cut(h.Get("Ratelimit-Remaining"), ";")
	left, err := strconv.Atoi(strings.TrimSpace(text))
	return left, err == nil && left >= 0
}

// suspect looks into a place that failed a request. One repo's answer says
// nothing of the place: a probe of its own decides whether the breaker opens,
// and more of them when it closes again.
func (p *place) suspect() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.probing || p.now().Sub(p.probed) < probePause {
		return
	}
	p.probing = true
	go p.probeUntilUp()
}

func (p *place) probeUntilUp() {
	for wait := probeFirst; ; wait = min(2*wait, probeLast) {
		up := p.probe()
		p.mu.Lock()
		p.open, p.probed, p.probing = !up, p.now(), !up
		p.mu.Unlock()
		p.metrics.breaker(p.name, !up)
		if up {
			return
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-p.ctx.Done():
			timer.Stop()
			return
		}
	}
}

// probe asks for the registry's root, which needs no repo, no credentials and no
// database: whatever it says, short of a server error, the place is there.
func (p *place) probe() bool {
	ctx, cancel := context.WithTimeout(p.ctx, probeDeadline)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.registry.URL().String()+"/v2/", nil)
	if err != nil {
		return false
	}
	resp, err := p.registry.Transport().RoundTrip(req)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode < 500
}

// cancelingBody ends its request's context when it is closed, and counts what is read of it.
type cancelingBody struct {
	body   io.ReadCloser
	cancel context.CancelCauseFunc
	read   prometheus.Counter
}

// Read implements io.Reader.
func (b *cancelingBody) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	b.read.Add(float64(n))
	return n, err
}

// Close implements io.Closer.
func (b *cancelingBody) Close() error {
	err := b.body.Close()
	b.cancel(nil)
	return err
}
