package source

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/registry"
)

const (
	takes        = 64
	pauseDefault = time.Minute // for who names no time
)

// endPoint is what an upstream limits by itself: who may list no more tags may still pull.
func endPoint(kind registry.Kind) registry.Kind {
	if kind == registry.KindCatalog {
		return registry.KindTags
	}
	return kind
}

// Limited returns what a source that has asked for a pause is known to say to a request (429),
// nil where it may be asked.
func (s *Source) Limited(req registry.Request) *registry.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	until := s.paused[endPoint(req.Kind)]
	if req.Tag != "" && s.spent.After(until) { // what a manifest names belongs to a pull that was counted
		until = s.spent
	}
	left := until.Sub(s.Now())
	if left <= 0 {
		return nil
	}
	e := outcome.TooMany(left)
	e.Cause = fmt.Errorf("%s asked for a pause", s.Name)
	return e
}

// Note reads off an answer to a request of that kind how the source as a whole is doing. What
// another host says, to which the source has led by a redirect, is no word of the source.
func (s *Source) Note(kind registry.Kind, resp *http.Response) {
	if resp.Request != nil && registry.Place(resp.Request.URL) != registry.Place(s.Registry.URL()) {
		return
	}
	switch resp.StatusCode {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		s.Suspect()
	}
	if s.Kind != Upstream {
		return
	}
	rate, ok := registry.ReadRate(resp.Header, s.Now())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts = s.counts || ok
	if resp.StatusCode == http.StatusTooManyRequests {
		s.refuses = true
		if s.paused == nil {
			s.paused = map[registry.Kind]time.Time{}
		}
		s.paused[endPoint(kind)] = s.after(registry.Pause(resp, s.Now()))
	}
	if !ok || kind != registry.KindManifest {
		return
	}
	left := int64(rate.Left)
	s.left = &left
	s.Metrics.rateLeft.WithLabelValues(s.Name).Set(float64(rate.Left))
	if rate.Left == 0 {
		s.spent = s.after(rate.Resets)
	}
}

// Bodies is how many bodies of one blob the source is asked for at once. Upstreams that count
// requests, or have refused one for their number, are asked for one.
func (s *Source) Bodies() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.Kind != Upstream:
		return 8
	case s.refuses || s.counts:
		return 1
	}
	return 4
}

type besideKey struct{}

// Beside marks requests beside others for the same content. A 429 to them ends such requests, and
// is no pause for others.
func Beside(ctx context.Context) context.Context { return context.WithValue(ctx, besideKey{}, true) }

func isBeside(ctx context.Context) bool { return ctx.Value(besideKey{}) != nil }

// hadEnough notes that the source gives no further body of a blob beside others.
func (s *Source) hadEnough() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuses = true
}

// after is when a pause ends that is to last that long.
func (s *Source) after(d time.Duration) time.Time {
	if d <= 0 {
		d = pauseDefault
	}
	return s.Now().Add(d)
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
	Paused  time.Duration // how long it asked to be left alone yet with some kind of request; 0: it did not
	Refused bool          // it refuses the credentials that the edge has for it
	Left    *int64        // pulls that it last said are left of its limit; nil: it has said nothing
}

// State returns how the source is doing now.
func (s *Source) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := State{Up: !s.open, Paused: max(0, s.spent.Sub(s.Now())), Refused: s.Registry.CredentialsRefused(), Left: s.left}
	for until := range maps.Values(s.paused) {
		state.Paused = max(state.Paused, until.Sub(s.Now()))
	}
	return state
}
