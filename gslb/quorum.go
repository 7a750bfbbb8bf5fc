package gslb

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Observation is what the probes of one name server say.
type Observation struct {
	Node        string                      `json:"node"`        // its datacenter
	ID          string                      `json:"id"`          // which of its datacenter's; another one after each start
	Seq         uint64                      `json:"seq"`         // counts its observations
	Datacenters map[string]DatacenterHealth `json:"datacenters"` // those that a verdict is in for
	Asked       map[string]string           `json:"asked"`       // by datacenter: what is probed
	// Replaces are the IDs that it had before its last starts: what they said counts no more,
	// or one that starts anew would have two votes.
	Replaces []string `json:"replaces,omitempty"`
	said
}

// heard is the last observation of another name server.
type heard struct {
	Observation
	at time.Time // when it came
}

const (
	maxHeard  = 256 // name servers that are heard
	maxStarts = 16  // of one, that are remembered: more than there are while one who is silent is heard still
)

// observers keeps what the other name servers say.
type observers struct {
	id       string
	replaces []string      // see Observation
	keptFor  time.Duration // after that one who is silent is heard no longer

	mu     sync.Mutex
	seq    uint64
	others map[string]heard // by ID
}

func newObservers() *observers {
	return &observers{id: rand.Text(), others: map[string]heard{}}
}

// started notes that the node has started anew after others, the latest first, and returns its
// starts with this one.
func (o *observers) started(before []string) []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.replaces = before[:min(len(before), maxStarts)]
	return append([]string{o.id}, o.replaces[:min(len(o.replaces), maxStarts-1)]...)
}

// keepFor sets for how long one who is silent is heard still.
func (o *observers) keepFor(d time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.keptFor = d
}

// next is the next observation of this node.
func (o *observers) next(node string, own map[string]DatacenterHealth, asked map[string]string, said said) Observation {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seq++
	return Observation{Node: node, ID: o.id, Seq: o.seq, Datacenters: own, Asked: asked, Replaces: o.replaces, said: said}
}

// hear takes another's observation, and returns the datacenters of which it says something
// else than the one before. One that is this node's own, or older than the last one of its
// node, or of before that started anew, is none: then it is not taken.
func (o *observers) hear(x Observation, now time.Time) (news []string, taken bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	last, known := o.others[x.ID]
	if x.ID == o.id || known && x.Seq <= last.Seq || !known && len(o.others) >= maxHeard {
		return nil, false
	}
	for id, h := range o.others {
		if h.Node != x.Node || id == x.ID {
			continue
		}
		if slices.Contains(h.Replaces, x.ID) {
			return nil, false
		}
		if slices.Contains(x.Replaces, id) {
			delete(o.others, id)
		}
	}
	o.others[x.ID] = heard{x, now}
	return x.unlike(last.Observation), true
}

// unlike are the datacenters of which the two say different things, or one nothing.
func (x Observation) unlike(y Observation) (names []string) {
	for name, d := range x.Datacenters {
		if e, said := y.Datacenters[name]; !said || !d.equal(e) || x.Asked[name] != y.Asked[name] {
			names = append(names, name)
		}
	}
	for name := range y.Datacenters {
		if _, says := x.Datacenters[name]; !says {
			names = append(names, name)
		}
	}
	return names
}

// fresh are the observations of those who are heard now, by node.
func (o *observers) fresh(now time.Time) (all []heard) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for id, h := range o.others {
		if now.Sub(h.at) > o.keptFor {
			delete(o.others, id)
			continue
		}
		all = append(all, h)
	}
	slices.SortFunc(all, func(a, b heard) int { return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.ID, b.ID)) })
	return all
}

// report is who is heard now.
func (o *observers) report(now time.Time) []Observer {
	all := []Observer{}
	for _, h := range o.fresh(now) {
		x := Observer{Node: h.Node, AgeMs: now.Sub(h.at).Milliseconds(), Probes: map[string]bool{}}
		for name, d := range h.Datacenters {
			x.Probes[name] = d.Up
		}
		all = append(all, x)
	}
	return all
}

// seen is what the probes of this node say, or when it is ill what they said before.
type seen struct {
	own   map[string]DatacenterHealth
	ill   bool
	asked map[string]string // see Observation
}

// asked is what is probed, by datacenter. A file is each machine's own.
func asked(targets []Target) map[string]string {
	all := map[string]string{}
	for _, t := range targets {
		if t.Kind != ProbeFile {
			all[t.Datacenter] = string(t.Kind) + " " + t.URL
		}
	}
	return all
}

// vote is what one name server says of a datacenter.
type vote struct {
	DatacenterHealth
	node string
}

// judge puts together what this node's probes say and what others' do. A node that is ill has
// no vote, nor has one whose fleet file has it probe something else.
func judge(s seen, others []heard) map[string]DatacenterHealth {
	judged := maps.Clone(s.own)
	votes := make([]vote, 0, len(others)+1)
	for name, mine := range s.own {
		votes = votes[:0]
		asked := s.asked[name]
		if !s.ill {
			votes = append(votes, vote{mine, ""})
		}
		for _, o := range others {
			if d, ok := o.Datacenters[name]; ok && o.Asked[name] == asked {
				votes = append(votes, vote{d, o.Node})
			}
		}
		if len(votes) > 0 {
			judged[name] = majority(mine, votes)
		}
	}
	return judged
}

// majority is what most say of a datacenter: it is down, or an address of it is dead, when more
// than half of them say so. Where that is what this node's probes say, mine, the words are theirs.
func majority(mine DatacenterHealth, votes []vote) DatacenterHealth {
	down, dead, why := 0, map[netip.Addr]int{}, map[netip.Addr]string{}
	for _, v := range votes {
		if !v.Up {
			down++
			continue
		}
		for a, says := range v.Dead {
			dead[a]++
			if why[a] == "" {
				why[a] = says
			}
		}
	}
	d, up := mine, 2*down <= len(votes)
	if up != mine.Up {
		other := votes[slices.IndexFunc(votes, func(v vote) bool { return v.Up == up })]
		d = DatacenterHealth{Up: up, Since: other.Since}
		if !up {
			d.Why = fmt.Sprintf("%d of %d name servers say so; that of %s: %s", down, len(votes), other.node, other.Why)
		}
	}
	if up {
		d.Dead = nil
		for a, n := range dead {
			if 2*n > len(votes)-down {
				if d.Dead == nil {
					d.Dead = map[netip.Addr]string{}
				}
				d.Dead[a] = why[a]
			}
		}
	}
	return d
}

// frozen is what an isolated node goes on with: what was judged before. Its own datacenter may
// go down meanwhile, and nobody comes up.
func frozen(node string, before, own map[string]DatacenterHealth) map[string]DatacenterHealth {
	kept := maps.Clone(before)
	if mine, ok := own[node]; ok && !mine.Up && kept != nil {
		kept[node] = mine
	}
	return kept
}

// reachesOther reports whether the probes reach any datacenter but the node's own.
func reachesOther(node string, own map[string]DatacenterHealth) bool {
	for name, d := range own {
		if name != node && d.Up {
			return true
		}
	}
	return false
}

// Exchange tells all other name servers of the fleet an observation, and has what they answer
// heard, each as it comes. It returns when all have answered, or ctx has ended.
type Exchange func(ctx context.Context, own Observation, hear func(Observation))

// observe exchanges observations with the other name servers: each interval, and at once when
// this node's own probes have changed their mind.
func (s *Node) observe(ctx context.Context, interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		round, cancel := context.WithTimeout(ctx, interval)
		s.exchange(round, s.observation(), func(x Observation) { s.Hear(x) })
		cancel()
		s.hasExchanged()
		s.reconsider()
		s.metrics.observed(s.observers.fresh(time.Now()))
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-s.news:
		}
	}
}

// Hear takes the observation of another name server, and returns this one's own.
func (s *Node) Hear(x Observation) Observation {
	now := time.Now()
	news, taken := s.observers.hear(x, now)
	if taken && s.adopt(x, now) {
		s.refresh()
		s.tell() // not all hear each other
	} else {
		s.mu.Lock()
		differs := s.differsIn(news, now)
		s.mu.Unlock()
		if differs {
			s.refresh()
		}
	}
	return s.observation()
}

// differsIn is differs where that can be so of those datacenters alone. Of most observations
// nothing is new, and all others are heard each interval: only what is new is judged, for to judge
// all of a fleet takes as long as it has datacenters times name servers. The lock is held.
func (s *Node) differsIn(news []string, now time.Time) bool {
	switch {
	case !s.serving || s.health == nil:
		return false
	case s.isolated: // whoever is heard ends that
		return s.differs(now)
	case len(news) == 0:
		return false
	}
	all, ill := s.health.snapshot()
	own := map[string]DatacenterHealth{}
	for _, name := range news {
		if d, known := all[name]; known {
			own[name] = d
		}
	}
	for name, d := range judge(seen{own, !ill.IsZero(), s.fleet.asks}, s.observers.fresh(now)) {
		if !d.equal(s.state.Judged[name]) {
			return true
		}
	}
	return false
}

// observation is what this node's probes say now.
func (s *Node) observation() Observation {
	s.mu.Lock()
	defer s.mu.Unlock()
	var own map[string]DatacenterHealth
	if s.health != nil {
		if all, ill := s.health.snapshot(); ill.IsZero() { // else it says nothing of others
			own = all
		}
	}
	return s.observers.next(s.node, own, s.fleet.asks, said{slices.Clone(s.state.Overrides), s.state.Released})
}

// adopt takes over what operators said to others, and reports whether any of it is news.
func (s *Node) adopt(x Observation, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	all, changed := s.state.merge(x.said, func(o Override) error { return o.check(s.fleet, now) })
	s.state.said = all
	for _, o := range changed {
		s.log.Info("override heard of", "from", x.Node, "datacenter", o.Datacenter, "name", o.Name, "mode", string(o.Mode), "until", untilWhen(o.Until), "reason", o.Reason, "by", o.By)
	}
	return len(changed) > 0
}

// tell has the other name servers told at once.
func (s *Node) tell() {
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// reconsider makes the view anew where what others say, or their silence, changes it.
func (s *Node) reconsider() {
	s.mu.Lock()
	differs := s.differs(time.Now())
	s.mu.Unlock()
	if differs {
		s.refresh()
	}
}

// differs reports whether what is judged now is not what is answered by. The lock is held.
func (s *Node) differs(now time.Time) bool {
	judged, isolated := s.judged(now)
	return s.serving && (isolated != s.isolated || !maps.EqualFunc(judged, s.state.Judged, DatacenterHealth.equal))
}

// judged is what counts of the datacenters' health now, nil where nothing is known. isolated
// reports whether this node hears nobody and reaches nothing outside its datacenter: then
// what it sees says more of itself than of others. The lock is held.
func (s *Node) judged(now time.Time) (all map[string]DatacenterHealth, isolated bool) {
	if s.health == nil {
		return s.state.Judged, false
	}
	own, ill := s.health.snapshot()
	return conclude(s.node, s.state.Judged, seen{own, !ill.IsZero(), s.fleet.asks}, s.observers.fresh(now), s.witnesses.unreached())
}

// conclude is judged, of what was judged before, what the node's own probes and others say, and
// whether no witness is reached.
func conclude(node string, before map[string]DatacenterHealth, now seen, others []heard, unreached bool) (all map[string]DatacenterHealth, isolated bool) {
	if len(others) == 0 && unreached && (now.ill || !reachesOther(node, now.own)) {
		return frozen(node, before, now.own), true
	}
	return judge(now, others), false
}
