package gslb

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Steering is what an operator asks for: to say something of a datacenter, or to take it back.
type Steering struct {
	Override      // Datacenter and Name alone where it is to be taken back
	Release  bool `json:"release,omitempty"`
	Yes      bool `json:"yes,omitempty"`   // do it also where it leaves clients worse off than the words say
	Dry      bool `json:"dry,omitempty"`   // say what would come of it, and change nothing
	Alone    bool `json:"alone,omitempty"` // this name server only, and not the others of its datacenter
}

// Steered is what comes of a steering.
type Steered struct {
	Node     string     `json:"node"`
	Override            // as it was said, or what was taken back
	Release  bool       `json:"release"`
	Done     bool       `json:"done"`     // false: nothing is changed
	Travels  bool       `json:"travels"`  // the other name servers hear of it, and keep it too
	Troubles []string   `json:"troubles"` // what is not as who asks may think; without Yes nothing is done then
	Notes    []string   `json:"notes"`    // what else is good to know
	Answers  []Answered `json:"answers"`  // what is answered after it
}

// ErrNothingSaid is why nothing can be taken back.
var ErrNothingSaid = errors.New("nothing was said of it")

// Steer does what an operator asks for. What comes of it is worked out before, by the same
// rules as answers are: where clients are worse off than the operator may think, it is done
// with Yes alone.
func (s *Node) Steer(x Steering) (Steered, error) {
	now := time.Now()
	if x.Name != "" {
		x.Name = dns.CanonicalName(x.Name)
	}
	s.mu.Lock()
	x.Since, x.SafeAt = s.state.next(x.Datacenter, x.Name, now), time.Time{}
	next, err := s.steered(&x, now)
	if err != nil {
		s.mu.Unlock()
		return Steered{}, err
	}
	done := s.consequences(x, next.Overrides, now)
	if x.Dry || len(done.Troubles) > 0 && !x.Yes {
		if s.unwritten != nil {
			done.Notes = append(done.Notes, s.notKept(s.unwritten))
		}
		s.mu.Unlock()
		return done, nil
	}
	s.state.said = next
	done.Done, done.Travels = true, s.exchange != nil
	done.Notes = append(done.Notes, s.unheard(now)...)
	s.mu.Unlock()
	what := "override"
	if x.Release {
		what = "override taken back"
	}
	s.log.Info(what, "datacenter", x.Datacenter, "name", x.Name, "mode", string(done.Mode), "until", untilWhen(x.Until), "reason", x.Reason, "by", x.By, "troubles", strings.Join(done.Troubles, "; "))
	s.refresh()
	s.tell()
	if err := s.write(); err != nil {
		done.Notes = append(done.Notes, s.notKept(err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.find(x.Override); i >= 0 && !x.Release {
		done.SafeAt = s.state.Overrides[i].SafeAt
	}
	return done, nil
}

// notKept says what comes of a state that cannot be written.
func (s *Node) notKept(why error) string {
	return fmt.Sprintf("it is not kept: %s forgets it at its next restart, for the state cannot be written (%v)", s.node, why)
}

// unheard says which other name servers are not heard now. The lock is held.
func (s *Node) unheard(now time.Time) (all []string) {
	if s.exchange == nil {
		return nil
	}
	others := s.observers.fresh(now)
	for _, dc := range s.fleet.Datacenters {
		if dc.Name != s.node && len(dc.NameServers) > 0 && !slices.ContainsFunc(others, func(h heard) bool { return h.Node == dc.Name }) {
			all = append(all, fmt.Sprintf("the name server of %s is not heard now: it takes this over when it is back, and answers as before until then if it runs", dc.Name))
		}
	}
	return all
}

// steered is what was said, after it. The lock is held.
func (s *Node) steered(x *Steering, now time.Time) (said, error) {
	if x.Release {
		i := s.find(x.Override)
		if i < 0 {
			return said{}, fmt.Errorf("%w: datacenter %q%s", ErrNothingSaid, x.Datacenter, strings.TrimSuffix(" for "+plainName(x.Name), " for "))
		}
		by, reason := x.By, x.Reason
		if !printable(by) || !printable(reason) || len(by) > maxBy || len(reason) > maxReason {
			by, reason = "", ""
		}
		over := s.state.over(Released{x.Datacenter, x.Name, x.Since})
		x.Override = s.state.Overrides[i]
		x.By, x.Reason = by, reason
		return over, nil
	}
	if err := x.check(s.fleet, now); err != nil {
		return said{}, err
	}
	next := s.state.with(x.Override)
	if len(next.Overrides) > maxOverrides {
		return said{}, fmt.Errorf("there are %d overrides already: take some back", maxOverrides)
	}
	return next, nil
}

// find is where what was said of the same stands; -1: nowhere. The lock is held.
func (s *Node) find(o Override) int {
	return slices.IndexFunc(s.state.Overrides, func(p Override) bool {
		return p.Datacenter == o.Datacenter && p.Name == o.Name && !p.expired(time.Now())
	})
}

// consequences says what would come of a steering. The lock is held.
func (s *Node) consequences(x Steering, next []Override, now time.Time) Steered {
	done := Steered{Node: s.node, Override: x.Override, Release: x.Release}
	if !s.serving {
		done.Troubles = []string{"this name server answers nothing yet, the first round of probes is not in: it cannot say who serves after it"}
		return done
	}
	f, known := s.fleet.Fleet, s.known(now, nil)
	w := weighing{f: f, x: x, with: known.imagined(next), without: known.imagined(s.state.Overrides), seen: map[string]bool{}}
	done.Answers = w.now()
	while := x.Override
	if x.Release {
		while = Override{}
	}
	for _, end := range ends(next, while) {
		w.later(end)
	}
	done.Troubles, done.Notes = w.troubles, w.notes
	if x.takesOut() && !x.Release && w.safe {
		done.SafeAt = s.runOut(x.Datacenter, now)
	}
	return done
}

// maxEnds is how many ends of overrides are looked at ahead.
const maxEnds = 16

// ends are the overrides that end by themselves while the one lasts, and itself, the next first.
func ends(all []Override, while Override) (next []Override) {
	for _, o := range all {
		if !o.Until.IsZero() && (while.Until.IsZero() || !o.Until.After(while.Until)) {
			next = append(next, o)
		}
	}
	slices.SortStableFunc(next, func(a, b Override) int { return a.Until.Compare(b.Until) })
	return next[:min(len(next), maxEnds)]
}

// untilWhen is an end for the log; "" for none.
func untilWhen(until time.Time) string {
	if until.IsZero() {
		return ""
	}
	return until.Format(time.RFC3339)
}
