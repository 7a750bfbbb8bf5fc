package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// How images come to the other datacenters.
const (
	throughEdges = "edges"   // pushed and pulled there
	behindEdges  = "behind"  // the same pushes, looked for in the other Harbors themselves
	pastEdges    = "Harbors" // pushed to one Harbor and pulled from the others, with no edge
)

// The kinds of tags.
const (
	newTag   = "new"
	movedTag = "moved"
)

const (
	readEvery  = 100 * time.Millisecond // somebody pulls a tag in each datacenter, beside those who wait for one
	sampleMost = time.Second            // between two looks for a push that is late
)

// stage is a repo that is pushed to in the first datacenter and pulled in all.
type stage struct {
	client  *spreadClient
	through string
	delay   time.Duration
	bases   []string        // where clients of each datacenter push and pull
	others  []string        // the Harbors behind, to be looked into; nil: the bases are
	sampled int             // how many pushes of a kind are looked for there
	repo    string          // of the bases
	every   time.Duration   // a new tag is pushed, and another one moved, at most so often
	goesOn  bool            // to the next push though the last has not come everywhere
	ctx     context.Context // of those who look for a push, once it runs
	latest  time.Duration   // after which they give up
	waiting sync.WaitGroup

	mu    sync.Mutex
	kinds map[string]*tally   // by through and kind
	tags  map[string][]string // by kind
	last  map[string]int      // by tag: how often it was pushed
	fault string              // the first push that was refused
	shown []map[string]int    // by datacenter and tag: the newest that was acknowledged or pulled there
}

// tally is what is counted of one kind of tags.
type tally struct {
	pushes, acknowledged, next, refused, pulls, older, failed, never, latest, tags int
	push, spread, whole                                                            []time.Duration
}

func newStage(client *spreadClient, through string, delay time.Duration, bases []string, repo string) *stage {
	s := &stage{client: client, through: through, delay: delay, bases: bases, repo: repo, kinds: map[string]*tally{}, tags: map[string][]string{}, last: map[string]int{}}
	for range bases {
		s.shown = append(s.shown, map[string]int{})
	}
	return s
}

// of is where a kind of tags is counted, the stage locked.
func (s *stage) of(through, kind string) *tally {
	key := through + " " + kind
	if s.kinds[key] == nil {
		s.kinds[key] = &tally{}
	}
	return s.kinds[key]
}

func kindOf(tag string) string {
	if tag[0] == 'm' {
		return movedTag
	}
	return newTag
}

// run pushes so often under new tags and under tags that move, while somebody pulls in each
// datacenter, and at the end, when replications have had their time, pulls every tag once more.
func (s *stage) run(ctx context.Context, p spreadPlan, times, movers int) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	reading, stop := context.WithCancel(ctx)
	defer stop()
	var readers sync.WaitGroup
	for dc := range s.bases {
		readers.Go(func() { s.read(reading, dc) })
	}
	s.latest, s.ctx = 2*p.Most+10*time.Second, ctx
	group, within := errgroup.WithContext(ctx)
	turns := make(chan struct{})
	group.Go(func() error { return give(within, turns, times, s.every) })
	for mover := range movers {
		group.Go(func() error {
			moves := 0
			for range turns {
				moves++
				if err := s.push(within, fmt.Sprintf("new-%d-%d", mover, moves), 1); err != nil {
					return err
				}
				if err := s.push(within, fmt.Sprintf("moved-%d", mover), moves); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if !wait(ctx, p.Most) {
		return ctx.Err()
	}
	s.waiting.Wait()
	stop()
	readers.Wait()
	return s.lookAtAll(ctx)
}

// give gives so many turns, one after the other, and closes the channel.
func give(ctx context.Context, turns chan<- struct{}, times int, every time.Duration) error {
	defer close(turns)
	for range times {
		if !wait(ctx, every) {
			return ctx.Err()
		}
		select {
		case turns <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// begin pushes what all images name and, where there are edges, waits until they know each
// other: they have just been started.
func (s *stage) begin(ctx context.Context) error {
	if _, err := s.client.pushBlob(ctx, s.bases[0], s.repo, []byte(emptyConfig)); err != nil {
		return err
	}
	for n := 1; s.through == throughEdges; n++ {
		acknowledged, _, _, err := s.client.push(ctx, s.bases[0], s.repo, "first", n)
		if err != nil {
			return err
		}
		if !slices.Contains(heardBy(acknowledged), false) {
			return nil
		}
		if n == 100 || !wait(ctx, 100*time.Millisecond) {
			return errors.New("the edges do not know each other")
		}
	}
	return nil
}

// heardBy says of each datacenter whether it had heard of a push when that was answered.
func heardBy(acknowledged string) (all []bool) {
	names := strings.Split(acknowledged, ", ")
	for dc, name := range spreadSites {
		all = append(all, dc == 0 || slices.Contains(names, name))
	}
	return all
}

func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// push pushes once, and has it looked for in the other datacenters.
func (s *stage) push(ctx context.Context, tag string, n int) error {
	acknowledged, took, answered, err := s.client.push(ctx, s.bases[0], s.repo, tag, n)
	heard := heardBy(acknowledged)
	s.mu.Lock()
	k := s.of(s.through, kindOf(tag))
	k.pushes++
	if err != nil { // whether it was taken all the same, nobody knows
		k.refused++
		s.fault = cmp.Or(s.fault, err.Error())
		s.mu.Unlock()
		return ctx.Err()
	}
	k.push = append(k.push, took)
	sampled := s.others != nil && k.pushes <= s.sampled
	if s.last[tag] == 0 {
		s.tags[kindOf(tag)] = append(s.tags[kindOf(tag)], tag)
	}
	s.last[tag] = n
	for dc, ok := range heard {
		if ok {
			s.shown[dc][tag] = max(s.shown[dc][tag], n)
		}
	}
	s.mu.Unlock()
	looking, cancel := context.WithTimeout(s.ctx, s.latest)
	var arriving sync.WaitGroup
	for dc := 1; dc < len(s.bases); dc++ {
		arriving.Go(func() { s.arrives(looking, dc, tag, n, answered, heard[dc]) })
		if sampled {
			s.waiting.Go(func() { s.arrivesBehind(dc, tag, n, answered) })
		}
	}
	s.waiting.Go(func() { arriving.Wait(); cancel() })
	if !s.goesOn {
		arriving.Wait()
	}
	return ctx.Err()
}

// arrives pulls in a datacenter until the push is there.
func (s *stage) arrives(ctx context.Context, dc int, tag string, n int, since time.Time, heard bool) {
	kind := kindOf(tag)
	for first, pause := true, time.Millisecond; ; first, pause = false, min(2*pause, sampleMost) {
		got, layer := s.look(ctx, dc, tag)
		took := time.Since(since)
		s.mu.Lock()
		k := s.of(s.through, kind)
		if first && heard {
			k.acknowledged++
			if got >= n {
				k.next++
			}
		}
		if got >= n {
			k.spread = append(k.spread, took)
		}
		s.mu.Unlock()
		if got >= n {
			s.wholeAt(ctx, dc, kind, layer, since)
			return
		}
		if !wait(ctx, pause) {
			s.mu.Lock()
			k.never++
			s.mu.Unlock()
			return
		}
	}
}

// wholeAt pulls the layer too.
func (s *stage) wholeAt(ctx context.Context, dc int, kind, layer string, since time.Time) {
	err := s.client.pullLayer(ctx, s.bases[dc], s.repo, layer)
	took := time.Since(since)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.of(s.through, kind).failed++
		return
	}
	k := s.of(s.through, kind)
	k.whole = append(k.whole, took)
}

// arrivesBehind looks into a Harbor until it has the push itself.
func (s *stage) arrivesBehind(dc int, tag string, n int, since time.Time) {
	ctx, cancel := context.WithTimeout(s.ctx, s.latest)
	defer cancel()
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, sampleMost) {
		got, _, _ := s.client.pull(ctx, s.others[dc], s.repo, tag) // one that fails is not there yet
		took := time.Since(since)
		if got < n && wait(ctx, pause) {
			continue
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		k := s.of(behindEdges, kindOf(tag))
		k.pushes++
		if got < n {
			k.never++
			return
		}
		k.spread = append(k.spread, took)
		return
	}
}

// look pulls a tag in a datacenter once, and counts it where that shows an older push than
// one that was acknowledged or pulled there before this pull began.
func (s *stage) look(ctx context.Context, dc int, tag string) (n int, layer string) {
	s.mu.Lock()
	before := s.shown[dc][tag]
	s.mu.Unlock()
	n, layer, err := s.client.pull(ctx, s.bases[dc], s.repo, tag)
	if ctx.Err() != nil {
		return 0, ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.of(s.through, kindOf(tag))
	k.pulls++
	switch {
	case err != nil:
		k.failed++
	case n < before:
		k.older++
	default:
		s.shown[dc][tag] = max(s.shown[dc][tag], n)
	}
	return n, layer
}

// read pulls one tag after another in a datacenter, one that moves as often as one that does not.
func (s *stage) read(ctx context.Context, dc int) {
	for wait(ctx, readEvery) {
		s.mu.Lock()
		all := s.tags[[]string{newTag, movedTag}[rand.IntN(2)]]
		s.mu.Unlock()
		if len(all) > 0 {
			s.look(ctx, dc, all[rand.IntN(len(all))])
		}
	}
}

// lookAtAll pulls every tag in every datacenter.
func (s *stage) lookAtAll(ctx context.Context) error {
	group, within := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for _, tag := range slices.Concat(s.tags[newTag], s.tags[movedTag]) {
		for dc := range s.bases {
			group.Go(func() error {
				n, _ := s.look(within, dc, tag)
				s.mu.Lock()
				defer s.mu.Unlock()
				k := s.of(s.through, kindOf(tag))
				k.tags++
				if n >= s.last[tag] {
					k.latest++
				}
				return within.Err()
			})
		}
	}
	return group.Wait()
}
