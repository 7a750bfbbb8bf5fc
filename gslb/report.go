package gslb

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"example.org/breakwater/internal/daemon"
	"example.org/breakwater/internal/keyring"
)

// Report is what a node knows and answers now.
type Report struct {
	Node        string                      `json:"node"`
	Version     string                      `json:"version"`   // of the program
	Config      string                      `json:"config"`    // the same on all nodes that answer by the same files
	Keys        []string                    `json:"keys"`      // IDs of those it knows operators by, the one in use first
	Answering   bool                        `json:"answering"` // false: the first round of probes is not in
	Answers     []Answered                  `json:"answers"`
	Wrong       []string                    `json:"wrong"`       // a sentence each; none: all is well
	Datacenters map[string]DatacenterHealth `json:"datacenters"` // as the nodes say together
	Probes      map[string]DatacenterHealth `json:"probes"`      // as this node's own say
	Observers   []Observer                  `json:"observers"`   // the other nodes that are heard now
	Isolated    bool                        `json:"isolated"`    // it hears nobody and reaches nothing outside its datacenter
	Overrides   []Held                      `json:"overrides"`
	Ill         string                      `json:"ill"` // in a sentence, when all its probes failed at once: it answers as before
	LastGood    map[string][]string         `json:"last_good"`
	Serial      map[string]uint32           `json:"serial"`  // by zone
	Epoch       string                      `json:"epoch"`   // the same on all nodes that answer alike now, also in NSID and id.server; "": nothing is answered
	Lacks       []daemon.Lack               `json:"lacks"`   // their sentences are in wrong too, where they are faults
	Talkers     Talkers                     `json:"talkers"` // who asks most, and what it gets
}

// Observer is another node that is heard now.
type Observer struct {
	Node   string          `json:"node"`
	AgeMs  int64           `json:"age_ms"` // of what it said last
	Probes map[string]bool `json:"probes"` // by datacenter, whether it is up
}

// Held is an override, and whether what it says is so.
type Held struct {
	Override
	Holds bool   `json:"holds"`
	Why   string `json:"why"` // in a sentence, where it does not
}

// Report is what is known and answered now.
func (s *Node) Report() Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := Report{Node: s.node, Version: s.build, Config: s.fleet.digest, Keys: s.keys, Datacenters: map[string]DatacenterHealth{}, Probes: map[string]DatacenterHealth{}, LastGood: map[string][]string{}, Serial: map[string]uint32{}, Lacks: []daemon.Lack{}, Talkers: s.watch.top.report()}
	if s.health != nil {
		var ill time.Time
		r.Probes = s.health.probed()
		if r.Datacenters, ill = s.health.snapshot(); !ill.IsZero() {
			r.Ill = fmt.Sprintf("this name server is ill: all its probes failed at once at %s: %s", ill.Local().Format(time.DateTime), thisNodeIsIll)
			r.Wrong = append(r.Wrong, r.Ill)
		}
	}
	if judged, _ := s.judged(time.Now()); s.serving && judged != nil {
		r.Datacenters = judged
	}
	r.Isolated, r.Observers = s.isolated, s.observers.report(time.Now())
	for name, good := range s.state.LastGood {
		r.LastGood[name] = good
	}
	v := s.view.Load()
	if v == nil {
		r.Wrong = append(r.Wrong, "nothing is answered yet: the first round of probes is not in")
	} else {
		r.Answering, r.Answers, r.Epoch = true, v.answered(), v.state
		for _, z := range v.zones {
			r.Serial[z.Origin] = z.soa.Serial
		}
	}
	said, _ := s.state.living(time.Now())
	left := said.Overrides
	for _, o := range left {
		r.Overrides = append(r.Overrides, v.held(o, left))
	}
	if r.Isolated {
		r.Wrong = append(r.Wrong, "this name server is cut off: it hears no other, and reaches no other datacenter and no witness; what it knew of the datacenters stays")
	}
	r.Wrong = append(r.Wrong, r.faults(v)...)
	if s.unsigned != nil {
		r.Wrong = append(r.Wrong, fmt.Sprintf("what is answered is that of before, for what should be cannot be signed: %v", s.unsigned))
	}
	if s.unwritten != nil {
		r.Wrong = append(r.Wrong, fmt.Sprintf("the state cannot be written, and what operators said is forgotten at the next restart: %v", s.unwritten))
	}
	if s.lacks != nil {
		r.Lacks = append(r.Lacks, s.lacks()...)
	}
	for _, l := range r.Lacks {
		if l.Fault {
			r.Wrong = append(r.Wrong, l.What)
		}
	}
	return r
}

// keyIDs tell keys apart, and say nothing of them.
func keyIDs(ring *keyring.Ring) []string {
	ids := []string{}
	for _, k := range ring.For(keyring.Operators) {
		ids = append(ids, k.ID)
	}
	return ids
}

// held looks at whether an override, one of all, says what is so.
func (v *view) held(o Override, all []Override) Held {
	h := Held{Override: o}
	var other []string // names of which something else was said
	for _, p := range all {
		if p.Datacenter == o.Datacenter && p.Name != "" && o.Name == "" && p.takesOut() != o.takesOut() {
			other = append(other, plainName(p.Name))
		}
	}
	var broken []string
	if v != nil {
		broken = v.broken(o)
	}
	switch {
	case len(broken) > 0 && len(other) == 0:
		h.Why = "clients of " + listed(broken) + " get it: nobody else serves"
	case len(broken) > 0:
		h.Why = "clients of " + listed(broken) + " get it: see what is answered, and what was said of " + listed(other)
	case len(other) > 0:
		h.Why = "something else was said for " + listed(other)
	case v == nil:
		h.Why = "nothing is answered yet"
	default:
		h.Holds = true
	}
	return h
}

// faults are what is not as it should be: an operator has to look.
func (r *Report) faults(v *view) (all []string) {
	if v != nil {
		for i, n := range v.names() {
			if n.poor() {
				all = append(all, r.Answers[i].Sentence)
			}
		}
	}
	for _, o := range r.Overrides {
		if !o.Holds && o.takesOut() && v != nil {
			all = append(all, fmt.Sprintf("%s does not hold: %s", o.what(), o.Why))
		}
	}
	for _, name := range sortedKeys(r.Datacenters) {
		d := r.Datacenters[name]
		said := func(is func(Override) bool) bool {
			return slices.ContainsFunc(r.Overrides, func(o Held) bool { return o.Datacenter == name && is(o.Override) })
		}
		for _, a := range slices.SortedFunc(maps.Keys(d.Dead), netip.Addr.Compare) {
			if d.Up {
				all = append(all, fmt.Sprintf("%s of %s is left out: %s", a, name, d.Dead[a]))
			}
		}
		switch {
		case d.Up:
		case said(func(o Override) bool { return o.Mode == Up }):
			all = append(all, fmt.Sprintf("%s counts as healthy because an operator says so, and its probes say: %s", name, d.Why))
		case !said(func(o Override) bool { return o.takesOut() && o.Name == "" }):
			all = append(all, fmt.Sprintf("%s is down: %s", name, d.Why))
		}
	}
	return all
}
