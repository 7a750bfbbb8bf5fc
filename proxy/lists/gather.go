package lists

import (
	"context"
	"fmt"
	"slices"
	"time"

	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/proxy/source"
)

// answer is what one source gave.
type answer[T any] struct {
	all   []T
	step  source.Step
	stage int // in which it was asked
	heard bool
	err   error // a don't-know as long as it is not heard
}

// standing is what the answers that have come are good for.
type standing int

const (
	open   standing = iota // nobody has said anything that could be told
	told                   // there is something to tell, and others may add to it
	enough                 // there is, and nobody else needs to be asked
	done                   // whatever others say
)

// gather asks the sources of a stage at once, each for its whole list, and those of the next
// when these have answered, or beside them when one is silent for hedge. As long as
// there is nothing to tell, everybody is waited for. Then those have the deadline who were
// asked together with who told, or later: who is silent does not know. It returns one answer
// of everybody who was asked, in the order of the stages; stands is given the same so far.
func gather[T any](ctx context.Context, hedge, deadline time.Duration, stages [][]source.Step, ask func(context.Context, source.Step) ([]T, error), stands func([]answer[T]) standing) []answer[T] {
	ctx, leave := context.WithCancel(ctx)
	defer leave()
	type result struct {
		of  int
		all []T
		err error
	}
	results := make(chan result, len(slices.Concat(stages...))) // who is not waited for ends too
	var answers []answer[T]
	late := time.NewTimer(hedge)
	defer late.Stop()
	asked := 0
	next := func() {
		for _, s := range stages[asked] {
			of := len(answers)
			answers = append(answers, answer[T]{step: s, stage: asked, err: outcome.DontKnow(fmt.Errorf("%s: %w", s.Name, source.ErrSilent))})
			go func() {
				all, err := ask(ctx, s)
				results <- result{of, all, err}
			}()
		}
		asked++
		late.Reset(hedge)
	}
	for state, teller := open, 0; state != done; {
		more := state < enough && asked < len(stages)
		if !waits(answers, teller) {
			if !more {
				break
			}
			next()
			continue
		}
		select {
		case r := <-results:
			a := &answers[r.of]
			a.all, a.err, a.heard = r.all, r.err, true
			before := state
			if state = max(state, stands(answers)); before == open && state != open {
				teller = a.stage
				late.Reset(deadline)
			}
		case <-late.C:
			switch {
			case more:
				next()
			case state != open:
				state = done
			}
		}
	}
	return answers
}

// waits reports whether somebody is silent who was asked in the stage or later.
func waits[T any](answers []answer[T], stage int) bool {
	return slices.ContainsFunc(answers, func(a answer[T]) bool { return !a.heard && a.stage >= stage })
}

// refusalsOf are those of who gave no list.
func refusalsOf[T any](answers []answer[T]) (refusals []source.Refusal) {
	for _, a := range answers {
		if a.err != nil {
			refusals = append(refusals, source.Refusal{Step: a.step, Err: a.err})
		}
	}
	return refusals
}

// unlessDown asks a source of the route. One that is known to be down is not waited for
// where another one can be asked.
func unlessDown[T any](route []source.Step, ask func(context.Context, source.Step) ([]T, error)) func(context.Context, source.Step) ([]T, error) {
	return func(ctx context.Context, s source.Step) ([]T, error) {
		if s.Skipped(route) {
			return nil, outcome.DontKnow(source.ErrDown)
		}
		return ask(ctx, s)
	}
}
