// Package tags knows what a reference of a repo is now: what was seen under it and
// when, whether that is still fresh, and that it was not there a moment ago (the
// negative cache). It joins the revalidations of one reference, and orders them with
// the writes through this edge, so that a client reads its own writes. It knows
// nothing of HTTP or of sources: it is given a function that asks.
package tags

import (
	"context"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/opencontainers/go-digest"
)

// Key is a reference of a repo: a tag, or a digest as text.
type Key struct{ Repo, Reference string }

// Entry is what a repo was seen to hold under a reference.
type Entry struct {
	Digest    digest.Digest // "" in the zero Entry: nothing was seen
	MediaType string
	Source    string    // the name of the source that answered
	Checked   time.Time // when the revalidation that found it began; zero: before this edge started, or never
	Pushed    time.Time // when a client pushed it through this edge; zero: it was found by asking, or before this edge started
	Refused   bool      // by Harbor's policy, when it was last asked
	Gone      time.Time // when its upstream was first heard to have deleted it; zero: it has not, as far as is known
	Looked    time.Time // when that upstream itself was last asked; zero: before this edge started, or never

	kept    bool      // the State keeps it as what stays
	saved   time.Time // when it was last given to the State
	project int64     // the id of the project that it was seen in
}

// Outlived reports whether what its upstream has deleted has been kept for as long as it was
// to be.
func (e Entry) Outlived(keep time.Duration, now time.Time) bool {
	return !e.Gone.IsZero() && now.Sub(e.Gone) >= keep
}

// State keeps entries across restarts, and returns none that was put while the name of the
// repo's project was another project's. An Entry from there is never fresh: what was written
// since is not remembered.
type State interface {
	// Tag returns what a reference was last seen to be.
	Tag(repo, reference string) (d digest.Digest, mediaType, source string, ok bool)
	// PutTag keeps what a reference was seen to be.
	PutTag(repo, reference string, d digest.Digest, mediaType, source string, seen time.Time)
	// DropTag forgets a reference.
	DropTag(repo, reference string)
	// DropDigest forgets every reference of the repo that was seen to be the digest.
	DropDigest(repo string, d digest.Digest)
	// Kept returns what stays under a reference, and when its upstream has deleted it.
	Kept(repo, reference string) (d digest.Digest, mediaType string, gone time.Time, ok bool)
	// PutKept keeps what stays under a reference, of whatever age it becomes.
	PutKept(repo, reference string, d digest.Digest, mediaType string, gone time.Time)
	// Gone returns the references of a repo that its upstream has deleted, and since when.
	Gone(repo string) map[string]time.Time
	// DropKept lets a reference go.
	DropKept(repo, reference string)
	// LetGo forgets every reference of every repo that stays at the digest.
	LetGo(d digest.Digest)
}

// noState keeps nothing.
type noState struct{}

func (noState) Tag(string, string) (digest.Digest, string, string, bool)        { return "", "", "", false }
func (noState) PutTag(string, string, digest.Digest, string, string, time.Time) {}
func (noState) DropDigest(string, digest.Digest)                                {}
func (noState) DropTag(string, string)                                          {}
func (noState) Kept(string, string) (_ digest.Digest, _ string, _ time.Time, _ bool) {
	return "", "", time.Time{}, false
}
func (noState) PutKept(string, string, digest.Digest, string, time.Time) {}
func (noState) DropKept(string, string)                                  {}
func (noState) Gone(string) map[string]time.Time                         { return nil }
func (noState) LetGo(digest.Digest)                                      {}

// Cache remembers manifests by repo and reference. Safe for concurrent use.
type Cache struct {
	// Project returns the id of the repo's project, 0 where that is not known: nothing is
	// remembered then, nor what was learned of another id. As New makes it, all repos are of one.
	Project func(repo string) int64
	// Stays reports whether a tag stays as it was first seen: it is remembered however long
	// nobody asks for it. As New makes it, none does.
	Stays func(Key) bool

	ctx   context.Context // of every revalidation, which no single request owns
	now   func() time.Time
	state State

	mu            sync.Mutex
	entries       *lru.Cache[Key, Entry]
	revalidations map[Question]*Revalidation // that are under way, and may be joined
	left          int                        // of the revalidations that are under way, those that nobody waits for
	writes        *lru.Cache[string, time.Time]
	negatives     *lru.Cache[Question, negative]
	elsewhere     *lru.Cache[Key, negative] // tags that no other datacenter has
}

const (
	maxEntries   = 1 << 16
	maxWrites    = 1 << 14 // repos
	maxNegatives = 1 << 14
	// An entry that says nothing new is saved again after a while of use, so that what is in
	// use is told from what is old.
	saveEvery = 24 * time.Hour
)

// noneApart is the id of every project where projects are not told apart.
const noneApart = -1

// New returns an empty Cache over a state; nil: a restart forgets. Its
// revalidations end with ctx.
func New(ctx context.Context, now func() time.Time, state State) *Cache {
	if state == nil {
		state = noState{}
	}
	c := &Cache{ctx: ctx, now: now, state: state, revalidations: map[Question]*Revalidation{}, Project: func(string) int64 { return noneApart },
		Stays: func(Key) bool { return false }}
	c.entries, _ = lru.New[Key, Entry](maxEntries)                                             // the sizes are positive: no error
	c.writes, _ = lru.NewWithEvict(maxWrites, func(string, time.Time) { c.elsewhere.Purge() }) // what was written is not known any more
	c.negatives, _ = lru.New[Question, negative](maxNegatives)
	c.elsewhere, _ = lru.New[Key, negative](maxNegatives)
	return c
}

// Get returns what is remembered of a reference. fresh reports whether it may be
// believed without asking, for an answer that is good for freshness.
func (c *Cache) Get(key Key, freshness time.Duration) (e Entry, known, fresh bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, known = c.recall(key)
	if now := c.now(); known && now.Sub(e.saved) > saveEvery {
		c.save(key, &e, now)
		c.entries.Add(key, e)
	}
	return e, known, known && c.fresh(key, e, freshness)
}

// fresh: an answer to a question from before the repo's last write may be older
// than that write; c.mu is held.
func (c *Cache) fresh(key Key, e Entry, freshness time.Duration) bool {
	written, _ := c.writes.Get(key.Repo)
	return c.now().Sub(e.Checked) < freshness && e.Checked.After(written)
}

// recall returns what is in memory, or was before a restart; c.mu is held.
func (c *Cache) recall(key Key) (Entry, bool) {
	project := c.Project(key.Repo)
	if project == 0 {
		return Entry{}, false
	}
	if e, ok := c.entries.Get(key); ok && e.project == project {
		return e, true
	}
	d, mediaType, source, ok := c.state.Tag(key.Repo, key.Reference)
	stays, keptType, gone, kept := c.state.Kept(key.Repo, key.Reference)
	switch {
	case !ok && !kept:
		return Entry{}, false
	case !ok: // nobody has asked for long
		d, mediaType = stays, keptType
	case d != stays:
		gone = time.Time{}
	}
	e := Entry{Digest: d, MediaType: mediaType, Source: source, Gone: gone, kept: kept, project: project}
	c.entries.Add(key, e)
	return e, true
}

// save gives an entry to the State, as seen at a time; c.mu is held.
func (c *Cache) save(key Key, e *Entry, seen time.Time) {
	e.saved = seen
	c.state.PutTag(key.Repo, key.Reference, e.Digest, e.MediaType, e.Source, seen)
}

// keep remembers an entry of a project, and saves it where it says something new; c.mu is held.
func (c *Cache) keep(key Key, e Entry, project int64) {
	if project == 0 || project != c.Project(key.Repo) {
		return
	}
	old, ok := c.entries.Peek(key)
	e.saved, e.project = old.saved, project
	if !ok || old.project != project || old.Digest != e.Digest || old.MediaType != e.MediaType || e.Checked.Sub(old.saved) > saveEvery {
		c.save(key, &e, e.Checked)
	}
	if !ok {
		_, _, _, old.kept = c.state.Kept(key.Repo, key.Reference)
	}
	switch e.kept = !e.Gone.IsZero() || c.Stays(key); {
	case e.kept && (!old.kept || old.Digest != e.Digest || old.MediaType != e.MediaType || !old.Gone.Equal(e.Gone)):
		c.state.PutKept(key.Repo, key.Reference, e.Digest, e.MediaType, e.Gone)
	case !e.kept && old.kept:
		c.state.DropKept(key.Repo, key.Reference)
	}
	c.entries.Add(key, e)
}

// Pin has what is remembered of a reference stay in the State, of whatever age it becomes.
func (c *Cache) Pin(key Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, known := c.recall(key); known && !e.kept {
		e.kept = true
		c.state.PutKept(key.Repo, key.Reference, e.Digest, e.MediaType, e.Gone)
		c.entries.Add(key, e)
	}
}

// Gone returns the references of a repo that its upstream has deleted, and that are kept.
func (c *Cache) Gone(repo string, keep time.Duration) (all []string) {
	for reference, since := range c.state.Gone(repo) {
		e, known, _ := c.Get(Key{repo, reference}, 0)
		if known && e.Gone.Equal(since) && !e.Outlived(keep, c.now()) {
			all = append(all, reference)
		}
	}
	return all
}

// LetGo forgets what stays at a digest, in every repo: it is asked for anew.
func (c *Cache) LetGo(d digest.Digest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, key := range c.entries.Keys() {
		if e, ok := c.entries.Peek(key); ok && e.kept && e.Digest == d {
			c.entries.Remove(key)
		}
	}
	c.state.LetGo(d)
}

// forget drops what is remembered of a reference; c.mu is held.
func (c *Cache) forget(key Key) {
	c.entries.Remove(key)
	c.state.DropTag(key.Repo, key.Reference)
	c.state.DropKept(key.Repo, key.Reference)
}

// Written notes that a client changed the repo through this edge. What was learned
// before is not fresh any more, and a revalidation that is under way is not joined:
// it may have seen what was there before the write. moved is the tag that certainly
// changed, "" for none: no older copy of it is served again, whoever is down.
func (c *Cache) Written(repo, moved string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writes.Add(repo, c.now())
	if moved != "" {
		c.forget(Key{repo, moved})
	}
	for q := range c.revalidations {
		if q.Repo == repo {
			delete(c.revalidations, q)
		}
	}
}

// Deleted forgets every reference of a repo to a manifest that a client has deleted: no
// copy of it is served, whoever is down.
func (c *Cache) Deleted(repo string, d digest.Digest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, key := range c.entries.Keys() {
		if e, ok := c.entries.Peek(key); ok && key.Repo == repo && e.Digest == d {
			c.entries.Remove(key)
		}
	}
	c.state.DropDigest(repo, d)
}

// Pushed remembers what a client has pushed. It is revalidated like everything
// else, and served when nobody can say.
func (c *Cache) Pushed(key Key, e Entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.Pushed = c.now()
	c.keep(key, e, c.Project(key.Repo))
}
