package gslb

import (
	"context"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// DatacenterHealth is what the probes say of one datacenter.
type DatacenterHealth struct {
	Up    bool      `json:"up"`
	Since time.Time `json:"since"` // of that
	Why   string    `json:"why"`   // in a sentence, when it is down
	// Dead are its addresses that do not answer, and why, where each is probed.
	Dead map[netip.Addr]string `json:"dead,omitempty"`
}

// State is "up" or "down".
func (d DatacenterHealth) State() string {
	if d.Up {
		return "up"
	}
	return "down"
}

// equal reports whether the same clients get the datacenter, whatever the words are.
func (d DatacenterHealth) equal(e DatacenterHealth) bool {
	return d.Up == e.Up && maps.EqualFunc(d.Dead, e.Dead, func(string, string) bool { return true })
}

// health runs the probes of one set of targets.
type health struct {
	cfg     ProbeConfig
	log     *slog.Logger
	metrics *metrics
	changed func() // called without the lock

	targets []Target

	mu       sync.Mutex
	watched  map[string]*watched         // by datacenter
	state    map[string]DatacenterHealth // by datacenter: those that a verdict is in for
	first    chan struct{}               // closed when it is in for all
	families map[bool]*heardOf           // of addresses; IPv4: true
	kept     map[string]DatacenterHealth // what was known before all probes failed at once; nil: they did not
	ill      time.Time                   // when they did
}

// watched is what the probes of one datacenter have found.
type watched struct {
	hysteresis
	was       DatacenterHealth // when it is down: what was known before
	addresses map[netip.Addr]*addressWatched
}

// newHealth begins with what was known of datacenters before.
func newHealth(cfg ProbeConfig, targets []Target, before map[string]DatacenterHealth, log *slog.Logger, m *metrics, changed func()) *health {
	h := &health{cfg: cfg, log: log, metrics: m, changed: changed, targets: targets, watched: map[string]*watched{}, state: map[string]DatacenterHealth{}, first: make(chan struct{}), families: map[bool]*heardOf{true: {}, false: {}}}
	for _, t := range targets {
		known, ok := before[t.Datacenter]
		w := &watched{hysteresis: hysteresis{cfg: &h.cfg, known: ok, up: known.Up}}
		w.takeAddresses(known.Dead)
		h.watched[t.Datacenter] = w
		for _, a := range t.asked() {
			h.families[a.Is4()].probed++
		}
		if ok {
			h.state[t.Datacenter] = known
			m.setUp(t.Datacenter, known.Up)
		}
		if ok && !known.Up {
			w.fell = known.Since
		}
	}
	m.setIll(false)
	if len(h.state) == len(targets) {
		close(h.first)
	}
	return h
}

// run probes until ctx ends.
func (h *health) run(ctx context.Context) {
	var all sync.WaitGroup
	for _, t := range h.targets {
		all.Go(func() { h.watch(ctx, newProber(t, h.cfg)) })
	}
	all.Wait()
}

// snapshot is what counts now: what the probes say, or what was known before all failed at once,
// and since when they do; zero: they do not.
func (h *health) snapshot() (all map[string]DatacenterHealth, ill time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.kept != nil {
		return maps.Clone(h.kept), h.ill
	}
	return maps.Clone(h.state), time.Time{}
}

// probed is what the probes say, whatever counts.
func (h *health) probed() map[string]DatacenterHealth {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.state)
}

// watch probes one target.
func (h *health) watch(ctx context.Context, p *prober) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		begun := time.Now()
		f := p.look(ctx)
		if ctx.Err() != nil {
			return
		}
		now := time.Now()
		h.metrics.probed(p.Datacenter, f.took, f.err)
		soon := h.observe(p.Datacenter, f, now)
		timer.Reset(h.cfg.pause(now.Sub(begun), soon, rand.Int64N))
	}
}

// observe takes the results of a round. It reports whether the next one is to come soon.
func (h *health) observe(datacenter string, f found, now time.Time) (soon bool) {
	h.mu.Lock()
	over := f.err == nil && h.kept != nil
	if over {
		h.recover()
	}
	w, known := h.watched[datacenter], len(h.state)
	dead, soon := w.observeAddresses(f.addresses, h.families, now)
	changed, again := w.observe(f.err == nil, now)
	before := h.state[datacenter]
	d := before
	if d.Dead = dead; changed {
		w.was, d.Up, d.Since, d.Why = before, w.up, now, ""
		if f.err != nil {
			d.Why = f.err.Error()
		}
	}
	if !changed && f.err != nil && w.known && !d.Up {
		d.Why = f.err.Error() // of now
		h.state[datacenter] = d
	}
	moved := changed || w.known && !maps.Equal(before.Dead, dead)
	if moved {
		h.state[datacenter] = d
		if len(h.state) > known && len(h.state) == len(h.targets) {
			close(h.first)
		}
	}
	ill := changed && h.fallen(now)
	h.mu.Unlock()
	if over {
		h.log.Info("a probe succeeds again: the others begin anew from what was known before all failed at once", "datacenter", datacenter)
		h.metrics.setIll(false)
	}
	h.metrics.setDead(datacenter, len(dead))
	for a, why := range dead {
		if _, is := before.Dead[a]; !is && moved {
			h.log.Warn("an address does not answer, and is left out", "datacenter", datacenter, "address", a.String(), "why", why)
		}
	}
	if changed {
		h.log.Info("datacenter health", "datacenter", datacenter, "up", d.Up, "why", d.Why)
		h.metrics.setUp(datacenter, d.Up)
	}
	if ill {
		h.log.Error("all probes failed at once: "+thisNodeIsIll, "last", datacenter, "why", d.Why)
		h.metrics.setIll(true)
	}
	if over || moved {
		h.changed()
	}
	return soon || again
}

// thisNodeIsIll is what follows when all probes fail at once.
const thisNodeIsIll = "that is this name server's own uplink, resolver, clock or trusted authorities rather than all datacenters; it answers as before"

// fallen looks, when a datacenter went down, at whether none is up and several fell, each
// within the time that a verdict takes after another: then it is the node that is ill, and
// what was known before is kept. The lock is held.
func (h *health) fallen(now time.Time) bool {
	var fell []string
	for name, w := range h.watched {
		if !w.known || w.up {
			return false
		}
		if w.was.Up {
			fell = append(fell, name)
		}
	}
	slices.SortFunc(fell, func(a, b string) int { return h.watched[b].fell.Compare(h.watched[a].fell) })
	kept, together, next := maps.Clone(h.state), 0, now
	for _, name := range fell { // the last first
		w := h.watched[name]
		if next.Sub(w.fell) > h.cfg.verdict() {
			break
		}
		kept[name], next = w.was, w.fell
		together++
	}
	if together < 2 {
		return false
	}
	h.kept, h.ill = kept, now
	return true
}

// recover ends that: those that were up are up until their own probes say otherwise. The
// lock is held.
func (h *health) recover() {
	for name, d := range h.kept {
		if w := h.watched[name]; d.Up && !w.up {
			w.up, w.row = true, 0
			w.takeAddresses(d.Dead)
			h.state[name] = d
			h.metrics.setUp(name, true)
		}
	}
	h.kept = nil
}
