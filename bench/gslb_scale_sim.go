package main

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"time"
)

const (
	scaleWatched = 3                      // name servers whose answers are looked at; all others probe and tell as well
	scaleQuantum = 100 * time.Millisecond // what is judged anew within it is answered at its end
	scaleRound   = 300 * time.Millisecond // of observations, where all name servers answer
	scaleQuiet   = time.Minute            // after the last change, until which all must be right again
)

// scaleEvent is what happens at a time.
type scaleEvent struct {
	at   time.Duration // since the beginning
	turn uint64        // of those at one time
	do   func()
}

// scaleQueue is a heap of what is to come (container/heap).
type scaleQueue []scaleEvent

func (q scaleQueue) Len() int { return len(q) }
func (q scaleQueue) Less(a, b int) bool {
	return q[a].at < q[b].at || q[a].at == q[b].at && q[a].turn < q[b].turn
}
func (q scaleQueue) Swap(a, b int) { q[a], q[b] = q[b], q[a] }

// Push implements heap.Interface.
func (q *scaleQueue) Push(x any) { *q = append(*q, x.(scaleEvent)) }

// Pop implements heap.Interface.
func (q *scaleQueue) Pop() any {
	last := len(*q) - 1
	x := (*q)[last]
	(*q)[last] = scaleEvent{}
	*q = (*q)[:last]
	return x
}

// scaleSim plays a fleet through. What the name servers make of it is the real code's (gslb.Drill);
// here is the world: what is up, who reaches whom, and when packets arrive.
type scaleSim struct {
	*scaleWorld
	plan   scalePlan
	n      int
	chance *rand.Rand
	epoch  time.Time
	clock  time.Duration
	end    time.Duration
	queue  scaleQueue
	turn   uint64
	events int

	down     []int    // by datacenter: how many reasons it has not to serve
	cause    []string // the last of these
	silent   []int    // the same of its name server
	cut      []int    // by name server and datacenter: how many cuts are between
	probing  []bool   // by name server and datacenter: its probes are played through
	telling  []bool   // by name server: a round of observations is about to begin
	busy     []time.Duration
	phase    []time.Duration // by name server: of its rounds
	alone    []int           // by name server: how many reasons it has not to reach the witnesses
	watched  []int
	dirty    []bool            // by watched: it judges soon
	must     []bool            // by watched: whatever it has heard
	heardOf  []map[string]bool // by watched: datacenters
	changed  time.Duration
	unstable int // failures that last

	answers *scaleAnswers
	kinds   map[string]int // how often something failed, by kind
}

var errUnreached = errors.New("no answer within 500ms")

func newScaleSim(w *scaleWorld, p scalePlan) *scaleSim {
	n := len(w.datacenters)
	s := &scaleSim{scaleWorld: w, plan: p, n: n, chance: rand.New(rand.NewPCG(p.Seed, 0x5ca1e)), epoch: time.Unix(1_800_000_000, 0), end: time.Duration(p.Days) * 24 * time.Hour,
		down: make([]int, n), cause: make([]string, n), silent: make([]int, n), alone: make([]int, n), cut: make([]int, n*n), probing: make([]bool, n*n),
		telling: make([]bool, n), busy: make([]time.Duration, n), phase: make([]time.Duration, n), kinds: map[string]int{}}
	s.watched = s.chance.Perm(n)[:min(n, scaleWatched)]
	s.dirty, s.must = make([]bool, len(s.watched)), make([]bool, len(s.watched))
	for range s.watched {
		s.heardOf = append(s.heardOf, map[string]bool{})
	}
	for i := range s.phase {
		s.phase[i] = s.upTo(scaleProbe.Interval)
	}
	return s
}

func (s *scaleSim) upTo(d time.Duration) time.Duration {
	return time.Duration(s.chance.Int64N(int64(d)))
}

// after has something done later.
func (s *scaleSim) after(d time.Duration, do func()) {
	s.turn++
	heap.Push(&s.queue, scaleEvent{s.clock + d, s.turn, do})
}

func (s *scaleSim) now() time.Time { return s.epoch.Add(s.clock) }

// serves reports whether clients of the datacenter are served, whoever thinks what.
func (s *scaleSim) serves(dc int) bool { return s.down[dc] == 0 }

// reaches reports whether a probe of the name server i would succeed.
func (s *scaleSim) reaches(i, dc int) bool { return s.down[dc] == 0 && s.cut[i*s.n+dc] == 0 }

// hears reports whether the name servers talk to each other.
func (s *scaleSim) hears(i, j int) bool {
	return s.silent[i] == 0 && s.silent[j] == 0 && s.cut[i*s.n+j] == 0 && s.cut[j*s.n+i] == 0
}

// run plays the plan's days through, or as many as it can before ctx ends.
func (s *scaleSim) run(ctx context.Context, progress io.Writer) {
	s.begin()
	s.faults()
	shown := time.Now()
	for len(s.queue) > 0 {
		e := heap.Pop(&s.queue).(scaleEvent)
		if e.at > s.end {
			break
		}
		s.clock = e.at
		e.do()
		s.events++
		if s.events%1024 == 0 {
			if ctx.Err() != nil { // what was played is told
				s.end = s.clock
				break
			}
			if time.Since(shown) > 5*time.Second {
				shown = time.Now()
				fmt.Fprintf(progress, "day %d of %d, %d events\n", int(s.clock.Hours())/24, s.plan.Days, s.events)
			}
		}
	}
	s.clock = s.end
	s.answers.finish()
}

// begin is the first round of probes and observations, in which all is well.
func (s *scaleSim) begin() {
	for _, d := range s.drills {
		for _, name := range s.names {
			d.Probed(name, nil, 0, s.now(), s.chance.Int64N)
		}
	}
	for _, i := range s.watched {
		for j, d := range s.drills {
			if i != j {
				s.drills[i].Hear(d.Observation(), s.now())
			}
		}
		s.drills[i].Refresh(s.now())
	}
	s.answers = newScaleAnswers(s)
}

// look plays the probes of a datacenter by the name server i through, until they have found
// what is so. Before and after that they change nothing, and are left out.
func (s *scaleSim) look(i, dc int) {
	if at := i*s.n + dc; !s.probing[at] && s.silent[i] == 0 && s.reaches(i, dc) != s.drills[i].Finds(s.names[dc]) {
		s.probing[at] = true
		s.after(s.upTo(scaleProbe.Interval), func() { s.probe(i, dc) })
	}
}

func (s *scaleSim) probe(i, dc int) {
	way := s.delay(i, dc)
	ok, took, err := s.reaches(i, dc), min(8*way, scaleProbe.Timeout), error(nil) // TCP, TLS, a question: four times there and back
	switch {
	case ok:
	case s.cut[i*s.n+dc] > 0 || s.silent[dc] > 0:
		took, err = scaleProbe.Timeout, errUnreached
	default: // it refuses
		took, err = 2*way, errUnreached
	}
	s.after(took, func() {
		at := i*s.n + dc
		if s.silent[i] > 0 {
			s.probing[at] = false
			return
		}
		next, changed := s.drills[i].Probed(s.names[dc], err, took, s.now(), s.chance.Int64N)
		if changed {
			s.changedMind(i, dc)
		}
		if s.probing[at] = s.reaches(i, dc) != ok || s.drills[i].Finds(s.names[dc]) != ok; s.probing[at] {
			s.after(next, func() { s.probe(i, dc) })
		}
	})
}

// changedMind is when the probes of a name server have, of a datacenter: it tells the others.
// What it found of other datacenters may have been put back, where it was ill.
func (s *scaleSim) changedMind(i, of int) {
	names := []string{s.names[of]}
	for dc := range s.n {
		s.look(i, dc)
		if s.probing[i*s.n+dc] {
			names = append(names, s.names[dc])
		}
	}
	s.tell(i)
	if slices.Contains(s.watched, i) {
		s.news(i, names)
	}
}

// tell has the name server i tell its observation in its next round: at once, or after the one
// that goes on, which lasts a whole interval where somebody does not answer.
func (s *scaleSim) tell(i int) {
	if s.telling[i] || s.silent[i] > 0 {
		return
	}
	wait, lasts := max(0, s.busy[i]-s.clock), scaleRound
	for j := range s.n {
		if j != i && !s.hears(i, j) {
			lasts = scaleProbe.Interval
			wait = (s.phase[i] - s.clock%lasts + lasts) % lasts
			break
		}
	}
	s.telling[i] = true
	s.after(wait, func() {
		s.telling[i], s.busy[i] = false, s.clock+lasts
		x := s.drills[i].Observation()
		for _, w := range s.watched {
			if w == i || !s.hears(i, w) {
				continue
			}
			s.after(3*s.delay(i, w), func() { // a connection of its own, and the question
				if s.hears(i, w) {
					s.news(w, s.drills[w].Hear(x, s.now()))
				}
			})
		}
	})
}

// hearAgain is what a watched name server has heard all the time, to some time ago.
func (s *scaleSim) hearAgain(w int, ago time.Duration) {
	s.drills[w].HearAgain(func(name string) bool { return s.hears(w, s.index[name]) }, s.now().Add(-ago))
}

// judge has a name server, if it is watched, judge and answer anew.
func (s *scaleSim) judge(i int) {
	if k := slices.Index(s.watched, i); k >= 0 {
		s.must[k] = true
		s.soon(k)
	}
}

// news has a watched name server judge what it has heard.
func (s *scaleSim) news(i int, names []string) {
	if len(names) == 0 {
		return
	}
	k := slices.Index(s.watched, i)
	for _, name := range names {
		s.heardOf[k][name] = true
	}
	s.soon(k)
}

// soon has a watched name server do what is to be done, once for all of it.
func (s *scaleSim) soon(k int) {
	if s.dirty[k] {
		return
	}
	s.dirty[k] = true
	s.after(scaleQuantum, func() {
		i := s.watched[k]
		s.hearAgain(i, 0)
		if s.must[k] || s.drills[i].Differs(slices.Collect(maps.Keys(s.heardOf[k])), s.now()) {
			if next := s.drills[i].Refresh(s.now()); !next.IsZero() {
				s.after(next.Sub(s.now()), func() { s.judge(i) })
			}
			s.answers.judged(k)
		}
		s.dirty[k], s.must[k] = false, false
		clear(s.heardOf[k])
	})
}

// silence has those of the watched name servers that are concerned notice, in time, who is
// silent or heard again.
func (s *scaleSim) silence(concerned func(i int) bool) {
	for _, w := range s.watched {
		if !concerned(w) {
			continue
		}
		s.after(3*scaleProbe.Interval+2*scaleProbe.Timeout+s.upTo(scaleProbe.Interval), func() { s.reconsider(w) })
	}
}

// reconsider has a name server, if it is watched, see whether it has to answer anew.
func (s *scaleSim) reconsider(i int) {
	if slices.Contains(s.watched, i) {
		s.hearAgain(i, 0)
		if s.drills[i].Reconsider(s.now()) {
			s.judge(i)
		}
	}
}
