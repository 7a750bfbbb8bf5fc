// Package announce tells the other edges of a fleet what was pushed and deleted here, and
// hears what they tell. Each edge keeps a log (package version); to each peer goes what
// that peer has not acknowledged, in batches, one at a time. A position in the log says
// how far a peer has heard, so that nothing is lost by a partition or a restart.
package announce

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"

	"example.org/breakwater/proxy/source"
	"example.org/breakwater/proxy/touch"
	"example.org/breakwater/proxy/version"
)

// Config is what an Announcer needs.
type Config struct {
	Ledger *version.Ledger
	Peers  []*source.Source // at the start
	// Takes reports whether a reference is one that edges tell each other of: a tag or
	// digest of a multi-dc- project's repo.
	Takes func(version.Key) bool
	// Served asks an edge what it serves under a reference. The record is zero where that
	// edge knows of no version; the error is an outcome.
	Served func(context.Context, *source.Source, version.Key) (version.Record, error)
	// Manifest returns a manifest that is held, nil for none; Keep keeps one that another
	// edge sent, if it is what its digest says.
	Manifest func(digest.Digest) []byte
	Keep     func(d digest.Digest, manifest []byte) error
	Touches  *touch.Toucher // what else is told and heard: pulls; nil: nothing
	Settled  time.Duration  // the age from which on versions are told without their manifests
	Now      func() time.Time
	Pace     time.Duration // before the first retry, and a part of all other times; 0: 1 s
	Log      *slog.Logger
	// Metrics: what was announced and heard; nil: none.
	Metrics prometheus.Registerer
}

// Announcer speaks for one edge. Safe for concurrent use.
type Announcer struct {
	cfg     Config
	senders atomic.Pointer[[]*sender]
	metrics *metrics
	telling sync.WaitGroup

	mu      sync.Mutex
	ctx     context.Context       // of Run, while it runs
	pending map[version.Key]claim // announced here, and not yet known to be served
	spoke   map[string]time.Time  // when a datacenter's edge spoke last
	level   map[string]time.Time  // when it had told everything
	wake    chan struct{}
	hearing map[string]*sync.Mutex // by datacenter: one batch of each at a time
}

const (
	maxBatch    = 500      // records
	maxManifest = 64 << 10 // bytes of one that is told with its version
	maxTold     = 4 << 20  // bytes of all manifests of a batch
	maxPace     = 5        // times cfg.Pace, between two tries
	idle        = 6        // times cfg.Pace, between two batches when there is nothing to say
	levelFor    = 9        // times cfg.Pace, in which an edge that has told everything has told everything
	silentAfter = 30       // times cfg.Pace, after which an edge that does not speak is not heard of
	deadline    = 5 * time.Second
	maxBeside   = 8           // batches on their way to a peer at once
	answersIn   = time.Second // a peer to which more is sent beside what it has not answered
)

// New returns an Announcer. It tells and verifies while it Runs.
func New(cfg Config) *Announcer {
	if cfg.Pace == 0 {
		cfg.Pace = time.Second
	}
	a := &Announcer{cfg: cfg, pending: map[version.Key]claim{}, spoke: map[string]time.Time{}, level: map[string]time.Time{}, hearing: map[string]*sync.Mutex{}, wake: make(chan struct{}, 1)}
	a.senders.Store(&[]*sender{})
	a.Use(cfg.Peers)
	a.metrics = newMetrics(cfg.Metrics, a)
	return a
}

// Use replaces the peers. One that stays goes on as before; one that is new is told from the
// log, as far as it has not heard; one that is left out is told no more.
func (a *Announcer) Use(peers []*source.Source) {
	a.mu.Lock()
	defer a.mu.Unlock()
	left, next := *a.senders.Load(), []*sender{}
	for _, p := range peers {
		if at := slices.IndexFunc(left, func(s *sender) bool { return s.to == p }); at >= 0 {
			next = append(next, left[at])
			left = slices.Delete(slices.Clone(left), at, at+1)
			continue
		}
		s := newSender(a, p)
		a.spoke[p.Datacenter], a.hearing[p.Datacenter] = time.Now(), &sync.Mutex{}
		a.begin(s)
		next = append(next, s)
	}
	for _, s := range left {
		s.end()
	}
	a.senders.Store(&next)
}

// begin has a peer told, once Run has begun; a.mu is held.
func (a *Announcer) begin(s *sender) {
	if a.ctx == nil {
		return
	}
	var ctx context.Context
	ctx, s.cancel = context.WithCancel(a.ctx)
	a.telling.Go(func() { s.run(ctx) })
}

// Run tells the peers what is new, and verifies what they tell, until ctx ends.
func (a *Announcer) Run(ctx context.Context) {
	a.mu.Lock()
	a.ctx = ctx
	for _, s := range *a.senders.Load() {
		a.begin(s)
	}
	a.mu.Unlock()
	a.verify(ctx)
	a.mu.Lock()
	a.ctx = nil // nobody begins any more
	a.mu.Unlock()
	a.telling.Wait()
}

// Changed is to be called when the ledger has a new record of this edge's own.
func (a *Announcer) Changed() {
	for _, s := range *a.senders.Load() {
		poke(s.wake)
	}
}

// Acknowledged waits until all peers that can be reached have what this edge has
// written down so far, or ctx ends. It returns the datacenters that have it, sorted.
func (a *Announcer) Acknowledged(ctx context.Context) []string {
	_, _, last := a.cfg.Ledger.Since(0, 0)
	var mu sync.Mutex
	var all sync.WaitGroup
	done := []string{}
	for _, s := range *a.senders.Load() {
		all.Go(func() {
			if s.reached(ctx, last) {
				mu.Lock()
				defer mu.Unlock()
				done = append(done, s.to.Datacenter)
			}
		})
	}
	all.Wait()
	slices.Sort(done)
	return done
}

// Backlog is what a peer has not heard yet.
type Backlog struct {
	Datacenter string
	Positions  uint64        // of this edge's log
	Waiting    time.Duration // since the peer had heard everything, or this edge began to tell it; 0: it has
}

// Backlogs are those of all peers, by what this edge had written down when it last turned to
// each: some seconds ago, where one fails. Neither they nor the disk are asked.
func (a *Announcer) Backlogs() (all []Backlog) {
	now := a.cfg.Now()
	for _, s := range *a.senders.Load() {
		all = append(all, s.backlog(now))
	}
	return all
}
