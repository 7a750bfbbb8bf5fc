package source

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/registry"
)

const (
	takes        = 64
	pauseDefault = time.Minute // after a 429 that names no time
	pauseMost    = time.Hour
)

// Limited returns what a source that has asked for a pause is known to say (429),
// nil for others.
func (s *Source) Limited() *registry.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := s.paused.Sub(s.Now())
	if left <= 0 {
		return nil
	}
	e := outcome.TooMany(left)
	e.Cause = fmt.Errorf("%s asked for a pause", s.Name)
	return e
}

// Note reads off an answer how the source as a whole is doing.
func (s *Source) Note(resp *http.Response) {
	switch {
	case resp.StatusCode == http.StatusBadGateway || resp.StatusCode == http.StatusServiceUnavailable || resp.StatusCode == http.StatusGatewayTimeout:
		s.Suspect()
	case s.Kind == Upstream && resp.StatusCode == http.StatusTooManyRequests:
		s.pause(registry.RetryAfter(resp.Header.Get("Retry-After"), s.Now()))
	}
	if left, ok := rateLeft(resp.Header); ok && s.Kind == Upstream {
		s.Metrics.rateLeft.WithLabelValues(s.Name).Set(float64(left))
		if left == 0 {
			s.pause(0)
		}
	}
}

// pause keeps requests from the source for a while: it said that it has had enough.
func (s *Source) pause(d time.Duration) {
	if d <= 0 {
		d = pauseDefault
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paused = s.Now().Add(min(d, pauseMost))
}

// rateLeft reads "ratelimit-remaining: 76;w=21600", as Docker Hub says it.
func rateLeft(h http.Header) (left int, ok bool) {
	text, _, _ := strings.Cut(h.Get("Ratelimit-Remaining"), ";")
	left, err := strconv.Atoi(strings.TrimSpace(text))
	return left, err == nil && left >= 0
}

func (s *Source) remember(took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.took[s.answers%takes] = took
	s.answers++
}

// Usual is what 95 of 100 of the source's last answers took at most; 0: it has not
// answered yet.
func (s *Source) Usual() time.Duration {
	s.mu.Lock()
	took := slices.Clone(s.took[:min(s.answers, takes)])
	s.mu.Unlock()
	if len(took) == 0 {
		return 0
	}
	slices.Sort(took)
	return took[len(took)*95/100]
}

// State is how a source is doing, for people.
type State struct {
	Up      bool          // the circuit breaker is closed
	Paused  time.Duration // how long it asked to be left alone yet; 0: it did not
	Refused bool          // it refuses the credentials that the edge has for it
}

// State returns how the source is doing now.
func (s *Source) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return State{Up: !s.open, Paused: max(0, s.paused.Sub(s.Now())), Refused: s.Registry.CredentialsRefused()}
}
