// Package hello keeps up whether an edge and its peers are acquainted, as routers do by
// their hello protocols: each edge asks each peer every few seconds, over a connection of its
// own, whether it knows this edge, which datacenter's it is, and what time it is there. What
// differs (key, certificate, clock, address) is seen before a pull needs that peer.
package hello

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"example.org/breakwater/proxy/peer"
)

// State is how an edge and a peer stand, as this edge sees it.
type State string

// The states.
const (
	Unknown     State = "unknown"     // not asked yet
	OK          State = "ok"          // each knows the other
	Key         State = "key"         // they have no key in common
	Certificate State = "certificate" // one does not believe the other's
	Clock       State = "clock"       // their clocks differ
	Datacenter  State = "datacenter"  // it is another edge than the fleet file says
	Stranger    State = "stranger"    // what answers there is no edge
	Older       State = "older"       // an older program, which says nothing of this
	Unreachable State = "unreachable"
)

// States are all of them.
var States = []State{Unknown, OK, Key, Certificate, Clock, Datacenter, Stranger, Older, Unreachable}

const (
	period   = 6 // times cfg.Pace, between two questions to a peer, a sixth more or less
	deadline = 3 * time.Second
	maxClock = 5 * time.Second // that clocks may differ without a word
	maxHello = 64 << 10
)

// View is how this edge sees a peer.
type View struct {
	Datacenter string    `json:"datacenter"`
	State      State     `json:"state"`
	Says       string    `json:"says,omitempty"`           // what is wrong and what to do, as a sentence; "": nothing
	Refused    bool      `json:"refused,omitempty"`        // it takes no calls of this edge
	Sees       State     `json:"sees,omitempty"`           // how it sees this edge; "": it has not said
	Version    string    `json:"version,omitempty"`        // of its program
	Clock      float64   `json:"clock_difference_seconds"` // how far its clock is ahead of this edge's
	Keys       []string  `json:"keys,omitempty"`           // IDs of those by which it knows peers
	Answered   time.Time `json:"answered,omitzero"`        // when it said something last
}

// Config is what Neighbors need.
type Config struct {
	Datacenter string     // this edge's
	Version    string     // of this program
	Trust      peer.Trust // at the start
	Now        func() time.Time
	Pace       time.Duration // before a second question where the first had no answer, and a part of all other times; 0: 1 s
	Log        *slog.Logger
	Metrics    prometheus.Registerer // nil: none
}

// Neighbors are the peers of one edge. Safe for concurrent use.
type Neighbors struct {
	cfg     Config
	metrics *metrics
	asking  sync.WaitGroup

	mu    sync.Mutex
	ctx   context.Context // of Run, while it runs
	trust peer.Trust
	all   []*neighbor // nearest first
}

type neighbor struct {
	peer.Peer
	show func(http.Header) error // nil: the edge's certificate does
	end  context.CancelFunc      // nil: it is not asked yet

	mu     sync.Mutex
	gone   bool // it is no peer any more
	view   View
	missed int // questions in a row that had no answer
}

// New returns the peers that an edge trusts. They are asked while it Runs.
func New(cfg Config) *Neighbors {
	if cfg.Pace == 0 {
		cfg.Pace = time.Second
	}
	n := &Neighbors{cfg: cfg, metrics: newMetrics(cfg.Metrics)}
	n.Use(cfg.Trust)
	return n
}

// Use replaces whom the edge trusts. A peer that stays is seen as before, one that is left
// out is asked no more.
func (n *Neighbors) Use(trust peer.Trust) {
	n.mu.Lock()
	defer n.mu.Unlock()
	left := slices.Clone(n.all)
	n.trust, n.all = trust, nil
	if trust.Key != nil || trust.Roots != nil {
		for _, p := range trust.Peers {
			if at := slices.IndexFunc(left, func(old *neighbor) bool { return old.Peer == p }); at >= 0 {
				n.all, left = append(n.all, left[at]), slices.Delete(left, at, at+1)
				continue
			}
			one := &neighbor{Peer: p, show: trust.Key.Shows(p.Datacenter), view: View{Datacenter: p.Datacenter, State: Unknown}}
			n.metrics.is(one.view)
			n.all = append(n.all, one)
			n.begin(one)
		}
	}
	for _, p := range left {
		if p.end != nil {
			p.end()
		}
		p.mu.Lock()
		p.gone = true
		n.metrics.forget(p.Datacenter)
		p.mu.Unlock()
	}
}

// Trust tells other edges' requests from everybody else's.
func (n *Neighbors) Trust() peer.Trust {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.trust
}

// begin has a peer asked, while Run runs; n.mu is held.
func (n *Neighbors) begin(p *neighbor) {
	if n.ctx == nil {
		return
	}
	var ctx context.Context
	ctx, p.end = context.WithCancel(n.ctx)
	n.asking.Go(func() { n.keep(ctx, p) })
}

// Run asks the peers until ctx ends.
func (n *Neighbors) Run(ctx context.Context) {
	n.mu.Lock()
	n.ctx = ctx
	for _, p := range n.all {
		n.begin(p)
	}
	n.mu.Unlock()
	<-ctx.Done()
	n.mu.Lock()
	n.ctx = nil // nobody begins any more
	n.mu.Unlock()
	n.asking.Wait()
}

// keep asks one peer again and again.
func (n *Neighbors) keep(ctx context.Context, p *neighbor) {
	for ctx.Err() == nil {
		v, answered := n.ask(ctx, p)
		if ctx.Err() != nil {
			return
		}
		wait := (period-1)*n.cfg.Pace + rand.N(2*n.cfg.Pace)
		if missed := n.note(p, v, answered); missed == 1 {
			wait = n.cfg.Pace
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// note takes over what was seen of a peer. One question that has no answer says nothing. It
// returns how many in a row have had none.
func (n *Neighbors) note(p *neighbor, v View, answered bool) (missed int) {
	p.mu.Lock()
	before := p.view
	if p.gone {
		p.mu.Unlock()
		return 0
	}
	if answered {
		p.missed = 0
	} else if p.missed++; p.missed == 1 {
		p.mu.Unlock()
		return 1
	}
	missed = p.missed
	n.metrics.is(v)
	if v.Answered.IsZero() {
		v.Answered, v.Version = before.Answered, before.Version
	}
	p.view = v
	p.mu.Unlock()
	if v.State == before.State && (v.Says == "") == (before.Says == "") {
		return missed
	}
	if v.Says == "" {
		n.cfg.Log.Info("peer", "peer", p.Datacenter, "state", string(v.State))
		return missed
	}
	n.cfg.Log.Warn("peer", "peer", p.Datacenter, "state", string(v.State), "says", v.Says)
	return missed
}

// Views are how this edge sees its peers, nearest first.
func (n *Neighbors) Views() []View {
	n.mu.Lock()
	all := n.all
	n.mu.Unlock()
	views := make([]View, len(all))
	for i, p := range all {
		p.mu.Lock()
		views[i] = p.view
		p.mu.Unlock()
	}
	return views
}

// View is how this edge sees one peer; zero for a datacenter that is none.
func (n *Neighbors) View(datacenter string) View {
	views := n.Views()
	if at := slices.IndexFunc(views, func(v View) bool { return v.Datacenter == datacenter }); at >= 0 {
		return views[at]
	}
	return View{}
}

// Says are the sentences of all that is wrong between this edge and its peers.
func (n *Neighbors) Says() (all []string) {
	for _, v := range n.Views() {
		if v.Says != "" {
			all = append(all, v.Says)
		}
	}
	return all
}
