package source

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/registry"
)

// ErrSilent is of a source that was given up: it did not answer, nor a probe.
var ErrSilent error = silent{}

// silent is an error of who was waited for in vain.
type silent struct{}

// Error implements error.
func (silent) Error() string { return "it is silent" }

// Timeout tells that it is one.
func (silent) Timeout() bool { return true }

var errUpstreamSilent = fmt.Errorf("%w: so is the upstream that it asks", ErrSilent)

const (
	// longest is how long an answer is waited for that does not begin: as long as by Harbor's own front.
	longest = 15 * time.Minute
	// lost is how many times the deadline an answer may take to begin. One that takes longer may
	// never come, though the source lives: that is noted (Hangs).
	lost = 12
	// patience is how many times the deadline those have left who ask an upstream that has been given up.
	patience = 3
)

// Vigil is the wait for the sources of one question. A source that is slow is not given
// up: how long an answer takes says nothing of whether it comes. When a source has been
// silent for the deadline it is probed, and it is given up when a probe fails, or after a
// quarter of an hour. Those who ask an upstream in their turn, as Harbor does for a cache,
// are as silent as that is: when it has been given up, they have patience left. Safe for
// concurrent use.
type Vigil struct {
	deadline time.Duration
	Kind     registry.Kind // of what the sources are asked for, as is to be known of who is silent

	mu     sync.Mutex
	caches map[*context.CancelCauseFunc]struct{} // of those who ask an upstream in their turn
	ended  bool                                  // the upstream has been given up, and patience is over
}

// NewVigil returns the wait for a question of which sources are probed after deadline.
func NewVigil(deadline time.Duration) *Vigil {
	return &Vigil{deadline: deadline, caches: map[*context.CancelCauseFunc]struct{}{}}
}

// Over returns the context in which a source is asked: it ends with ErrSilent as its cause
// when the source is given up. answered is to be called when the answer has begun, or with
// why it does not come; further calls do nothing. What is left of an answer is waited for
// without end.
func (v *Vigil) Over(ctx context.Context, s Step) (_ context.Context, answered func(error)) {
	asking, cancel := context.WithCancelCause(ctx)
	isCache := s.Kind != Upstream && s.Namespace.Kind == namespace.Cache
	if isCache {
		v.mu.Lock()
		v.caches[&cancel] = struct{}{}
		if v.ended {
			cancel(errUpstreamSilent)
		}
		v.mu.Unlock()
	}
	done := make(chan struct{})
	late := time.AfterFunc(v.deadline, func() { v.watch(s, cancel, done) })
	var once sync.Once
	return asking, func(err error) {
		once.Do(func() {
			late.Stop()
			close(done)
			v.mu.Lock()
			delete(v.caches, &cancel)
			v.mu.Unlock()
			if err != nil {
				cancel(nil)
			}
			if s.Kind == Upstream && (errors.Is(context.Cause(asking), ErrSilent) || err != nil && ctx.Err() == nil && timedOut(err)) {
				time.AfterFunc(patience*v.deadline, v.endCaches)
			}
		})
	}
}

// Await is Do for who has nobody else to ask: the source is waited for as by a Vigil.
func (s Step) Await(ctx context.Context, req registry.Request, header http.Header, deadline time.Duration) (*http.Response, error) {
	v := NewVigil(deadline)
	v.Kind = req.Kind
	asking, answered := v.Over(ctx, s)
	resp, err := s.Do(asking, req, header, 0)
	answered(err)
	return resp, err
}

// watch gives the source up when a probe fails, or when it has been waited for longest.
func (v *Vigil) watch(s Step, giveUp context.CancelCauseFunc, done <-chan struct{}) {
	last, begun := time.NewTimer(longest-v.deadline), time.Now()
	defer last.Stop()
	for {
		if time.Since(begun) >= (lost-1)*v.deadline {
			s.hang(v.Kind, s.Repo)
		}
		down, probed := s.lastProbe()
		if down {
			giveUp(fmt.Errorf("%w: %s has not answered for %v, nor does it answer a probe", ErrSilent, s.Name, v.deadline))
			return
		}
		s.Suspect()
		again := time.NewTimer(v.deadline)
		select {
		case <-probed:
		case <-again.C:
		case <-last.C:
			giveUp(fmt.Errorf("%w: %s has not answered for %v", ErrSilent, s.Name, longest))
			return
		case <-done:
			return
		}
	}
}

// endCaches gives up those who wait for the upstream.
func (v *Vigil) endCaches() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.ended = true
	for giveUp := range v.caches {
		(*giveUp)(errUpstreamSilent)
	}
}
