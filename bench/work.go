package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"time"
)

// work is one thing that every peer does.
type work struct {
	name    string
	clients int
	item    func(*content) item
	cold    bool // the peer holds nothing at the begin of each round
	slow    bool // and the origin's link is slow
	storm   bool // small requests for a time, instead of a blob
	open    bool // the origin is a registry that asks nobody who he is, and no token is shown
	fresh   bool // each request shows a token that the peer has not seen, or has forgotten
	push    bool // new content goes the other way, instead of the item
	gigabit bool // the clients' link is no faster
}

func works() []work {
	warm := func(c *content) item { return c.warm }
	cold := func(c *content) item { return c.cold }
	slow := func(c *content) item { return c.slow }
	byDigest := func(c *content) item { return c.byDigest }
	return []work{
		{name: "warm-1", clients: 1, item: warm},
		{name: "warm-16", clients: 16, item: warm},
		{name: "cold-1", clients: 1, item: cold, cold: true},
		{name: "cold-64", clients: mostClient, item: cold, cold: true},
		{name: "slow-1", clients: 1, item: slow, cold: true, slow: true},
		{name: "slow-64", clients: mostClient, item: slow, cold: true, slow: true},
		{name: "tag-64", clients: mostClient, item: func(c *content) item { return c.byTag }, storm: true},
		{name: "digest-64", clients: mostClient, item: byDigest, storm: true},
		{name: "open-64", clients: mostClient, item: byDigest, storm: true, open: true},
		{name: "tokens-64", clients: mostClient, item: byDigest, storm: true, fresh: true},
		{name: "push-1", clients: 1, item: warm, cold: true, push: true},
		{name: "push-8", clients: 8, item: warm, cold: true, push: true},
		{name: "push-8-1g", clients: 8, item: warm, cold: true, push: true, gigabit: true},
	}
}

// runEdge runs all work by all peers and writes the result.
func runEdge(ctx context.Context, p plan, out, progress io.Writer) error {
	if err := p.check(); err != nil {
		return err
	}
	begun := time.Now()
	all, own := busy()
	r, err := run(ctx, p, progress)
	if err != nil {
		return err
	}
	r.Machine = append(r.Machine, head("others", strangers(begun, all, own)))
	// By now all is cleaned up: a reader of out that leaves ends the program.
	if p.JSON {
		return writeJSON(out, r)
	}
	return r.writeText(out)
}

func run(ctx context.Context, p plan, progress io.Writer) (*result, error) {
	env, err := prepare(ctx, p, progress)
	defer env.close()
	if err != nil {
		return nil, err
	}
	r := newResult(env)
	for _, tls := range []bool{false, true} {
		if err := env.runTransport(ctx, tls, r); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// check finds names that there are not.
func (p *plan) check() error {
	for _, name := range p.Peers {
		if !slices.ContainsFunc(kinds(), func(k kind) bool { return k.name == name }) {
			return fmt.Errorf("--peers: there is no peer %q", name)
		}
	}
	for _, name := range p.Work {
		if !slices.ContainsFunc(works(), func(w work) bool { return name == w.name || name == w.name+"/plain" || name == w.name+"/tls" }) {
			return fmt.Errorf("--work: there is no work %q", name)
		}
	}
	return nil
}

// runTransport runs what is wanted of one transport.
func (e *environment) runTransport(ctx context.Context, tls bool, r *result) error {
	wanted := slices.DeleteFunc(works(), func(w work) bool {
		return len(e.plan.Work) > 0 && !slices.Contains(e.plan.Work, w.name) && !slices.Contains(e.plan.Work, w.name+"/"+transport(tls))
	})
	if len(wanted) == 0 {
		return nil
	}
	var peers []*peer
	defer func() {
		for _, p := range peers {
			p.stop()
		}
	}()
	base := e.origin.URL
	for _, open := range []bool{false, true} {
		if open && !slices.ContainsFunc(wanted, func(w work) bool { return w.open }) {
			continue
		}
		for _, k := range kinds() {
			if _, found := e.binaries[k.name]; !found {
				continue
			}
			p, err := newPeer(ctx, e, k, tls, open)
			if p != nil {
				peers = append(peers, p)
			}
			if err != nil {
				return err
			}
			if k.name == "edge" && !open {
				base = p.base
			}
		}
	}
	clients := newLoad(e.pool, false)
	defer clients.http.CloseIdleConnections() // before the peers stop
	token, err := clients.login(ctx, base)
	if err != nil {
		return err
	}
	clients.token = func() string { return token }
	if tls {
		if err := e.sayCiphers(ctx, clients, peers, r); err != nil {
			return err
		}
	}
	for _, w := range wanted {
		if err := e.runWork(ctx, clients, w, peers, r); err != nil {
			return err
		}
	}
	return nil
}

func (e *environment) sayCiphers(ctx context.Context, clients *load, peers []*peer, r *result) error {
	for _, p := range peers {
		if p.open {
			continue
		}
		suite, err := clients.suite(ctx, p.base)
		if err != nil {
			return fmt.Errorf("%s over tls: %w", p.name, err)
		}
		r.Machine = append(r.Machine, head("tls", p.name+": "+suite))
	}
	return nil
}

// of is the clients as the work has them ask a peer.
func (l *load) of(w work, p *peer) *load {
	own := *l
	switch {
	case w.open:
		own.token = func() string { return "" }
	case w.fresh:
		own.token = p.nextToken
	}
	return &own
}

// runWork verifies once that each peer serves the right bytes, then has them
// work in rounds, in another order each round.
func (e *environment) runWork(ctx context.Context, clients *load, w work, peers []*peer, r *result) error {
	peers = slices.DeleteFunc(slices.Clone(peers), func(p *peer) bool { return w.cold && p.held || w.push && !p.takes || w.open != p.open })
	if w.fresh {
		if err := e.mint(ctx, clients); err != nil {
			return err
		}
	}
	for _, p := range peers {
		if err := e.warmUp(ctx, clients.of(w, p), w, p); err != nil {
			return fmt.Errorf("%s by %s over %s: %w", w.name, p.name, transport(p.tls), err)
		}
	}
	samples := map[string][]sample{}
	for round := range e.plan.Rounds {
		rand.Shuffle(len(peers), func(i, j int) { peers[i], peers[j] = peers[j], peers[i] })
		for _, p := range peers {
			s, err := e.measure(ctx, clients.of(w, p), w, p)
			if err != nil {
				return fmt.Errorf("%s by %s over %s: %w", w.name, p.name, transport(p.tls), err)
			}
			e.say("%-5s %-9s round %d of %d  %-12s %7.2f s  %6.0f MB/s  %d requests", transport(p.tls), w.name, round+1, e.plan.Rounds, p.name,
				s.wall.Seconds(), s.speed()/1e6, s.requests)
			samples[p.name] = append(samples[p.name], s)
		}
	}
	if len(peers) > 0 {
		r.add(transport(peers[0].tls), w, samples)
	}
	return nil
}

// warmUp has the peer serve the work's item, verified, and empties it again
// where the work is cold.
func (e *environment) warmUp(ctx context.Context, clients *load, w work, p *peer) error {
	if w.cold {
		if err := e.chill(ctx, clients, p); err != nil {
			return err
		}
	}
	if w.push {
		if err := e.tryPush(ctx, clients, p.base, p.command != nil); err != nil {
			return err
		}
		return e.chill(ctx, clients, p)
	}
	for range 2 { // as it is brought, and as it is held
		if err := clients.verify(ctx, p.base, w.item(e.content)); err != nil {
			return err
		}
	}
	if w.cold {
		return e.chill(ctx, clients, p)
	}
	return nil
}

// chill empties the peer, and has it serve the manifest, so that it is
// acquainted with the origin.
func (e *environment) chill(ctx context.Context, clients *load, p *peer) error {
	clients.http.CloseIdleConnections() // a server that stops would wait for those that were never used
	if err := p.empty(ctx); err != nil {
		return err
	}
	if err := clients.verify(ctx, p.base, e.content.byTag); err != nil {
		return err
	}
	clients.http.CloseIdleConnections()
	return nil
}

const longest = time.Minute

// measure is one round of one peer.
func (e *environment) measure(ctx context.Context, clients *load, w work, p *peer) (s sample, err error) {
	i, patience := w.item(e.content), longest
	if w.cold {
		if err := e.origin.forget(); err != nil {
			return s, err
		}
	}
	if w.slow {
		patience = 5 * time.Duration(float64(i.size)/float64(e.plan.Rate)*float64(time.Second))
		if err := e.origin.limit(e.plan.Rate); err != nil {
			return s, err
		}
	}
	if err := p.process.resetPeak(); err != nil {
		return s, err
	}
	before, err := p.process.cpu()
	if err != nil {
		return s, err
	}
	switch {
	case w.push:
		clients.link = nil
		if w.gigabit {
			clients.link = new(pace)
		}
		s, err = clients.push(ctx, p.base, e.content.pushed, w.clients, e.plan.Time/3, e.unpush)
	case w.storm:
		s, err = clients.storm(ctx, p.base, i, w.clients, e.plan.Time)
	case w.cold:
		s, err = clients.wave(ctx, p.base, i, w.clients, 0, patience)
	default:
		s, err = clients.wave(ctx, p.base, i, w.clients, e.plan.Time/3, patience)
	}
	if err != nil {
		return s, err
	}
	time.Sleep(e.plan.Settle) // what a peer does behind its last byte is its work too
	after, err := p.process.cpu()
	if err != nil {
		return s, err
	}
	s.cpu = after - before
	if s.peak, err = p.process.memory("VmHWM"); err != nil || !w.cold {
		return s, err
	}
	if w.slow {
		if err := e.origin.limit(0); err != nil {
			return s, err
		}
	}
	if s.asked, err = e.origin.asked(i); err != nil {
		return s, err
	}
	return s, e.chill(ctx, clients, p)
}
