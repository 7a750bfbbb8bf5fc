package store

import (
	"context"
	"errors"
	"time"
)

// race asks sources for a blob until one answers: the next is asked when the one before has
// refused, or beside it when it is slow (Source.Hedge). Who answers first has won.
type race struct {
	store          *Store
	ctx            context.Context
	sources        []Source
	offset, length int64
	asked          []context.CancelFunc // of those that have been asked, in order
	running        int                  // those of them that have not answered
	late           <-chan time.Time     // when who was asked last has had its time for itself
	answers        chan entrant
	refusals       []error
}

// entrant is a source of a race, and its answer.
type entrant struct {
	at   int // its number among the sources
	body Body
	err  error
}

// race returns a race in which nobody has been asked. It must be ended.
func (s *Store) race(ctx context.Context, sources []Source, offset, length int64) *race {
	return &race{store: s, ctx: ctx, sources: sources, offset: offset, length: length, answers: make(chan entrant, len(sources))}
}

// first returns the number of the next source that answers, and its body, or all refusals.
// A further call returns the one after that.
func (r *race) first() (at int, body Body, err error) {
	for {
		if r.running == 0 && !r.askNext() {
			return 0, Body{}, errors.Join(r.refusals...)
		}
		select {
		case a := <-r.answers:
			if r.running--; a.err == nil {
				return a.at, a.body, nil
			}
			r.refuse(a.err)
			if a.at == len(r.asked)-1 {
				r.askNext() // else who is asked beside has its time
			}
		case <-r.late:
			r.askNext()
		}
	}
}

// refuse notes why a source was of no use.
func (r *race) refuse(err error) { r.refusals = append(r.refusals, err) }

// askNext asks the next source, if there is one, beside those that have not answered.
func (r *race) askNext() bool {
	at := len(r.asked)
	if at == len(r.sources) {
		return false
	}
	ctx, cancel := context.WithCancel(r.ctx)
	r.asked = append(r.asked, cancel)
	r.running++
	if r.late = nil; r.sources[at].Hedge > 0 {
		r.late = time.After(r.sources[at].Hedge)
	}
	go func() {
		body, err := r.store.openSource(ctx, r.sources[at], r.offset, r.length)
		r.answers <- entrant{at, body, err}
	}()
	return true
}

// end ends the race: nobody but the winner is waited for. winner is -1 where nobody has won.
func (r *race) end(winner int) {
	for at, cancel := range r.asked {
		if at != winner {
			cancel()
		}
	}
	running := r.running
	go func() {
		for range running {
			if a := <-r.answers; a.err == nil {
				a.body.Close()
			}
		}
	}()
}
