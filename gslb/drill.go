package gslb

import (
	"net/netip"
	"slices"
	"time"

	"github.com/miekg/dns"
)

// Drill is a name server without sockets, probes, files and a clock: whoever drives it says
// what its probes find, whom it hears and what time it is. It judges, chooses and decides by
// the code of Node, so that a fleet's year can be played through. It is for one goroutine.
type Drill struct {
	node *Node
	said bool // its probes have changed their mind
}

// NewDrills returns a name server for each of the datacenters that are named, all with the
// fleet of cfg, which is read once. Of cfg Fleet, Targets, Probe, Witnesses and Log count.
// Nothing is known of any datacenter yet; witnesses are reached. Its error is that of NewPlaces.
func NewDrills(cfg Config, nodes []string) ([]*Drill, error) {
	f, err := readFleet(cfg)
	if err != nil {
		return nil, err
	}
	var all []*Drill
	for _, node := range nodes {
		d := &Drill{node: &Node{node: node, log: cfg.Log, fleet: f, changes: make(chan struct{}, 1), ready: make(chan struct{}), observers: newObservers(), witnesses: newWitnesses(cfg.Witnesses)}}
		d.node.health = newHealth(cfg.Probe, cfg.Targets, nil, cfg.Log, nil, func() { d.said = true })
		d.node.observers.keepFor(cfg.Probe.Silence())
		d.node.witnesses.reached.Store(true)
		all = append(all, d)
	}
	return all, nil
}

// Probed takes the result of a probe that took so long and ended now; nil: the datacenter
// serves. It returns how long the next one waits, of which chance is a part (math/rand/v2's
// Int64N), and whether the probes have changed their mind. What is answered does not change
// before Refresh.
func (d *Drill) Probed(datacenter string, err error, took time.Duration, now time.Time, chance func(below int64) int64) (next time.Duration, changed bool) {
	d.said = false
	soon := d.node.health.observe(datacenter, found{err: err, took: took}, now)
	return d.node.health.cfg.pause(took, soon, chance), d.said
}

// Finds reports what this name server's probes of a datacenter have last agreed on.
func (d *Drill) Finds(datacenter string) (up bool) {
	d.node.health.mu.Lock()
	defer d.node.health.mu.Unlock()
	return d.node.health.watched[datacenter].up
}

// Observation is what it tells the others now.
func (d *Drill) Observation() Observation { return d.node.observation() }

// Hear takes another's observation, and returns the datacenters of which it says something new.
// What is answered does not change before Refresh.
func (d *Drill) Hear(x Observation, now time.Time) (news []string) {
	news, _ = d.node.observers.hear(x, now)
	return news
}

// Differs reports whether what is judged now of those datacenters, of which something new was
// heard, is not what is answered by.
func (d *Drill) Differs(news []string, now time.Time) bool {
	d.node.mu.Lock()
	defer d.node.mu.Unlock()
	return d.node.differsIn(news, now)
}

// HearAgain has those of the other name servers that are heard and chosen say again what they
// said last: what comes each interval while nothing changes.
func (d *Drill) HearAgain(chosen func(node string) bool, now time.Time) {
	o := d.node.observers
	o.mu.Lock()
	defer o.mu.Unlock()
	for id, h := range o.others {
		if h.at.Before(now) && chosen(h.Node) {
			h.at = now
			o.others[id] = h
		}
	}
}

// Reach says whether any witness is reached.
func (d *Drill) Reach(witness bool) { d.node.witnesses.reached.Store(witness) }

// Reconsider reports whether what is judged now is not what is answered by, as because
// somebody is silent. What is answered does not change before Refresh.
func (d *Drill) Reconsider(now time.Time) (differs bool) {
	d.node.mu.Lock()
	defer d.node.mu.Unlock()
	return d.node.differs(now)
}

// Refresh makes what is answered anew, and says when it is another by itself; zero: not.
func (d *Drill) Refresh(now time.Time) (next time.Time) {
	d.node.mu.Lock()
	defer d.node.mu.Unlock()
	d.node.serving = true
	return d.node.remake(now)
}

// Isolated reports whether it is cut off and keeps what it knew.
func (d *Drill) Isolated() bool { return d.node.isolated }

// Serves reports whether a datacenter counts as healthy in what is answered.
func (d *Drill) Serves(datacenter string) bool { return d.node.state.Judged[datacenter].Up }

// Decided is what a client is answered.
type Decided struct {
	Datacenter int           // as an index into the fleet's list; -1: nobody
	Among      []int         // who share the clients of its region now; not to be changed
	Backup     bool          // no primary serves
	Panic      bool          // nobody does
	TTL        time.Duration // for how long the answer is kept
}

// Decide is the decision on an IPv4 address for a name, for a client whose network the resolver
// tells. The name is one of the fleet's, and Refresh was called before.
func (d *Drill) Decide(name string, network netip.Prefix) Decided {
	v := d.node.view.Load()
	n := v.zoneOf(name).names[name].of(dns.TypeA)
	is := n.decide(v.fleet, client{resolver: network.Addr(), subnet: network})
	return Decided{is.datacenter, is.choice.set, is.choice.tier == tierBackup, slices.Contains([]string{tierPanic, tierNobody}, is.choice.tier), is.ttl}
}
