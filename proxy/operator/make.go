package operator

import (
	"math"
	"time"

	"example.org/breakwater/internal/daemon"
	"example.org/breakwater/internal/keyring"
)

// Report is how the edge is doing now. Nobody is asked for it: what is not in memory was
// asked before, but for Harbor's health and what the disk has left, which are waited for
// 50 and 100 ms at most.
func (h *Handler) Report() Report {
	e, now := h.edge, h.edge.Now()
	order, leaving := e.Drain.State()
	r := Report{
		Datacenter: e.Datacenter, Instance: h.instance, Version: e.Version, Started: h.started.UTC(), Time: now.UTC(), Config: Config{Read: h.started.UTC()},
		Serving: order == nil && !leaving, Leaving: leaving, Drain: order, Keys: []string{}, Sources: []Source{}, Hits: e.Hits.Hits(now),
		Requests: e.Requests.Taken(), Peers: []Peer{}, Announce: []Announced{}, Lacks: []daemon.Lack{},
	}
	if e.Config != nil {
		r.Config = e.Config()
	}
	if e.Fleet != nil {
		r.Fleet = e.Fleet()
	}
	if e.Lacks != nil {
		r.Lacks = append(r.Lacks, e.Lacks()...)
	}
	for _, k := range e.Keys.For(keyring.Operators) {
		r.Keys = append(r.Keys, k.ID)
	}
	harbor := e.Health.Condition()
	r.Harbor = Harbor{Up: harbor.Up, Since: harbor.Since.UTC(), Why: cut(harbor.Why, maxReason), Components: harbor.Components}
	for _, s := range e.Sources() {
		if state := s.State(); !state.Up || state.Paused > 0 || state.Refused {
			r.Sources = append(r.Sources, Source{s.Name, state.Up, state.Paused.Seconds(), state.Refused})
		}
	}
	used := e.Store.Usage()
	r.Store = Store{Bytes: used.Bytes, Size: used.Size, Free: used.Free, Fills: used.Fills, Degraded: e.Store.Degraded(), Hanging: e.Store.Hanging() || e.Hanging()}
	if e.Certificate != nil {
		ends := e.Certificate().UTC()
		r.Certificate = &ends
	}
	var last time.Time
	if r.Outage.Tokens, last = e.Tokens.Given(); r.Outage.Tokens > 0 {
		last = last.UTC()
		r.Outage.Last = &last
	}
	for _, v := range e.Neighbors.Views() {
		r.Peers = append(r.Peers, Peer{v.Datacenter, v.State, v.Says})
	}
	for _, b := range e.Announcer.Backlogs() {
		r.Announce = append(r.Announce, Announced{b.Datacenter, b.Positions, math.Round(b.Waiting.Seconds())})
	}
	left := e.Follower.Left()
	r.Follow = Follow{left.Pending, math.Round(left.Oldest.Seconds()), left.Projects, left.GivenUp, &left.Tombstones}
	pending, oldest := e.Touches.Owed()
	r.Touches = &Touches{pending, math.Round(oldest)}
	return r
}
