package gslb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"example.org/breakwater/internal/daemon"
	"example.org/breakwater/internal/keyring"
)

// FleetConfig is what the fleet file says of the fleet.
type FleetConfig struct {
	Datacenters []Datacenter // as they stand in the fleet file
	Zones       []Zone
	Order       []int          // see PlacesConfig
	Topology    string         // see PlacesConfig
	GeoIP       string         // see PlacesConfig
	Explain     []netip.Prefix // who may ask for the TXT records that say why
}

// Config is what one name server needs.
type Config struct {
	Node     string // the datacenter that it runs in
	Fleet    FleetConfig
	Targets  []Target
	Probe    ProbeConfig
	State    string               // file of what outlasts a restart; "": nothing does
	Listen   string               // host:port, UDP and TCP
	TakeOver bool                 // another name server may have it until this one answers: it is listened on only then
	Keys     *keyring.Ring        // the name servers share them: for cookies; nil: each its own
	Proxies  []netip.Prefix       // who says for whom it asks, by the PROXY protocol, and is not heard without; none: nobody
	Rate     int                  // responses a second for a client network and kind, beyond which they are dropped or cut short; 0: no limit
	Version  string               // what version.bind says; "": nothing
	Build    string               // the program's version, for Report
	Lacks    func() []daemon.Lack // what is wrong with what the name server needs, for Report; nil: nothing
	// Witnesses are addresses outside the fleet: a node that reaches none of them, no other
	// datacenter and no other node is cut off, and keeps what it knew. None: no node is.
	Witnesses []netip.Addr
	Exchange  Exchange // of observations with the other nodes; nil: each judges by its own probes alone
	Log       *slog.Logger
	Metrics   prometheus.Registerer // nil: none
}

// rememberedHealth is how old a snapshot may be that answers are given from before
// the first round of probes is in.
const rememberedHealth = 10 * time.Minute

// writeEvery is how often the state is written when nothing changes.
const writeEvery = 10 * time.Second

// Node is one name server.
type Node struct {
	node    string
	build   string
	lacks   func() []daemon.Lack // nil: nothing
	log     *slog.Logger
	metrics *metrics
	file    string
	view    atomic.Pointer[view] // nil until answers can be given
	ready   chan struct{}        // closed then
	server  *server
	listen  string // see Config
	sockets []*sockets

	mu       sync.Mutex
	fleet    *fleetNow
	keys     []string // IDs of those it knows operators by, the one in use first
	health   *health
	ctx      context.Context    // of all probes
	stop     context.CancelFunc // of those that run
	state    state
	fewer    map[string]fewer // by name; see noteGood
	serving  bool             // the first round is in, or what was known is young enough
	isolated bool             // see judged
	changes  chan struct{}
	wake     *time.Timer // when what is answered is another by itself; see renew

	observers *observers
	witnesses *witnesses
	exchange  Exchange      // nil: there is none
	exchanged chan struct{} // closed when the first exchange has ended
	news      chan struct{} // the probes have changed their mind

	unwritten error // why the state is not in its file; nil: it is
}

// fleetNow is a fleet as it was read last.
type fleetNow struct {
	*Fleet
	targets   []Target
	probe     ProbeConfig
	witnesses []netip.Addr
	asks      map[string]string // see Observation.Asked
	digest    string            // see Report
}

// readFleet reads what the configuration names.
func readFleet(cfg Config) (*fleetNow, error) {
	f := cfg.Fleet
	places, err := NewPlaces(PlacesConfig{Datacenters: f.Datacenters, Order: f.Order, Topology: f.Topology, GeoIP: f.GeoIP})
	if err != nil {
		return nil, err
	}
	now := &fleetNow{Fleet: &Fleet{Datacenters: f.Datacenters, Zones: f.Zones, Places: places, Explain: f.Explain}, targets: cfg.Targets, probe: cfg.Probe, witnesses: cfg.Witnesses}
	now.asks, now.digest = asked(cfg.Targets), now.sum()
	return now, nil
}

// sum is a digest of all that answers are made of beside health and overrides.
func (f *fleetNow) sum() string {
	h := xxhash.New()
	for i := range f.Zones {
		fmt.Fprintln(h, f.serial(&f.Zones[i]))
	}
	fmt.Fprintf(h, "%+v%+v%+v", f.probe, f.witnesses, f.Explain)
	return fmt.Sprintf("%016x", h.Sum64())
}

// New reads the files that the configuration names and opens the sockets. Nothing is
// probed or answered yet.
func New(ctx context.Context, cfg Config) (*Node, error) {
	f, err := readFleet(cfg)
	if err != nil {
		return nil, err
	}
	s := &Node{node: cfg.Node, build: cfg.Build, lacks: cfg.Lacks, log: cfg.Log, metrics: newMetrics(cfg.Metrics), file: cfg.State, fleet: f, keys: keyIDs(cfg.Keys), changes: make(chan struct{}, 1), ready: make(chan struct{}),
		observers: newObservers(), witnesses: newWitnesses(nil), exchange: cfg.Exchange, exchanged: make(chan struct{}), news: make(chan struct{}, 1)}
	if s.exchange == nil {
		close(s.exchanged)
	}
	if s.state, err = loadState(cfg.State, cfg.Log); err != nil {
		return nil, err
	}
	hooks := s.metrics.hooks()
	r := &responder{answerer: s, nsid: cfg.Node, version: cfg.Version, cookies: newCookies(time.Now), hooks: hooks, log: cfg.Log}
	r.cookies.set(cookieSecrets(cfg.Keys))
	if cfg.Rate > 0 {
		r.limit = newLimiter(cfg.Rate, time.Now)
	}
	s.server, s.listen = &server{responder: r, log: cfg.Log, hooks: hooks, takeOver: cfg.TakeOver, proxies: cfg.Proxies}, cfg.Listen
	if !cfg.TakeOver {
		s.sockets, err = s.server.listen(ctx, s.listen)
	}
	return s, err
}

// cookieSecrets are those of cookies that the name servers' common keys give.
func cookieSecrets(keys *keyring.Ring) (all []secret) {
	for _, k := range keys.For(keyring.Cookies) {
		all = append(all, secret(k.Secret[:len(secret{})]))
	}
	return all
}

// Addresses are what is listened on.
func (s *Node) Addresses() []string { return addresses(s.sockets) }

// Close gives the sockets back of a node that never ran.
func (s *Node) Close() { closeAll(s.sockets) }

// Run probes and, when the first round is in, answers; until ctx ends.
func (s *Node) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		s.keep(ctx)
		return nil
	})
	group.Go(func() error {
		select {
		case <-ctx.Done():
			closeAll(s.sockets)
			return nil
		case <-s.ready:
		}
		if s.server.takeOver { // not before: what arrives would wait for the first round
			var err error
			if s.sockets, err = s.server.listen(ctx, s.listen); err != nil {
				return err
			}
		}
		s.log.Info("answering", "node", s.node)
		return s.server.serve(ctx, s.sockets)
	})
	return group.Wait()
}

// keep probes and keeps the state.
func (s *Node) keep(ctx context.Context) {
	s.mu.Lock()
	s.ctx = ctx
	if time.Since(s.state.At) > rememberedHealth {
		s.state.Health, s.state.Judged = nil, nil
	}
	before := s.state.Health
	s.mu.Unlock()
	s.probe(ctx, before)
	ticker := time.NewTicker(writeEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			s.write() //nolint:errcheck // it is in the log
			return
		case <-s.changes:
		case <-ticker.C:
		}
		s.write() //nolint:errcheck // it is in the log
	}
}

// probe begins to probe the fleet, in place of what was probed before.
func (s *Node) probe(ctx context.Context, before map[string]DatacenterHealth) {
	s.mu.Lock()
	if s.stop != nil {
		s.stop()
	}
	ctx, s.stop = context.WithCancel(ctx)
	cfg := s.fleet.probe
	h := newHealth(cfg, s.fleet.targets, before, s.log, s.metrics, s.changed)
	w := newWitnesses(s.fleet.witnesses)
	w.reached.Store(s.witnesses.reached.Load())
	s.health, s.witnesses = h, w
	s.mu.Unlock()
	s.observers.keepFor(cfg.silence())
	go func() {
		h.run(ctx)
		s.forget(h.targets)
	}()
	go w.watch(ctx, cfg, s.reconsider)
	if s.exchange != nil {
		go s.observe(ctx, cfg.Interval)
	}
	go func() {
		for _, in := range []chan struct{}{h.first, w.first, s.exchanged} {
			select {
			case <-ctx.Done():
				return
			case <-in:
			}
		}
		s.mu.Lock()
		s.serving = s.serving || s.health == h
		s.mu.Unlock()
		s.refresh()
	}()
}

// changed is called when the probes have changed their mind.
func (s *Node) changed() {
	s.refresh()
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// forget drops the metrics of those that were probed, to their last probe, and are in the
// fleet no longer.
func (s *Node) forget(probed []Target) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range probed {
		if s.fleet.index(t.Datacenter) < 0 {
			s.metrics.forget(t.Datacenter)
		}
	}
}

// Reload takes a new configuration; with an error the one of before stays. What is
// known of datacenters that are in both goes on.
func (s *Node) Reload(cfg Config) error {
	f, err := readFleet(cfg)
	if err != nil {
		return err
	}
	s.server.responder.cookies.set(cookieSecrets(cfg.Keys))
	s.mu.Lock()
	s.fleet, s.keys = f, keyIDs(cfg.Keys)
	if s.health == nil { // it does not run yet
		s.mu.Unlock()
		return nil
	}
	before, _ := s.health.snapshot()
	ctx := s.ctx
	s.mu.Unlock()
	s.probe(ctx, before)
	s.refresh()
	return nil
}

// refresh makes the view anew: what is answered changes from one query to the next.
func (s *Node) refresh() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	next := s.renew(now)
	if s.wake != nil {
		s.wake.Stop()
	}
	if !next.IsZero() {
		s.wake = time.AfterFunc(next.Sub(now), s.refresh)
	}
}

// renew makes the view of now, and says when it is another by itself, as when an override
// ends; zero: not. The lock is held.
func (s *Node) renew(now time.Time) (next time.Time) {
	s.state.Overrides, next = living(s.state.Overrides, now)
	if s.health != nil {
		s.state.Health, _ = s.health.snapshot()
	}
	if !s.serving {
		return next
	}
	was := s.isolated
	if s.state.Judged, s.isolated = s.judged(now); s.isolated != was {
		s.metrics.setIsolated(s.isolated)
		s.log.Warn("this name server is cut off, or is no longer: what it knew of the datacenters stays while it is", "isolated", s.isolated)
	}
	if s.state.Judged == nil { // it is cut off and knows nothing
		return next
	}
	if s.state.LastGood == nil {
		s.state.LastGood = map[string][]string{}
	}
	known := s.known(now, s.state.Overrides)
	if good := s.noteGood(known); next.IsZero() || !good.IsZero() && good.Before(next) {
		next = good
	}
	s.metrics.changed()
	first := s.view.Load() == nil
	v := known.view(s.fleet.Fleet, s.metrics)
	s.given(now) // by the view of before
	s.view.Store(v)
	s.promise(v, now)
	if first {
		close(s.ready)
	}
	select {
	case s.changes <- struct{}{}:
	default:
	}
	return next
}

// write keeps the state over restarts. That it cannot be is in reports until it can.
func (s *Node) write() error {
	if s.file == "" {
		return nil
	}
	s.mu.Lock()
	s.state.At = time.Now()
	s.given(s.state.At)
	data, err := s.state.encode()
	s.mu.Unlock()
	if err = errors.Join(err, replaceFile(s.file, data)); err != nil {
		s.log.Warn("state not written", "err", err.Error())
	}
	s.mu.Lock()
	s.unwritten = err
	s.mu.Unlock()
	return err
}

// answer implements answerer. respond is called only when there is a view.
func (s *Node) answer(q *query, from netip.Addr) answer { return s.view.Load().answer(q, from) }
