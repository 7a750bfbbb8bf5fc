// Package touch shows Harbor's retention what was pulled without it. Harbor counts a pull
// when a GET of the manifest reaches it and is answered 200; what an edge serves from its
// store it would delete. So each artifact that is pulled here is pulled once more by the
// edge itself at its own Harbor, once in an interval; and the other datacenters' edges are
// told, for their Harbors. What is owed outlasts restarts, and a Harbor that is away.
package touch

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"

	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/queue"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/registry"
)

// Pull is an artifact, and how it was pulled.
type Pull struct {
	Repo   string        `json:"repo"`
	Tag    string        `json:"tag,omitempty"` // "": by digest
	Digest digest.Digest `json:"digest"`
}

// valid bounds what another edge may say.
func (p Pull) valid() bool {
	return registry.ValidRepo(p.Repo) && (p.Tag == "" || registry.ValidTag(p.Tag)) && p.Digest.Validate() == nil
}

// State keeps what is owed across restarts. Values are opaque to it, and on disk within a
// second.
type State interface {
	EachTouch(do func(key string, value []byte))
	// PutTouch replaces a value, nil to remove it. What is oldest by at goes first where
	// there is too much.
	PutTouch(key string, value []byte, at time.Time)
}

// Config is what a Toucher needs.
type Config struct {
	Harbor    *source.Source       // the local one; nothing is touched without credentials of the edge's own
	Every     func() time.Duration // how often an artifact is touched at most; 0: never
	Namespace func(repo string) namespace.Namespace
	Peers     func() []*source.Source   // the other datacenters' edges, which are told
	Machine   func(account string) bool // whether an account is a replication's or an edge's
	Plain     func() bool               // whether the local registry is no Harbor
	Accept    string                    // of manifests
	State     State                     // nil: a restart forgets
	Pace      time.Duration             // a part of all times; 0: 1 s
	Log       *slog.Logger
	Metrics   prometheus.Registerer // nil: none
	Now       func() time.Time
}

const (
	settle      = 30  // times cfg.Pace, from a pull to its touch: Harbor writes in 10 s what was pulled from itself, and keeps in 20 s what its proxy cache has fetched
	touches     = 20  // begun in each cfg.Pace, at most
	sweepEvery  = 300 // times cfg.Pace, between two looks for what is settled
	maxEntries  = 1 << 17
	maxSwept    = 1 << 12 // pulls that are forgotten at once
	maxTold     = 500     // pulls that a peer is told at once
	attemptFor  = time.Minute
	lastFailed  = 600   // times cfg.Pace, between two tries of one artifact at most
	lastRefused = 21600 // the same, where Harbor does not let the edge
	lastQuiet   = 30    // times cfg.Pace, that nothing is tried after something has failed at most
	arrives     = 3     // tries, for what a proxy cache has fetched to be kept
)

// entry is what is known of a pull.
type entry struct {
	At       int64  `json:"a"`           // when it was last pulled or touched, in ms since 1970
	Since    int64  `json:"s,omitempty"` // the first pull that Harbor has not been shown, the same
	Owed     bool   `json:"o,omitempty"` // Harbor has not been shown it
	Past     bool   `json:"f,omitempty"` // clients of a cache got it past Harbor
	Position uint64 `json:"p,omitempty"` // in the log that peers are told from; 0: they are not told

	tries  int
	due    time.Time
	result string // of the last attempt since the start; "": none
}

func (e *entry) at() time.Time { return time.UnixMilli(e.At) }

// Toucher does so for one edge. Safe for concurrent use; a nil Toucher does nothing.
type Toucher struct {
	cfg     Config
	metrics *metrics

	mu      sync.Mutex
	entries map[Pull]*entry
	queue   queue.Queue[Pull]
	log     []told            // by position
	last    uint64            // position
	heard   map[string]uint64 // by datacenter: the position up to which its edge has heard
	wake    chan struct{}
	warned  bool // that Harbor refuses
	healing []Pull
	ill     chan struct{} // something is in healing
}

// New returns a Toucher. It touches while it Runs.
func New(cfg Config) *Toucher {
	if cfg.Pace == 0 {
		cfg.Pace = time.Second
	}
	t := &Toucher{cfg: cfg, entries: map[Pull]*entry{}, heard: map[string]uint64{}, wake: make(chan struct{}, 1), ill: make(chan struct{}, 1)}
	t.load()
	t.metrics = newMetrics(cfg.Metrics, t)
	return t
}

// off reports whether nothing is touched: nobody wants it, the edge has no account of its own,
// or there is no retention.
func (t *Toucher) off() bool {
	return t.cfg.Every() == 0 || t.cfg.Harbor.Registry.Anonymous() || t.cfg.Plain()
}

// Answer is what a client was given.
type Answer struct {
	To     *http.Request
	Who    string // by its credential; "": nobody knows
	Status int
	Header http.Header
}

// harborsOwn is the User-Agent of Harbor's own replications and proxy caches.
const harborsOwn = "harbor-registry-client"

// Served takes note of an answer to a client that asked for a manifest, by a tag or, where that is
// "", by its digest. It is a pull where it is one for Harbor: a GET, answered with the manifest.
// What Harbors, replications and edges fetch is none.
func (t *Toucher) Served(a Answer, repo, tag string) {
	if a.To.Method != http.MethodGet || a.Status != http.StatusOK && a.Status != http.StatusPartialContent ||
		a.To.UserAgent() == harborsOwn || a.Who != "" && t.cfg.Machine(a.Who) || t.off() {
		return
	}
	d, err := registry.ParseDigest(a.Header.Get("Docker-Content-Digest"))
	if err != nil {
		return
	}
	switch kind := t.cfg.Namespace(repo).Kind; kind {
	case namespace.Plain: // Harbor has answered itself
	case namespace.Cache: // by its tag Harbor would ask the upstream, and fetch what it has there now
		t.owe(Pull{repo, "", d}, false, t.isPast(a.Header))
	default:
		t.owe(Pull{repo, tag, d}, true, false)
	}
}

// Hear takes over what another edge says was pulled there. What is no image of a project
// that datacenters share is left out.
func (t *Toucher) Hear(all []Pull) {
	if t == nil || t.off() {
		return
	}
	for _, p := range all[:min(len(all), maxTold)] {
		if !p.valid() {
			continue
		}
		if kind := t.cfg.Namespace(p.Repo).Kind; kind == namespace.MultiDC || kind == namespace.Repl {
			t.owe(p, false, false)
		}
	}
}

// owe notes that Harbor is to be shown a pull, and with tell the peers, unless that was
// noted within the interval; past: it was one past Harbor, which counts each time.
func (t *Toucher) owe(p Pull, tell, past bool) {
	now := t.cfg.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.entries[p]
	if e != nil && now.Sub(e.at()).Abs() < t.cfg.Every() && (!past || e.Past) { // a clock may have been far ahead
		return
	}
	if e == nil {
		t.makeRoom()
		e = &entry{}
		t.entries[p] = e
	}
	e.Past = e.Past || past
	if e.At = now.UnixMilli(); !e.Owed {
		e.Owed, e.Since, e.tries, e.result = true, e.At, 0, ""
		t.schedule(p, e, settle*t.cfg.Pace)
	}
	if tell && len(t.cfg.Peers()) > 0 {
		t.last = max(t.last+1, uint64(e.At))
		e.Position = t.last
		t.log = append(t.log, told{t.last, p})
	}
	t.save(p, e)
}

// Run shows Harbor what it is owed, until ctx ends.
func (t *Toucher) Run(ctx context.Context) {
	go t.heal(ctx)
	swept, failed := time.Now(), 0
	for ctx.Err() == nil {
		if time.Since(swept) > sweepEvery*t.cfg.Pace {
			if !t.sweep() {
				swept = time.Now()
			}
		}
		p, wait, ok := t.next()
		if !ok {
			t.sleep(ctx, wait)
			continue
		}
		err := t.attempt(ctx, p)
		if ctx.Err() != nil {
			return
		}
		if t.finish(p, err) {
			failed, wait = 0, t.cfg.Pace/touches
		} else { // Harbor is not well: all others wait too
			failed, wait = failed+1, min(t.cfg.Pace<<min(failed, 5), lastQuiet*t.cfg.Pace)
		}
		pause(ctx, wait)
	}
}

// sleep waits until something is owed.
func (t *Toucher) sleep(ctx context.Context, most time.Duration) {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-t.wake:
	case <-timer.C:
	case <-ctx.Done():
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
