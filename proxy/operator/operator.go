// Package operator answers those who steer a fleet, on the listener that clients use: how
// the edge is doing, and that it is to leave. Every question is signed with a key that is
// derived from edge.peers.key, and so is its answer; nobody else is told anything.
package operator

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"example.org/breakwater/internal/daemon"
	"example.org/breakwater/internal/keyring"
	"example.org/breakwater/internal/signed"
	"example.org/breakwater/proxy/announce"
	"example.org/breakwater/proxy/follow"
	"example.org/breakwater/proxy/hello"
	"example.org/breakwater/proxy/share"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/proxy/store"
	"example.org/breakwater/proxy/token"
	"example.org/breakwater/proxy/touch"
	"example.org/breakwater/registry"
)

// Path is where the end points are.
const Path = "/breakwater/v1/operator/"

// Name is what those who ask call the edges of a datacenter.
func Name(datacenter string) string { return "the edge of " + datacenter }

const (
	maxAsker  = 200 // bytes of who asks that are kept
	maxReason = 500
)

// About is what an edge is told of itself by the program that runs it.
type About struct {
	Fleet       func() string        // the hash of the fleet file that is in use; nil: ""
	Certificate func() time.Time     // when the one that clients are shown ends; nil: there is none
	Config      func() Config        // how the fleet file was last read; nil: once, at the start
	Lacks       func() []daemon.Lack // what the program found wrong with what the edge needs; nil: nothing
}

// Edge is what a report is made of.
type Edge struct {
	About
	Keys       *keyring.Ring // nil: nobody is answered
	Datacenter string
	Version    string
	Drain      *Drain
	Hits       *Counter
	Health     *source.Health // of the local Harbor
	Sources    func() []*source.Source
	Neighbors  *hello.Neighbors
	Store      *store.Store
	Hanging    func() bool // the disk, where it is not the store that says so
	Requests   *share.Shares
	Announcer  *announce.Announcer
	Follower   *follow.Follower
	Touches    *touch.Toucher
	Tokens     *token.Service
	Log        *slog.Logger
	Now        func() time.Time
}

// Handler answers operators.
type Handler struct {
	edge     Edge
	instance string
	started  time.Time
	signed   signed.Handler
}

// New returns the Handler of an edge.
func New(e Edge) *Handler {
	host, err := os.Hostname()
	if err != nil {
		host = "edge"
	}
	h := &Handler{edge: e, instance: host + "-" + rand.Text()[:8], started: e.Now()}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+Path+"status", func(w http.ResponseWriter, _ *http.Request) { registry.WriteJSON(w, h.Report()) })
	mux.HandleFunc("POST "+Path+"drain", h.drain)
	mux.HandleFunc("DELETE "+Path+"drain", h.drain)
	h.signed = signed.Handler{Ring: e.Keys, Self: Name(e.Datacenter), Next: mux, Now: e.Now}
	return h
}

// Has reports whether there is a key, and so something to ask.
func (h *Handler) Has() bool { return len(h.edge.Keys.For(keyring.Operators)) > 0 }

// ServeHTTP answers a signed question, and refuses all others with a sentence. Questions
// have no body: nothing is read of one that strangers send.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	in := *r
	in.Body = http.NoBody
	h.signed.ServeHTTP(w, &in)
}

// Admin adds the drain to the listener that this machine alone reaches.
func (h *Handler) Admin(mux *http.ServeMux) {
	for _, method := range []string{http.MethodPost, http.MethodDelete} {
		mux.HandleFunc(method+" /drain", func(w http.ResponseWriter, r *http.Request) {
			h.say(r.Method, "operator", "")
			registry.WriteJSON(w, map[string]bool{"draining": h.edge.Drain.Draining()})
		})
	}
}

// drain has this instance leave (POST), or takes that back (DELETE). The question names the
// instance, so that what was heard on its way to one replica is none for another, nor for
// the next start.
func (h *Handler) drain(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if of := q.Get("instance"); of != h.instance {
		http.Error(w, fmt.Sprintf("this is the instance %s, and not %q: ask for its status first", h.instance, of), http.StatusConflict)
		return
	}
	h.say(r.Method, cut(r.Header.Get(signed.Asker), maxAsker), cut(q.Get("reason"), maxReason))
	registry.WriteJSON(w, h.Report())
}

func (h *Handler) say(method, by, reason string) {
	var order *Order
	if method == http.MethodPost {
		order = &Order{By: by, Reason: reason, Since: h.edge.Now().UTC()}
	}
	h.edge.Drain.Say(order)
	h.edge.Log.Info("drain", "draining", h.edge.Drain.Draining(), "by", by, "reason", reason)
}

func cut(s string, most int) string { return s[:min(len(s), most)] }
