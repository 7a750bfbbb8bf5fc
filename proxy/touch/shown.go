package touch

import (
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/namespace"
)

// Shown is whether Harbor's retention was shown the last pull of an artifact.
type Shown struct {
	State Showing    `json:"state"`
	At    *time.Time `json:"at,omitempty"` // shown: when; pending, refused: the first pull that it was not shown
	Says  string     `json:"says"`         // a sentence
}

// Showing is what became of a pull.
type Showing string

// The states.
const (
	Off     Showing = "off"     // nothing is touched
	None    Showing = "none"    // no pull is known of the last interval
	Counted Showing = "shown"   // Harbor was shown it, or had counted one itself
	Absent  Showing = "absent"  // Harbor does not hold the artifact
	Pending Showing = "pending" // it is yet to be shown it
	Refused Showing = "refused" // the same, and it does not let the edge
)

// Shown says whether Harbor was shown the last pull of an artifact, by the tag or by its digest;
// nil: such pulls are Harbor's own to count.
func (t *Toucher) Shown(repo, tag string, d digest.Digest) *Shown {
	if t == nil || t.cfg.Namespace(repo).Kind == namespace.Plain {
		return nil
	}
	if t.off() {
		return &Shown{State: Off, Says: "Harbor is shown no pulls: edge.touch is 0s, the edge has no robot, or the registry is no Harbor."}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.entries[Pull{repo, tag, d}]
	if other := t.entries[Pull{repo, "", d}]; e == nil || other != nil && !e.Owed && (other.Owed || other.At > e.At) {
		e = other
	}
	if e == nil {
		return &Shown{State: None, Says: fmt.Sprintf("No pull is known of the last %v, here or from peers.", t.cfg.Every())}
	}
	return e.shown()
}

func (e *entry) shown() *Shown {
	at := e.at().UTC()
	if e.Owed {
		at = time.UnixMilli(e.Since).UTC()
	}
	s, when := &Shown{State: Counted, At: &at}, at.Format(time.RFC3339)
	switch {
	case e.Owed && e.result == resultRefused:
		s.State, s.Says = Refused, "Harbor does not let the edge's robot show it the pull of "+when+": breakwater provision apply lets it."
	case e.Owed && e.result == resultFailed:
		s.State, s.Says = Pending, "Harbor is yet to be shown the pull of "+when+": it could not say, and is tried again."
	case e.Owed:
		s.State, s.Says = Pending, "Harbor is yet to be shown the pull of "+when+"."
	case e.result == resultAbsent:
		s.State, s.Says = Absent, "Harbor does not hold it: the pull of "+when+" counts for nothing there."
	case e.result == resultKnown:
		s.Says = "Harbor had counted a pull itself at " + when + "."
	default:
		s.Says = "Harbor was shown it at " + when + "."
	}
	return s
}
