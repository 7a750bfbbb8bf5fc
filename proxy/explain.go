package proxy

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/proxy/tags"
	"example.org/breakwater/registry"
)

// explanation says where an edge would take a reference from, and why. It asks
// nobody: it is what the edge knows now.
type explanation struct {
	Reference string          `json:"reference"` // in full
	Project   string          `json:"project"`
	Kind      string          `json:"kind"` // cache, repl, multi-dc or plain
	Digest    string          `json:"digest,omitempty"`
	Source    string          `json:"source,omitempty"` // the name of the source that said which digest it is
	Age       float64         `json:"age_seconds,omitempty"`
	Freshness float64         `json:"freshness_seconds"`
	Held      bool            `json:"held"` // the manifest is in the store
	Refused   string          `json:"refused,omitempty"`
	Answer    string          `json:"answer"` // a sentence: what a client would get now
	Route     []explainedStep `json:"route"`  // in the order in which they would be asked
}

// explainedStep is one source of a route.
type explainedStep struct {
	Source string  `json:"source"`
	Repo   string  `json:"repo"`                 // as it is called there
	State  string  `json:"state"`                // up, down, paused, or refused: a peer that takes no calls of this edge
	Says   string  `json:"says,omitempty"`       // what is wrong between this edge and a peer, and what to do
	Usual  float64 `json:"usual_seconds"`        // what most of its answers took at most; 0: it has not answered yet
	Paused float64 `json:"paused_for,omitempty"` // s
}

// parseReference reads repo:tag, repo@digest or repo, with or without the
// registry's name before it. A tag is "latest" where there is none.
func parseReference(ref string) (registry.Request, error) {
	req := registry.Request{Method: http.MethodGet, Kind: registry.KindManifest}
	ref = strings.TrimPrefix(strings.TrimPrefix(ref, "https://"), "http://")
	if host, rest, ok := strings.Cut(ref, "/"); ok && strings.ContainsAny(host, ".:") && !strings.HasPrefix(host, "cache-") && !strings.HasPrefix(host, "repl-") && !strings.HasPrefix(host, "multi-dc-") {
		ref = rest
	}
	if repo, text, ok := strings.Cut(ref, "@"); ok {
		d, err := registry.ParseDigest(text)
		if err != nil {
			return req, err
		}
		req.Digest, ref = d, repo
	}
	if at := strings.LastIndexByte(ref, ':'); at > strings.LastIndexByte(ref, '/') {
		req.Tag, ref = ref[at+1:], ref[:at]
	}
	switch {
	case req.Digest != "":
		req.Tag = ""
	case req.Tag == "":
		req.Tag = "latest"
	}
	req.Repo = ref
	if !registry.ValidRepo(req.Repo) || req.Tag != "" && !registry.ValidTag(req.Tag) {
		return req, fmt.Errorf("%q is no reference; want repo:tag or repo@sha256:…", ref)
	}
	return req, nil
}

// explain says where the reference would come from.
func (h *Handler) explain(ref string) (explanation, error) {
	req, err := parseReference(ref)
	if err != nil {
		return explanation{}, err
	}
	ns := h.namespaces.Of(req.Project())
	req.Repo = ns.FullRepo(req.Repo)
	freshness := h.live.Load().Freshness(ns.Kind)
	separator := ":"
	if req.Digest != "" {
		separator = "@"
	}
	x := explanation{Reference: req.Repo + separator + req.Reference(), Project: ns.Project, Kind: ns.Kind.String(), Freshness: freshness.Seconds()}
	if ns.Kind == namespace.Plain {
		x.Answer = "A plain project: the request is passed to the local Harbor, with the client's own credentials."
		x.Route = []explainedStep{h.explainStep(h.routes.Own(ns, req.Repo)[0])}
		return x, nil
	}
	for _, s := range h.routes.Of(ns, req.Repo, req.Tag) {
		x.Route = append(x.Route, h.explainStep(s))
	}
	key := tags.Key{Repo: req.Repo, Reference: req.Reference()}
	e, known, fresh := h.tags.Get(key, freshness)
	if known {
		x.Digest, x.Source, x.Held = e.Digest.String(), e.Source, h.fetch.Holds(e.Digest)
		if !e.Checked.IsZero() {
			x.Age = h.cfg.Now().Sub(e.Checked).Seconds()
		}
	}
	if err := h.tags.Negative(tags.Question{Key: key}); err != nil {
		x.Refused = err.Error()
	}
	x.Answer = x.sentence(fresh)
	return x, nil
}

func (x explanation) sentence(fresh bool) string {
	first := "nobody"
	for _, s := range x.Route {
		if s.State == "up" {
			first = s.Source
			break
		}
	}
	switch {
	case x.Held && fresh:
		return fmt.Sprintf("Served from the store: %s said so %s ago, which is believed for %s.", x.Source, seconds(x.Age), seconds(x.Freshness))
	case x.Refused != "":
		return "404, without asking again for some seconds: " + x.Refused + "."
	case x.Held && first == "nobody":
		return "The copy in the store is served: everybody who could be asked is down."
	case x.Held:
		return fmt.Sprintf("%s is asked whether the copy in the store is still right; the copy is served if that takes more than a second, or nobody can say.", first)
	case first == "nobody":
		return "Nothing is held, and everybody who could be asked is down: they are asked all the same, then 503."
	}
	return fmt.Sprintf("Nothing is held: %s is asked first, then the others in order.", first)
}

func seconds(s float64) time.Duration {
	return time.Duration(s * float64(time.Second)).Round(time.Second)
}

func (h *Handler) explainStep(s source.Step) explainedStep {
	state, seen := s.State(), h.neighbors.View(s.Datacenter)
	e := explainedStep{Source: s.Name, Repo: s.Repo, State: "up", Says: seen.Says, Usual: s.Usual().Seconds(), Paused: state.Paused.Seconds()}
	switch {
	case !state.Up:
		e.State = "down"
	case seen.Refused:
		e.State = "refused"
	case state.Paused > 0:
		e.State = "paused"
	}
	return e
}

// adminExplain answers GET /explain?ref=….
func (h *Handler) adminExplain(w http.ResponseWriter, r *http.Request) {
	answer, err := h.explain(r.URL.Query().Get("ref"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(answer) //nolint:errcheck // the operator is gone
}
