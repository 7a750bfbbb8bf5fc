package source

import (
	"cmp"
	"context"
	"net/http"
	"time"
)

const (
	probeDeadline = time.Second
	probeFirst    = time.Second // between two probes of a source that is down; doubled up to
	probeLast     = 15 * time.Second
	probePause    = time.Second // between two suspicions that are probed
)

// Usable reports whether the source may be asked now without waiting in vain: its
// circuit breaker is closed. One that has asked for a pause says so at once (Limited).
func (s *Source) Usable() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.open
}

// SeenDown reports whether the edge itself sees that the source is down: its circuit
// breaker is open, or a probe fails now. That one request failed is no such sight.
func (s *Source) SeenDown() bool {
	s.mu.Lock()
	open := s.open
	s.mu.Unlock()
	return open || !s.probe()
}

// Suspect probes a source that failed a request. One repo's answer says nothing of
// the source: a probe decides whether the circuit breaker opens, and more probes
// decide when it closes again.
func (s *Source) Suspect() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.probing || s.Now().Sub(s.probed) < probePause {
		return
	}
	s.probing = true
	s.Registry.CloseIdleConnections() // they may be what is dead
	go s.probeUntilUp(s.turn)
}

// probeUntilUp probes until the source is up, or something else than it was at that turn.
func (s *Source) probeUntilUp(turn int) {
	for wait := probeFirst; ; wait = min(2*wait, probeLast) {
		if up := s.probe(); !s.probedAt(turn, up) || up {
			return
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-s.ctx.Done():
			timer.Stop()
			return
		}
	}
}

// probedAt notes what a probe has found. false: it was of what the source was before.
func (s *Source) probedAt(turn int, up bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.turn != turn {
		return false
	}
	s.open, s.probed, s.probing = !up, s.Now(), !up
	close(s.ended)
	s.ended = make(chan struct{})
	s.Metrics.breaker(s.Name, !up)
	return true
}

// lastProbe reports whether the last probe failed. ended is closed when the next one has
// ended.
func (s *Source) lastProbe() (failed bool, ended <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open, s.ended
}

// probe asks for the registry's root (GET /v2/), which needs no repo, no
// credentials and no database, or a peer how it does. It has a connection of its own: it
// says how things are now. Every answer short of a server error says that the source is
// there.
func (s *Source) probe() bool {
	ctx, cancel := context.WithTimeout(s.ctx, probeDeadline)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Registry.URL().String()+cmp.Or(s.Probe, "/v2/"), nil)
	if err != nil || s.Authorize(req.Header) != nil {
		return false
	}
	resp, err := s.Registry.Single().RoundTrip(req)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode < 500
}
