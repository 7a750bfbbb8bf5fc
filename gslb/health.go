package gslb

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// DatacenterHealth is what the probes say of one datacenter.
type DatacenterHealth struct {
	Up    bool      `json:"up"`
	Since time.Time `json:"since"` // of that
	Why   string    `json:"why"`   // in a sentence, when it is down
}

// health runs the probes of one set of targets.
type health struct {
	cfg     ProbeConfig
	log     *slog.Logger
	metrics *metrics
	changed func() // called without the lock

	targets []Target

	mu    sync.Mutex
	state map[string]DatacenterHealth // by datacenter: those that a verdict is in for
	first chan struct{}               // closed when it is in for all
}

// newHealth begins with what was known of datacenters before.
func newHealth(cfg ProbeConfig, targets []Target, before map[string]DatacenterHealth, log *slog.Logger, m *metrics, changed func()) *health {
	h := &health{cfg: cfg, log: log, metrics: m, changed: changed, targets: targets, state: map[string]DatacenterHealth{}, first: make(chan struct{})}
	for _, t := range targets {
		if known, ok := before[t.Datacenter]; ok {
			h.state[t.Datacenter] = known
			m.setUp(t.Datacenter, known.Up)
		}
	}
	if len(h.state) == len(targets) {
		close(h.first)
	}
	return h
}

// run probes until ctx ends.
func (h *health) run(ctx context.Context) {
	known := h.snapshot()
	var all sync.WaitGroup
	for _, t := range h.targets {
		before, ok := known[t.Datacenter]
		all.Go(func() { h.watch(ctx, newProber(t, h.cfg), before, ok) })
	}
	all.Wait()
}

// settle notes a verdict.
func (h *health) settle(datacenter string, d DatacenterHealth) {
	h.mu.Lock()
	_, known := h.state[datacenter]
	h.state[datacenter] = d
	if !known && len(h.state) == len(h.targets) {
		close(h.first)
	}
	h.mu.Unlock()
	h.metrics.setUp(datacenter, d.Up)
	h.changed()
}

// goesOn notes why a datacenter that is down is so by now.
func (h *health) goesOn(datacenter string, why error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if d, known := h.state[datacenter]; known && !d.Up {
		d.Why = why.Error()
		h.state[datacenter] = d
	}
}

// snapshot is what is known now.
func (h *health) snapshot() map[string]DatacenterHealth {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make(map[string]DatacenterHealth, len(h.state))
	for name, d := range h.state {
		all[name] = d
	}
	return all
}

// watch probes one target.
func (h *health) watch(ctx context.Context, p *prober, known DatacenterHealth, isKnown bool) {
	state := hysteresis{cfg: &h.cfg, known: isKnown, up: known.Up}
	if isKnown && !known.Up {
		state.fell = known.Since
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		begun := time.Now()
		err := p.probe(ctx)
		if ctx.Err() != nil {
			return
		}
		now := time.Now()
		h.metrics.probed(p.Datacenter, now.Sub(begun), err)
		changed, soon := state.observe(err == nil, now)
		if changed {
			d := DatacenterHealth{Up: state.up, Since: now}
			if err != nil {
				d.Why = err.Error()
			}
			h.log.Info("datacenter health", "datacenter", p.Datacenter, "up", d.Up, "why", d.Why)
			h.settle(p.Datacenter, d)
		} else if err != nil {
			h.goesOn(p.Datacenter, err)
		}
		// From begin to begin: a probe that times out delays none.
		next := h.cfg.Interval - now.Sub(begun) - time.Duration(rand.Int64N(int64(h.cfg.Interval/10)+1))
		if soon {
			next = h.cfg.Confirm
		}
		timer.Reset(max(0, next))
	}
}
