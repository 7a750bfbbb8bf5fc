package tags

import (
	"context"
	"errors"
	"time"

	"example.org/breakwater/proxy/outcome"
)

// Question is what a revalidation finds out. A peer's question is not a client's:
// no other datacenter is asked for a peer, so that neither answer serves for the other.
type Question struct {
	Key
	OwnOnly bool // a peer's
}

// Found is a manifest as somebody has it.
type Found struct {
	Entry Entry
	Body  []byte // nil: the body that is held is still right
	Stale bool   // the source only remembers it: good for those who wait, and no longer
}

// Revalidation asks once for what a reference is now; any number of requests wait for it.
type Revalidation struct {
	Done <-chan struct{} // closed when Found and Err are there to be read
	Found
	Err error

	begun   time.Time
	of      Question
	project int64 // the id of the repo's project then
	done    chan struct{}
	cache   *Cache
	cancel  context.CancelFunc

	waiting int  // for it, by those who have not left; guarded by Cache.mu
	left    bool // nobody waits for it, and it counts in Cache.left; as above
}

// negative is a no that is remembered.
type negative struct {
	err     error
	begun   time.Time // when the revalidation that found it began
	until   time.Time
	project int64
}

const (
	deadline = 16 * time.Minute // of a revalidation: longer than a source is waited for
	// joinFor is how long a revalidation is joined by others: an answer that has not come until
	// then may be lost, and the next who asks does not depend on it.
	joinFor = time.Minute
	noFor   = 5 * time.Second // at most: a tag is not believed to be missing for longer than to be there
	// maxLeft is how many revalidations go on for the next who asks though nobody waits for
	// them. Who comes and goes again does not keep more of them busy.
	maxLeft = 256
)

// Negative returns the no that is remembered for a question, nil where there is none.
func (c *Cache) Negative(q Question) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.negative(q)
}

func (c *Cache) negative(q Question) error {
	if no, ok := c.negatives.Get(q); ok && c.stands(no, q.Repo) {
		return no.err
	}
	return nil
}

// stands: no write to the repo has come since, nor another project in its place; c.mu is held.
func (c *Cache) stands(no negative, repo string) bool {
	written, _ := c.writes.Get(repo)
	return c.now().Before(no.until) && no.begun.After(written) && no.project != 0 && no.project == c.Project(repo)
}

// Revalidate joins the revalidation of q that is under way, or starts one. One that
// began before the repo's last write is never joined, so that nobody is shown a tag
// older than a push that was already answered, nor one of another project. seen is what the caller read before:
// a revalidation that has ended since is as good as one that is joined. ask is
// called with what is remembered now; its error is an outcome.
func (c *Cache) Revalidate(q Question, seen Entry, freshness time.Duration, ask func(ctx context.Context, old Entry) (Found, error)) (r *Revalidation, joined bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	project := c.Project(q.Repo)
	if r, ok := c.revalidations[q]; ok && r.project == project && c.now().Sub(r.begun) < joinFor {
		r.waiting++
		r.unleave()
		return r, true
	}
	old, _ := c.recall(q.Key)
	done := make(chan struct{})
	r = &Revalidation{Done: done, begun: c.now(), of: q, project: project, done: done, cache: c, waiting: 1}
	newer := old.Checked.After(seen.Checked) && c.fresh(q.Key, old, freshness)
	if r.Err = c.negative(q); newer || r.Err != nil {
		r.Entry = old
		close(done)
		return r, true
	}
	c.revalidations[q] = r
	ctx, cancel := context.WithTimeout(c.ctx, deadline)
	r.cancel = func() {
		cancel()
		r.part()
	}
	go func() {
		defer cancel()
		r.Found, r.Err = ask(ctx, old)
		if r.Entry.Refused = false; !r.Stale {
			r.Entry.Checked = r.begun
		}
		c.finish(q, r, min(freshness, noFor))
	}()
	return r, false
}

// Leave is to be called once by who has got it from Revalidate, and waits for it no longer.
func (r *Revalidation) Leave() {
	c := r.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.waiting--; r.waiting > 0 || r.cancel == nil {
		return
	}
	if c.left >= maxLeft {
		r.cancel()
		return
	}
	r.left = true
	c.left++
}

// Forsake is for who waits no longer because nobody may ever answer: whoever comes now begins
// another revalidation. What this one finds is taken over all the same.
func (r *Revalidation) Forsake() {
	r.cache.mu.Lock()
	defer r.cache.mu.Unlock()
	r.part()
}

// part has the revalidation be joined no longer; Cache.mu is held.
func (r *Revalidation) part() {
	if r.cache.revalidations[r.of] == r {
		delete(r.cache.revalidations, r.of)
	}
}

// unleave notes that somebody waits for it again, or that it has ended; Cache.mu is held.
func (r *Revalidation) unleave() {
	if r.left {
		r.left = false
		r.cache.left--
	}
}

// finish takes the answer over, unless a write or a later answer has overtaken it.
func (c *Cache) finish(q Question, r *Revalidation, noFor time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer close(r.done)
	r.unleave()
	r.cancel = nil
	r.part()
	newest, _ := c.entries.Get(q.Key)
	written, _ := c.writes.Get(q.Repo)
	switch {
	case r.project != c.Project(q.Repo): // it may have seen another project's
	case !r.begun.After(written): // it may have seen what was there before the write
	case r.begun.Before(newest.Checked): // a later one has answered already
	case r.Err == nil:
		c.keep(q.Key, r.Entry, r.project)
		if r.Entry.Gone.IsZero() { // a tag that was deleted says nothing of its digest
			c.keep(Key{q.Repo, r.Entry.Digest.String()}, r.Entry, r.project) // the client asks for it next
		}
	case outcome.IsPolicy(r.Err):
		if newest.Refused = true; newest.Digest != "" && newest.project == r.project {
			c.entries.Add(q.Key, newest)
		}
	case outcome.IsNo(r.Err):
		if !q.OwnOnly && outcome.IsFirmNo(r.Err) && !errors.Is(r.Err, outcome.ErrOutlived) {
			c.forget(q.Key)
		}
		if noFor > 0 {
			c.negatives.Add(q, negative{r.Err, r.begun, c.now().Add(noFor), r.project})
		}
	}
}
