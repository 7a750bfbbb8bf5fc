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
	checked   time.Time // when the look that said so began
}

// tags remembers manifests by repo and reference, and joins the looks at their
// sources: one at a time per reference, however many wait for it.
type tags struct {
	ctx context.Context // of every look: nobody's request
	now func() time.Time

	mu      sync.Mutex
	entries *lru.Cache[tagKey, entry]
	looks   map[tagKey]*look
	writes  *lru.Cache[string, time.Time] // by repo, the last write through this edge
}

type tagKey struct{ repo, reference string }

// look is one revalidation at a source.
type look struct {
	begun time.Time
	done  chan struct{}
	entry entry
	body  []byte // what was read, for those who wait; nil: what the store holds is still right
	err   error
}

const (
	maxTags   = 1 << 16
	maxWrites = 1 << 14
)

func newTags(ctx context.Context, now func() time.Time) *tags {
	t := &tags{ctx: ctx, now: now, looks: map[tagKey]*look{}}
	t.entries, _ = lru.New[tagKey, entry](maxTags) // the size is positive: no error
	t.writes, _ = lru.New[string, time.Time](maxWrites)
	return t
}

// get returns what is remembered, and whether it is fresh enough to be believed.
func (t *tags) get(key tagKey, freshness time.Duration) (e entry, known, fresh bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, known = t.entries.Get(key)
	written, _ := t.writes.Get(key.repo)
	fresh = known && t.now().Sub(e.checked) < freshness && e.checked.After(written)
	return e, known, fresh
}

// written says that a client changed the repo: what was looked up before it is
// no answer any more, nor is a look that was already under way.
func (t *tags) written(repo string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.writes.Add(repo, t.now())
	for key := range t.looks {
		if key.repo == repo {
			delete(t.looks, key)
		}
	}
}

// revalidate joins the look that is under way for key, or starts one. A look
// that began before the repo's last write is never joined, so nobody is shown a
// tag older than a push that had already answered.
func (t *tags) revalidate(key tagKey, ask func(ctx context.Context, old entry) (entry, []byte, error)) (l *look, joined bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l, ok := t.looks[key]; ok {
		return l, true
	}
	old, _ := t.entries.Get(key)
	l = &look{begun: t.now(), done: make(chan struct{})}
	t.looks[key] = l
	go func() {
		ctx, cancel := context.WithTimeout(t.ctx, lookDeadline)
		defer cancel()
		l.entry, l.body, l.err = ask(ctx, old)
		l.entry.checked = l.begun
		t.finish(key, l)
	}()
	return l, false
}

func (t *tags) finish(key tagKey, l *look) {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer close(l.done)
	if t.looks[key] == l {
		delete(t.looks, key)
	}
	newest, _ := t.entries.Get(key)
	switch {
	case l.begun.Before(newest.checked): // a later look has answered already
	case l.err == nil:
		t.entries.Add(key, l.entry)
		t.entries.Add(tagKey{key.repo, l.entry.digest.String()}, l.entry) // the client asks for it next
	case isNo(l.err):
		t.entries.Remove(key)
	}
}
