package proxy

import (
	"context"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/opencontainers/go-digest"
)

// entry is what a repo was seen to hold under a tag or a digest, and when.
type entry struct {
	digest    digest.Digest
	mediaType string
	source    string    // the name of the place that said so
	checked   time.Time // when the look that said so began
	written   time.Time // when it was last written down
	refused   bool      // by Harbor's policy, when it was last asked
}

// tags remembers manifests by repo and reference, and joins the looks at their
// sources: one at a time per reference, however many wait for it.
type tags struct {
	ctx    context.Context // of every look: nobody's request
	now    func() time.Time
	memory *Memory // nil: none

	mu      sync.Mutex
	entries *lru.Cache[tagKey, entry]
	looks   map[lookKey]*look
	writes  *lru.Cache[string, time.Time] // by repo, the last write through this edge
	nos     *lru.Cache[lookKey, refusal]
}

// refusal is a no that is remembered.
type refusal struct {
	err   error
	begun time.Time // when the look that said so began
	until time.Time
}

type tagKey struct{ repo, reference string }

// lookKey is of one question: a client's, or a peer's, for whom no other
// datacenter is asked, so that its answer is not a client's nor the other way round.
type lookKey struct {
	tagKey
	ownOnly bool
}

// look is one revalidation at a source.
type look struct {
	begun time.Time
	done  chan struct{}
	found
	err error
}

const (
	maxTags   = 1 << 16
	maxWrites = 1 << 14
	maxNos    = 1 << 14
	// An entry that says nothing new is written down again after a while, so that
	// what is in use is told from what is old.
	writeEvery = 24 * time.Hour
	noFor      = 5 * time.Second // at most: a tag is not believed to be missing for longer than to be there
)

func newTags(ctx context.Context, now func() time.Time, memory *Memory) *tags {
	t := &tags{ctx: ctx, now: now, memory: memory, looks: map[lookKey]*look{}}
	t.entries, _ = lru.New[tagKey, entry](maxTags) // the size is positive: no error
	t.writes, _ = lru.New[string, time.Time](maxWrites)
	t.nos, _ = lru.New[lookKey, refusal](maxNos)
	return t
}

// refused returns the no that is remembered for key, nil where there is none.
func (t *tags) refused(key lookKey) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.refusal(key)
}

func (t *tags) refusal(key lookKey) error {
	no, ok := t.nos.Get(key)
	written, _ := t.writes.Get(key.repo)
	if !ok || !t.now().Before(no.until) || !no.begun.After(written) {
		return nil
	}
	return no.err
}

// get returns what is remembered, and whether it is fresh enough to be believed.
func (t *tags) get(key tagKey, freshness time.Duration) (e entry, known, fresh bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, known = t.recall(key)
	return e, known, known && t.fresh(key, e, freshness)
}

func (t *tags) fresh(key tagKey, e entry, freshness time.Duration) bool {
	written, _ := t.writes.Get(key.repo)
	return t.now().Sub(e.checked) < freshness && e.checked.After(written)
}

// recall returns what is in memory, or was before a restart; t.mu is held.
func (t *tags) recall(key tagKey) (entry, bool) {
	if e, ok := t.entries.Get(key); ok {
		return e, true
	}
	e, ok := t.memory.tag(key)
	if ok {
		t.entries.Add(key, e)
	}
	return e, ok
}

// keep remembers an entry, and writes it down where it says something new; t.mu is held.
func (t *tags) keep(key tagKey, e entry) {
	old, ok := t.entries.Peek(key)
	e.written = old.written
	if !ok || old.digest != e.digest || old.mediaType != e.mediaType || e.checked.Sub(old.written) > writeEvery {
		e.written = e.checked
		t.memory.putTag(key, e)
	}
	t.entries.Add(key, e)
}

// written says that a client changed the repo: what was looked up before it is
// no answer any more, nor is a look that was already under way. Of the tag that
// was moved, "" for none, no older copy is to be served, whoever is down.
func (t *tags) written(repo, moved string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.writes.Add(repo, t.now())
	if moved != "" {
		t.entries.Remove(tagKey{repo, moved})
		t.memory.dropTag(tagKey{repo, moved})
	}
	for key := range t.looks {
		if key.repo == repo {
			delete(t.looks, key)
		}
	}
}

// pushed remembers what a client has pushed: it is asked about like everything else,
// and served when nobody can say.
func (t *tags) pushed(key tagKey, e entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.keep(key, e)
}

// revalidate joins the look that is under way for key, or starts one. A look
// that began before the repo's last write is never joined, so nobody is shown a
// tag older than a push that had already answered. seen is what the caller read
// before: a look that has ended since is as good as one that is joined.
func (t *tags) revalidate(key lookKey, seen entry, freshness time.Duration, ask func(ctx context.Context, old entry) (found, error)) (l *look, joined bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l, ok := t.looks[key]; ok {
		return l, true
	}
	old, _ := t.recall(key.tagKey)
	l = &look{begun: t.now(), done: make(chan struct{})}
	newer := old.checked.After(seen.checked) && t.fresh(key.tagKey, old, freshness)
	if l.err = t.refusal(key); newer || l.err != nil {
		l.entry = old
		close(l.done)
		return l, true
	}
	t.looks[key] = l
	go func() {
		ctx, cancel := context.WithTimeout(t.ctx, lookDeadline)
		defer cancel()
		l.found, l.err = ask(ctx, old)
		if l.entry.refused = false; !l.stale { // what a peer only remembers is good for those who wait, and no longer
			l.entry.checked = l.begun
		}
		t.finish(key, l, min(freshness, noFor))
	}()
	return l, false
}

func (t *tags) finish(key lookKey, l *look, noFor time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer close(l.done)
	if t.looks[key] == l {
		delete(t.looks, key)
	}
	newest, _ := t.entries.Get(key.tagKey)
	written, _ := t.writes.Get(key.repo)
	switch {
	case !l.begun.After(written): // it may have seen what was there before the write
	case l.begun.Before(newest.checked): // a later look has answered already
	case l.err == nil:
		t.keep(key.tagKey, l.entry)
		t.keep(tagKey{key.repo, l.entry.digest.String()}, l.entry) // the client asks for it next
	case isPolicy(l.err):
		if newest.refused = true; newest.digest != "" {
			t.entries.Add(key.tagKey, newest)
		}
	case isNo(l.err):
		if !key.ownOnly && isFirmNo(l.err) {
			t.entries.Remove(key.tagKey)
			t.memory.dropTag(key.tagKey)
		}
		if noFor > 0 {
			t.nos.Add(key, refusal{l.err, l.begun, t.now().Add(noFor)})
		}
	}
}
