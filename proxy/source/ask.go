package source

import (
	"context"
	"errors"
	"slices"
	"time"

	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/registry"
)

// Question is what sources are asked for, as far as the order of asking depends on it.
type Question struct {
	Namespace namespace.Namespace
	Route     []Step
	Tag       bool          // a tag is asked for: another source might hold an older one
	Held      bool          // a copy is held here
	Deadline  time.Duration // how long a source has before others are asked beside it
}

const hedgeLeast = 200 * time.Millisecond

var (
	// ErrDown is the cause of a don't-know about a source that was not asked.
	ErrDown      = errors.New("it was not asked: it has been found down")
	errRemembers = errors.New("it only remembers: its own Harbor cannot say")
)

// Ask finds an answer: the local Harbor is asked first, then the peers, three at a time,
// then the upstreams in turn. Sources that are known to be down are skipped where a
// copy is held, and asked last where there is none. A slow source is not given up as long
// as its probes are answered (Vigil): the next are asked beside it (a hedge). ask asks one
// of them; stale says that the source, a peer, only remembers what it gave, because its
// own Harbor could not say. The error is the outcome that all answers together make.
func Ask[T any](ctx context.Context, q Question, ask func(context.Context, Step) (found T, stale bool, err error)) (T, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	vigil := NewVigil(q.Deadline)
	vigil.Kind = registry.KindManifest
	stages, skipped := Stages(q.Route, !q.Held)
	type result struct {
		stage    int
		found    T
		refusals []Refusal
		ok       bool
		stale    bool // a peer only remembers it
	}
	remembered, peers := result{}, ofPeers(stages) // of these, those that have not ended
	results := make(chan result, len(stages))
	started, begun := 0, time.Now()
	var late <-chan time.Time // when the stage that was asked last has had its time for itself
	next := func() {
		started++
		at := started
		if late = nil; started < len(stages) {
			late = time.After(q.hedgeAfter(stages, started))
		}
		go func() {
			r := result{stage: at}
			r.found, r.refusals, r.ok, r.stale = askAll(ctx, q, vigil, stages[at-1], ask)
			results <- r
		}()
	}
	next()
	var all []Refusal
	for _, s := range skipped { // a source that was not asked may have it
		all = append(all, Refusal{s, outcome.DontKnow(ErrDown)})
	}
	var none T
	for ended := 0; ended < started; {
		select {
		case <-late:
			for _, s := range stages[started-1] {
				s.Suspect()
			}
			next()
		case r := <-results:
			ended++
			if r.stale { // the peers after it may know
				remembered = r
			}
			if stages[r.stage-1][0].Kind == Peer {
				peers--
			}
			switch err := LastWord(q.Namespace, r.refusals); {
			case r.ok && !r.stale:
				return r.found, nil
			case remembered.ok && peers <= 0:
				return remembered.found, nil
			case err != nil && !remembered.ok:
				return none, err
			}
			all = append(all, r.refusals...)
			switch {
			case started == len(stages):
			case ended == started, r.stage == started && stages[started][0].Kind == Peer:
				next()
			case r.stage == started: // a hedge of peers may come early: who is asked first has its time all the same
				late = time.After(q.Deadline - time.Since(begun))
			}
		}
	}
	return none, Verdict(all)
}

// hedgeAfter is how long the sources that were asked last have for themselves. Who is known to
// be silent about the repo has little.
// Peers are asked beside a source as soon as it takes longer than it usually does,
// unless they might show an older tag. Upstreams count their requests, and get no
// hedges; nor do peers for a cache, whose own Harbors would each ask the upstream
// in turn.
func (q Question) hedgeAfter(stages [][]Step, started int) time.Duration {
	kind, last := q.Namespace.Kind, stages[started-1]
	if !slices.ContainsFunc(last, func(s Step) bool { silent, _ := s.silence(registry.KindManifest, s.Repo); return !silent }) {
		return Shortened(q.Deadline)
	}
	if started < len(stages) && stages[started][0].Kind == Peer && (kind == namespace.Repl || kind == namespace.MultiDC && (!q.Tag || last[0].Kind == Peer)) {
		usual := time.Duration(0)
		for _, s := range last {
			usual = max(usual, s.Usual())
		}
		return min(q.Deadline, max(hedgeLeast, 2*usual))
	}
	return q.Deadline
}

// beside is how many peers are asked at once: most questions end at the nearest of those who
// have it, and a fleet may have many.
const beside = 3

// Stages splits a route into the sources that are asked at once, in order: peers
// are asked three at a time, nearest first, every other source by itself. Sources that are known
// to be down come last with lastResort, or where nobody else is left; else they are
// skipped.
func Stages(route []Step, lastResort bool) (stages [][]Step, skipped []Step) {
	var peers []Step
	for _, s := range route {
		switch {
		case !s.Usable():
			skipped = append(skipped, s)
			continue
		case s.Kind == Peer:
			peers = append(peers, s)
			continue
		}
		stages, peers = append(stages, few(peers)...), nil
		stages = append(stages, []Step{s})
	}
	stages = append(stages, few(peers)...)
	if lastResort || len(stages) == 0 {
		for _, s := range skipped {
			stages = append(stages, []Step{s})
		}
		return stages, nil
	}
	return stages, skipped
}

// ofPeers counts the stages of peers that are not known to be down.
func ofPeers(stages [][]Step) (n int) {
	for _, stage := range stages {
		if stage[0].Kind == Peer && stage[0].Usable() {
			n++
		}
	}
	return n
}

func few(peers []Step) [][]Step { return slices.Collect(slices.Chunk(peers, beside)) }

// askAll asks the sources of a stage at once. The first that has it wins. stale: a source
// that only remembers it wins when no other has it, and not over a copy that is
// held here: nobody can say which of the two is older.
func askAll[T any](ctx context.Context, q Question, vigil *Vigil, stage []Step, ask func(context.Context, Step) (T, bool, error)) (found T, refusals []Refusal, ok, stale bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type answer struct {
		found T
		stale bool
		err   error
		step  Step
	}
	answers := make(chan answer, len(stage))
	for _, s := range stage {
		go func() {
			asking, answered := vigil.Over(ctx, s)
			found, stale, err := ask(asking, s)
			answered(err)
			answers <- answer{found, stale, err, s}
		}()
	}
	for range stage {
		a := <-answers
		switch {
		case a.err != nil:
			refusals = append(refusals, Refusal{a.step, a.err})
		case !a.stale:
			return a.found, nil, true, false
		case q.Held:
			refusals = append(refusals, Refusal{a.step, outcome.DontKnow(errRemembers)})
		default:
			found, ok = a.found, true
		}
	}
	return found, refusals, ok, ok
}
