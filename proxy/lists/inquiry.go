package lists

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/fetch"
	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/proxy/source"
)

const (
	longest = 16 * time.Minute // that an inquiry is under way: longer than a source is waited for
	// joinFor is how long an inquiry is joined by others: an answer that has not come until
	// then may be lost, and the next who asks does not depend on it.
	joinFor = time.Minute
	// maxLeft is how many inquiries go on for the next who asks though nobody waits for them.
	maxLeft = 256
)

// subject is what a question is about, as far as its answer depends on it. A peer's question is
// not a client's: no other datacenter is asked for a peer. Nor is one client's another's where
// Harbor is shown who asks.
type subject struct {
	repo          string
	digest        digest.Digest
	ownOnly       bool
	authorization string
}

func (l *Lists) subject(q fetch.Question) subject {
	return subject{q.Request.Repo, q.Request.Digest, q.OwnOnly, l.Routes.Harbor.Header(q.Authorization).Get("Authorization")}
}

// inquiries are those of one kind of list that are under way. The zero value is ready.
type inquiries[T any] struct {
	mu   sync.Mutex
	all  map[*inquiry[T]]struct{}
	join map[subject]*inquiry[T] // those that are joined by who asks the same
	left int                     // those that nobody waits for
}

// inquiry asks the sources once for a list; any number of requests wait for it. It belongs to
// none of them: what it finds is there for whoever asks next.
type inquiry[T any] struct {
	of      subject
	project int64 // the id of the repo's project when it began
	begun   time.Time
	among   *inquiries[T]
	cancel  context.CancelFunc
	done    chan struct{} // closed when list and err are there to be read
	list    List[T]
	err     error

	// Guarded by inquiries.mu.
	heard     [][]T // the lists that have come so far
	waiting   int   // requests
	left      bool  // nobody waits for it, and it counts in inquiries.left
	overtaken bool  // by a write or a later question: what it finds is not remembered
}

// ask joins the question of the same subject that is under way, or begins one with find, which
// ends with ctx. One that began before the repo's last write is never joined.
func (qs *inquiries[T]) ask(ctx context.Context, of subject, project int64, find func(context.Context, *inquiry[T]) (List[T], error)) *inquiry[T] {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	if q := qs.join[of]; q != nil && q.project == project && time.Since(q.begun) < joinFor {
		q.waiting++
		q.unleave()
		return q
	}
	ctx, cancel := context.WithTimeout(ctx, longest)
	q := &inquiry[T]{of: of, project: project, begun: time.Now(), among: qs, cancel: cancel, done: make(chan struct{}), waiting: 1}
	if qs.all == nil {
		qs.all, qs.join = map[*inquiry[T]]struct{}{}, map[subject]*inquiry[T]{}
	}
	qs.all[q], qs.join[of] = struct{}{}, q
	go func() {
		defer cancel()
		q.list, q.err = find(ctx, q)
		qs.mu.Lock()
		defer qs.mu.Unlock()
		q.unleave()
		q.part()
		delete(qs.all, q)
		close(q.done)
	}()
	return q
}

// written has no question of the repo joined any more, nor its answer remembered: it may have
// seen what was there before a write.
func (qs *inquiries[T]) written(repo string) {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	for q := range qs.all {
		if q.of.repo == repo {
			q.overtaken = true
			q.part()
		}
	}
}

// part has the question be joined no longer; inquiries.mu is held.
func (q *inquiry[T]) part() {
	if q.among.join[q.of] == q {
		delete(q.among.join, q.of)
	}
}

// unleave notes that somebody waits for it again, or that it has ended; inquiries.mu is held.
func (q *inquiry[T]) unleave() {
	if q.left {
		q.left = false
		q.among.left--
	}
}

// leave is to be called once by who has got it from ask, and waits for it no longer.
func (q *inquiry[T]) leave() {
	q.among.mu.Lock()
	defer q.among.mu.Unlock()
	_, underWay := q.among.all[q]
	switch q.waiting--; {
	case q.waiting > 0 || !underWay:
	case q.among.left >= maxLeft:
		q.cancel()
		q.part()
	default:
		q.left = true
		q.among.left++
	}
}

// hears has the question remember what a source asked by it has said, for those who wait no longer.
func (q *inquiry[T]) hears(ask func(context.Context, source.Step) ([]T, error)) func(context.Context, source.Step) ([]T, error) {
	return func(ctx context.Context, s source.Step) ([]T, error) {
		all, err := ask(ctx, s)
		if err == nil {
			q.among.mu.Lock()
			q.heard = append(q.heard, all)
			q.among.mu.Unlock()
		}
		return all, err
	}
}

// keep calls put with what was found, unless that was overtaken. What older questions of the
// subject find yet is.
func (q *inquiry[T]) keep(put func()) {
	q.among.mu.Lock()
	defer q.among.mu.Unlock()
	if q.overtaken {
		return
	}
	for other := range q.among.all {
		if other.of == q.of && other.begun.Before(q.begun) {
			other.overtaken = true
		}
	}
	put()
}

// outdated reports whether what was remembered when it began may have been deleted since.
func (q *inquiry[T]) outdated() bool {
	q.among.mu.Lock()
	defer q.among.mu.Unlock()
	return q.overtaken
}

// wait returns what comes of the question. Who has a list that is known waits for patience;
// then it is that, with what has been heard so far. The question goes on.
func (q *inquiry[T]) wait(ctx context.Context, known []T, patience time.Duration, isStill func() bool, merge func(a, b []T) []T) (List[T], error) {
	defer q.leave()
	var slow <-chan time.Time
	if len(known) > 0 {
		slow = time.After(patience)
	}
	for {
		select {
		case <-q.done:
			list := q.list
			list.All = slices.Clone(list.All) // others wait for the same
			return list, q.err
		case <-ctx.Done():
			return List[T]{}, ctx.Err()
		case <-slow:
			if slow = nil; isStill() {
				return q.soFar(known, merge), nil
			}
		}
	}
}

// soFar is what is known with what has been heard.
func (q *inquiry[T]) soFar(known []T, merge func(a, b []T) []T) List[T] {
	q.among.mu.Lock()
	heard := slices.Clone(q.heard)
	q.among.mu.Unlock()
	var all []T
	for _, list := range heard {
		all = merge(all, list)
	}
	return List[T]{All: merge(all, known), Merged: len(heard) > 0, Stale: len(heard) == 0}
}

// patience is how long who has a list that is known waits for a newer one: the deadline since
// the question began, and not so long where all who are asked are known to be silent.
func (l *Lists) patience(begun time.Time, hangs bool) time.Duration {
	left := l.Deadline - time.Since(begun)
	if hangs {
		left = 0
	}
	return max(left, source.Shortened(l.Deadline))
}

// hedge is how long the sources of a stage have for themselves. Where a list is known the
// others are to be heard before its client is given that.
func (l *Lists) hedge(known bool) time.Duration {
	if known {
		return l.Deadline / 2
	}
	return l.Deadline
}

// Written notes that a repo was changed through this edge: no list is remembered that may have
// been read before.
func (l *Lists) Written(repo string) {
	l.tagsAsked.written(repo)
	l.referrersAsked.written(repo)
}

// ended is why a question has no answer: nobody waits for it, or the edge ends.
func ended(ctx context.Context) error { return outcome.DontKnow(context.Cause(ctx)) }
