// Package follow makes the local Harbor follow the newest versions that its edge knows of:
// it gives the tag back what something has put back, brings what was pushed while Harbor
// was down, and deletes what was deleted elsewhere. Content comes before the tag.
package follow

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"

	"example.org/breakwater/proxy/carry"
	"example.org/breakwater/proxy/queue"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/proxy/version"
)

// Config is what a Follower needs.
type Config struct {
	Ledger *version.Ledger
	Harbor *source.Source // the local one; its own credentials may push into multi-dc- projects
	// Look finds out whether the repo's project is still the one that the Ledger's records are
	// of, and reports whether Harbor says now which it is. nil: projects are not told apart.
	Look func(ctx context.Context, repo string) (known bool)
	// Content is where what Harbor lacks is taken from, for a repo.
	Content func(repo string) carry.From
	// Elsewhere reports whether another datacenter's Harbor has a manifest. The error is an
	// outcome other than a no.
	Elsewhere func(ctx context.Context, repo string, d digest.Digest) (bool, error)
	// Accepts reports whether what Harbor has under a tag is newer than what is known.
	Accepts func(key version.Key, has digest.Digest) bool
	// Keeps reports whether Harbor is to hold what is pushed into a repo elsewhere. Where it is
	// not, it gets the newest version of the tags that it has all the same: those that were
	// pushed there. nil: everywhere.
	Keeps func(repo string) bool
	// Projects are those whose tags have versions; Adopt gives one to what was pushed past
	// the edges.
	Projects func() []string
	Adopt    func(context.Context, version.Key, digest.Digest) error
	// Pushing reports whether a client pushes the digest into the repo through this edge now.
	Pushing func(repo string, d digest.Digest) bool
	// Complete reports whether all other edges are heard of; nil: there are none.
	Complete func() bool
	// OwnsTags reports whether nobody but edges and people put tags into a project: no
	// replication does. Then a tag that Harbor has otherwise is a push past the edges. nil:
	// nowhere.
	OwnsTags func(project string) bool
	// Settled is the age at which what Harbor lacks may have been removed by its retention.
	Settled time.Duration
	Publish func() bool   // there are other datacenters: their Harbors are to get the content
	Pace    time.Duration // before the first retry, and a part of all other times; 0: 1 s
	Log     *slog.Logger
	Metrics prometheus.Registerer // nil: none
	Now     func() time.Time
}

// Follower follows for one Harbor. Safe for concurrent use.
type Follower struct {
	cfg     Config
	metrics *metrics
	ahead   atomic.Int64 // how much Harbor's clock is ahead of this edge's, in ns

	mu    sync.Mutex
	tasks map[version.Key]*task
	queue queue.Queue[item]
	down  bool // Harbor was found down, and everything is looked at when it is back
	wake  chan struct{}

	content chan struct{} // holds a token for each that is given content
}

const (
	workers  = 6
	carriers = 3  // workers that give Harbor content at once
	looks    = 50 // begun in each cfg.Pace, at most
	// maxRestored is how often Harbor's tag is set right for one version: then something
	// else owns it.
	maxRestored = 20
	patience    = 5                // tries, for content to come by Harbor's own replication
	strangeFor  = 10               // times cfg.Pace, for a webhook to say that what Harbor has is news
	aloneFor    = 30               // times cfg.Pace, while other edges, which may know what Harbor has, are not heard of
	lookLast    = 6 * time.Hour    // between two looks at what is as it should be
	attemptFor  = 15 * time.Minute // as long as a large layer may take
)

// New returns a Follower. It follows while it Runs.
func New(cfg Config) *Follower {
	if cfg.Pace == 0 {
		cfg.Pace = time.Second
	}
	f := &Follower{cfg: cfg, tasks: map[version.Key]*task{}, wake: make(chan struct{}, 1), content: make(chan struct{}, carriers)}
	if cfg.Complete == nil {
		f.cfg.Complete = func() bool { return true }
	}
	if cfg.Keeps == nil {
		f.cfg.Keeps = func(string) bool { return true }
	}
	f.metrics = newMetrics(cfg.Metrics, f)
	return f
}

// Changed is to be called when the record of a reference has changed. own says that it is
// this edge's own version: the content is published to the other datacenters' Harbors.
func (f *Follower) Changed(key version.Key, r version.Record, own bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := f.tasks[key]
	if !r.Known() {
		delete(f.tasks, key)
		return
	}
	t := &task{version: r.Version, publish: own && f.cfg.Publish() && !r.Deleted(), deleted: r.Deleted()}
	if before != nil && !before.givenUp && !before.retained { // a tag that moves on is not brought by that
		t.lags = before.lags
	}
	wait := time.Duration(0)
	if t.publish { // what is deleted at once, as by tests, goes nowhere
		wait = f.cfg.Pace
	}
	f.schedule(key, t, wait)
}

// Lagging is to be called when Harbor was seen to have something else than the newest
// version, "" for nothing.
func (f *Follower) Lagging(key version.Key, has digest.Digest) {
	if has == "" && !f.cfg.Keeps(key.Repo) {
		return
	}
	r := f.cfg.Ledger.Get(key)
	f.mu.Lock()
	defer f.mu.Unlock()
	switch t := f.tasks[key]; {
	case t == nil:
		f.begin(key, r, 0)
	case t.settled && !t.givenUp && !t.running:
		t.settled = false
		f.schedule(key, t, 0)
	}
}

// Removed is to be called when Harbor's own retention has removed a manifest: it is not
// brought back until it is pushed again, but for where Harbor has something else under the tag.
// A tag that Harbor has not been given yet is none that went with it.
func (f *Follower) Removed(key version.Key) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.tasks[key]
	if t == nil || !t.running && !t.had && !t.put && !t.givenUp {
		return
	}
	f.schedule(key, &task{version: t.version, retained: true, deleted: t.deleted}, f.cfg.Pace)
}

// Run does what is due, until ctx ends.
func (f *Follower) Run(ctx context.Context) {
	f.begins(func(string) bool { return true }) // after a restart all is looked at once
	go f.watch(ctx)
	slots := make(chan struct{}, workers)
	for {
		key, t, wait := f.next()
		if t == nil {
			timer := time.NewTimer(wait)
			select {
			case <-f.wake:
			case <-timer.C:
			case <-ctx.Done():
			}
			timer.Stop()
			if ctx.Err() != nil {
				return
			}
			continue
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		if !pause(ctx, f.cfg.Pace/looks) {
			return
		}
		go func() {
			defer func() { <-slots }()
			attempt, cancel := context.WithTimeout(ctx, attemptFor)
			defer cancel()
			f.finish(key, t, f.attempt(attempt, key, t))
		}()
	}
}

// Keep has all of the projects that Harbor is to hold looked at that it was not to hold before.
func (f *Follower) Keep() { f.begins(f.cfg.Keeps) }

// begins has those references looked at that are not, of some repos: one after the other, so
// that what becomes new meanwhile is looked at before those whose turn has not come.
func (f *Follower) begins(of func(repo string) bool) {
	turn := 0
	f.cfg.Ledger.Each(func(key version.Key, r version.Record, _ string) {
		if of(key.Repo) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.begin(key, r, f.inTurn(turn))
			turn++
		}
	})
}

// inTurn is when the nth of many is looked at.
func (f *Follower) inTurn(n int) time.Duration { return time.Duration(n) * f.cfg.Pace / looks }

// begin has a reference looked at that is not, after so long; f.mu is held.
func (f *Follower) begin(key version.Key, r version.Record, wait time.Duration) {
	if r.Known() && f.tasks[key] == nil {
		f.schedule(key, &task{version: r.Version, deleted: r.Deleted()}, wait)
	}
}

// pause reports whether ctx goes on after so long.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// finish schedules the next look at a reference by how this one went.
func (f *Follower) finish(key version.Key, t *task, result result) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t.running = false
	if f.tasks[key] != t { // its record has changed meanwhile
		return
	}
	wait := time.Duration(0)
	switch result {
	case ended:
		delete(f.tasks, key)
		return
	case abandoned:
		t.givenUp = true
		return
	case asItShould:
		if !t.settled {
			t.settled, t.looks, t.had = true, 0, true
		}
		wait = min(grow(f.cfg.Pace, t.looks), lookLast)
		t.looks++
	case later:
		wait = min(grow(f.cfg.Pace, t.tries), 30*f.cfg.Pace)
		t.tries++
	}
	f.schedule(key, t, wait)
}

// grow is the time before the nth look: each is half as long again as the one before.
func grow(pace time.Duration, n int) time.Duration {
	for range min(n, 40) {
		pace += pace / 2
	}
	return pace
}
