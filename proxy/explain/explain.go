// Package explain is what an edge says of a reference to its operator: where it would come
// from now, and why. It asks nobody, and knows nothing by itself: the rim fills it in.
package explain

import (
	"fmt"
	"net/http"
	"time"

	"example.org/breakwater/proxy/source"
	"example.org/breakwater/proxy/tags"
	"example.org/breakwater/proxy/touch"
	"example.org/breakwater/proxy/version"
	"example.org/breakwater/registry"
)

// Explanation says where an edge would take a reference from, and why.
type Explanation struct {
	Reference string       `json:"reference"` // in full
	Project   string       `json:"project"`
	Kind      string       `json:"kind"`            // cache, repl, multi-dc or plain
	Homes     []string     `json:"homes,omitempty"` // the datacenters whose Harbors are to hold the project; absent: all are
	Notes     []string     `json:"notes,omitempty"` // what the reference was taken for, and what may be wrong with it
	Digest    string       `json:"digest,omitempty"`
	Held      bool         `json:"held"`              // the manifest is in the store
	Source    string       `json:"source,omitempty"`  // the name of the source that said which digest it is
	Said      Said         `json:"said,omitempty"`    // how it came to be known
	Age       float64      `json:"age_seconds"`       // since then; 0 where it is not known
	Freshness float64      `json:"freshness_seconds"` // how long an answer of a source is believed
	Version   *Newest      `json:"version,omitempty"` // the newest that is known; only multi-dc projects have some
	Deleted   *Deleted     `json:"deleted_upstream,omitempty"`
	Frozen    bool         `json:"frozen,omitempty"` // the tag stays at the digest, whatever its upstream makes of it
	Refused   string       `json:"refused,omitempty"`
	Touch     *touch.Shown `json:"touch,omitempty"` // whether Harbor's retention was shown the last pull
	Answer    string       `json:"answer"`          // a sentence: what a client would get now
	Route     []Step       `json:"route"`           // in the order in which they would be asked
}

// Admin adds GET /explain?ref=… to the listener that this machine alone reaches.
func Admin(mux *http.ServeMux, explain func(reference string) (Explanation, error)) {
	mux.HandleFunc("GET /explain", func(w http.ResponseWriter, r *http.Request) {
		answer, err := explain(r.URL.Query().Get("ref"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		registry.WriteJSON(w, answer)
	})
}

// Said is how a digest came to be known.
type Said string

// The ways in which a digest comes to be known.
const (
	Asked  Said = "asked"  // the source was asked
	Pushed Said = "pushed" // a client pushed it through this edge, and the source took it
	Kept   Said = "kept"   // it is from before this edge was started
	Heard  Said = "heard"  // an edge acknowledged it, and nobody has been asked since
)

// Newest is the newest push or delete of a reference that an edge knows of.
type Newest struct {
	Digest     string    `json:"digest,omitempty"`
	Deleted    bool      `json:"deleted"`
	At         time.Time `json:"at"`         // by the clock of the edge that acknowledged it
	Datacenter string    `json:"datacenter"` // that edge's
	Here       bool      `json:"here"`       // it was this edge
	Past       bool      `json:"past_edges"` // it went past the edges: that one found it at its Harbor
	Heard      time.Time `json:"heard"`      // when this edge wrote it down
}

// Deleted is when an upstream is known to have deleted what a cache has of it.
type Deleted struct {
	Since time.Time  `json:"since"`           // it was first heard
	Until *time.Time `json:"until,omitempty"` // the copy is served; absent: without end
	Over  bool       `json:"over,omitempty"`  // that has passed
}

// Step is one source of a route.
type Step struct {
	Source string  `json:"source"`
	Repo   string  `json:"repo"`                 // as it is called there
	State  string  `json:"state"`                // up, down, paused, or refused: a peer that takes no calls of this edge, a source that refuses its credentials
	Says   string  `json:"says,omitempty"`       // what is wrong between this edge and a peer, and what to do
	Usual  float64 `json:"usual_seconds"`        // what most of its answers took at most; 0: it has not answered yet
	Paused float64 `json:"paused_for,omitempty"` // s, with such questions
}

// StepOf is what is known of a source that is to be asked for something. says is what is wrong with the edge that it is, and
// refused whether that takes no calls of this one.
func StepOf(s source.Step, req registry.Request, says string, refused bool) Step {
	e := Step{Source: s.Name, Repo: s.Repo, State: "up", Says: says, Usual: s.Usual().Seconds()}
	if limited := s.Limited(req); limited != nil {
		e.Paused = limited.RetryAfter.Seconds()
	}
	switch {
	case !s.Usable():
		e.State = "down"
	case refused, s.State().Refused:
		e.State = "refused"
	case e.Paused > 0:
		e.State = "paused"
	}
	return e
}

// Known takes over what is remembered of the reference.
func (x *Explanation) Known(e tags.Entry, held bool, now time.Time) {
	x.Digest, x.Source, x.Held = e.Digest.String(), e.Source, held
	switch {
	case !e.Checked.IsZero():
		x.Said, x.Age = Asked, now.Sub(e.Checked).Seconds()
	case !e.Pushed.IsZero():
		x.Said, x.Age = Pushed, now.Sub(e.Pushed).Seconds()
	default:
		x.Said = Kept
	}
}

// Newest takes over the newest version of the reference, or its delete. What else is
// remembered is older. here is this edge's datacenter; held: the store has it.
func (x *Explanation) Newest(r version.Record, here string, deleted, held bool) {
	x.Version = &Newest{Here: r.Version.Datacenter == here, Digest: r.Digest.String(), Deleted: deleted, At: r.Version.At(), Datacenter: r.Version.Datacenter, Past: r.Adopted, Heard: r.At()}
	if !deleted && x.Digest != r.Digest.String() {
		x.Digest, x.Held, x.Source, x.Said, x.Age = r.Digest.String(), held, "version-"+r.Version.Datacenter, Heard, 0
	}
}

// Kept takes over that the upstream has deleted what is remembered, and how long that is
// served all the same; forever is without end.
func (x *Explanation) Kept(e tags.Entry, keep, forever time.Duration, now time.Time) {
	if e.Gone.IsZero() {
		return
	}
	x.Deleted = &Deleted{Since: e.Gone}
	if keep != forever {
		until := e.Gone.Add(keep)
		x.Deleted.Until, x.Deleted.Over = &until, !now.Before(until)
	}
}

// deleted says what a client gets of what the upstream has deleted.
func (x *Explanation) deleted() string {
	since := x.Deleted.Since.UTC().Format(time.RFC3339)
	switch {
	case x.Deleted.Over:
		return fmt.Sprintf("404: its upstream is known to have deleted it since %s, and keep_deleted has passed.", since)
	case !x.Held:
		return fmt.Sprintf("Its upstream is known to have deleted it since %s, and the store has lost it: whoever has it by its digest is asked, else 404.", since)
	case x.Deleted.Until == nil:
		return fmt.Sprintf("The copy in the store is served: its upstream is known to have deleted it since %s, and keep_deleted is forever.", since)
	}
	return fmt.Sprintf("The copy in the store is served: its upstream is known to have deleted it since %s, and keep_deleted lasts until %s.", since, x.Deleted.Until.UTC().Format(time.RFC3339))
}

// Conclude says what a client would get now. fresh: what is remembered is believed.
func (x *Explanation) Conclude(fresh bool) {
	first := "nobody"
	for _, s := range x.Route {
		if s.State == "up" {
			first = s.Source
			break
		}
	}
	switch {
	case x.Version != nil && x.Version.Deleted:
		x.Answer = fmt.Sprintf("404: it was deleted in %s, whoever still has it.", x.Version.Datacenter)
	case x.Deleted != nil:
		x.Answer = x.deleted()
	case x.Frozen && x.Held:
		x.Answer = "The copy in the store is served: the tag is frozen at this digest, and no upstream is asked for it (breakwater purge lets it go)."
	case x.Frozen:
		x.Answer = fmt.Sprintf("The tag is frozen at this digest, which the store has lost: %s is asked for the digest first, then the others in order.", first)
	case x.Held && fresh:
		x.Answer = fmt.Sprintf("Served from the store: %s said so %s ago, which is believed for %s.", x.Source, seconds(x.Age), seconds(x.Freshness))
	case x.Refused != "":
		x.Answer = "404, without asking again for some seconds: " + x.Refused + "."
	case x.Held && first == "nobody":
		x.Answer = "The copy in the store is served: everybody who could be asked is down."
	case x.Held:
		x.Answer = fmt.Sprintf("%s is asked whether the copy in the store is still right; the copy is served if that takes more than a second, or nobody can say.", first)
	case first == "nobody":
		x.Answer = "Nothing is held, and everybody who could be asked is down: they are asked all the same, then 503."
	default:
		x.Answer = fmt.Sprintf("Nothing is held: %s is asked first, then the others in order.", first)
	}
}

func seconds(s float64) time.Duration {
	return time.Duration(s * float64(time.Second)).Round(time.Second)
}
