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
	Keys        []*SigningKey  // that zones are signed with, the one in use first; none: they are not
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
	QueryLog int                  // of how many answers one is logged; 0: none
	DNSTap   string               // where queries and answers are told: unix:PATH, tcp://HOST:PORT or file:PATH; "": nowhere
	Version  string               // what version.bind says; "": nothing
	Build    string               // the program's version, for Report
	Lacks    func() []daemon.Lack // what is wrong with what the name server needs, for Report; nil: nothing
	// Witnesses are addresses outside the fleet: a node that reaches none of them, no other
	// datacenter and no other node is cut off, and keeps what it knew. None: no node is.
	Witnesses []netip.Addr
	Exchange  Exchange // of observations with the other nodes; nil: each judges by its own probes alone
	Log       *slog.Logger
	Metrics   prometheus.Registerer // nil: none

	signedFor time.Duration // how long signatures are good; 0: see there
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
	watch   *watch
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
	wake     *time.Timer // when what is answered is another by itself; see remake

	observers *observers
	witnesses *witnesses
	exchange  Exchange      // nil: there is none
	exchanged chan struct{} // closed when the first exchange has ended, by hasExchanged
	news      chan struct{} // see tell
	saving    sync.Mutex    // held by who writes the state file

	hasExchanged func()

	unsigned  error // why what should be answered now is not: it cannot be signed; nil: it is
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
	signer    *signer
}

// readFleet reads what the configuration names.
func readFleet(cfg Config) (*fleetNow, error) {
	f := cfg.Fleet
	places, err := NewPlaces(PlacesConfig{Datacenters: f.Datacenters, Order: f.Order, Topology: f.Topology, GeoIP: f.GeoIP})
	if err != nil {
		return nil, err
	}
	now := &fleetNow{Fleet: &Fleet{Datacenters: f.Datacenters, Zones: f.Zones, Places: places, Explain: f.Explain, Keys: f.Keys}, targets: cfg.Targets, probe: cfg.Probe, witnesses: cfg.Witnesses,
		signer: newSigner(f.Keys, cfg.signedFor)}
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
	s.hasExchanged = sync.OnceFunc(func() { close(s.exchanged) })
	if s.exchange == nil {
		s.hasExchanged()
	}
	if s.state, err = loadState(cfg.State, cfg.Log); err != nil {
		return nil, err
	}
	s.state.Starts = s.observers.started(s.state.Starts)
	hooks := s.metrics.hooks()
	s.watch = &watch{log: newQueryLog(cfg.Log, cfg.QueryLog, s.metrics.notLogged), top: newTalkers(time.Now)}
	r := &responder{answerer: s, identity: s.identity, version: cfg.Version, cookies: newCookies(time.Now), hooks: hooks, watch: s.watch, log: cfg.Log}
	r.cookies.set(cookieSecrets(cfg.Keys))
	if cfg.Rate > 0 {
		r.limit = newLimiter(cfg.Rate, time.Now)
	}
	s.server, s.listen = &server{responder: r, log: cfg.Log, hooks: hooks, tap: newTap(cfg.DNSTap, cfg.Node, cfg.Build, cfg.Log, s.metrics.untapped), takeOver: cfg.TakeOver, proxies: cfg.Proxies}, cfg.Listen
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
	answering, answered := context.WithCancel(context.WithoutCancel(ctx)) // until what has arrived is answered
	group.Go(func() error {
		s.keep(ctx)
		return nil
	})
	for _, run := range []func(context.Context){s.watch.log.run, s.server.tap.run} {
		group.Go(func() error {
			run(answering)
			return nil
		})
	}
	group.Go(func() error {
		defer answered()
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
	s.save() //nolint:errcheck // it is in the log: this start is remembered, and what it knows is of when it was known
	s.probe(ctx, before)
	ticker, renewal := time.NewTicker(writeEvery), time.NewTicker(s.renewal())
	defer ticker.Stop()
	defer renewal.Stop()
	for {
		select {
		case <-ctx.Done():
			s.write() //nolint:errcheck // it is in the log
			return
		case <-renewal.C:
			s.renew()
			continue
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
	s.observers.keepFor(cfg.Silence())
	go func() {
		h.run(ctx)
		s.forget(h.targets)
	}()
	go w.watch(ctx, cfg, s.log, s.reconsider)
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
	s.tell()
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
	s.watch.log.oneIn.Store(uint32(cfg.QueryLog))
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

// write keeps the state over restarts. That it cannot be is in reports until it can.
func (s *Node) write() error {
	if s.file == "" {
		return nil
	}
	s.mu.Lock()
	s.state.At = time.Now()
	s.given(s.state.At)
	s.mu.Unlock()
	return s.save()
}

// save is write, of what was known when it was written last.
func (s *Node) save() error {
	if s.file == "" {
		return nil
	}
	s.saving.Lock() // what is written later is newer
	defer s.saving.Unlock()
	s.mu.Lock()
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
