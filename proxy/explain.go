package proxy

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"example.org/breakwater/registry"
)

// explanation says where an edge would take a reference from, and why. It asks
// nobody: it is what the edge knows now.
type explanation struct {
	Reference string          `json:"reference"` // in full
	Project   string          `json:"project"`
	Kind      string          `json:"kind"` // cache, repl, multi-dc or plain
	Digest    string          `json:"digest,omitempty"`
	Source    string          `json:"source,omitempty"` // who said so
	Age       float64         `json:"age_seconds,omitempty"`
	Freshness float64         `json:"freshness_seconds"`
	Held      bool            `json:"held"` // the manifest is in the store
	Refused   string          `json:"refused,omitempty"`
	Answer    string          `json:"answer"` // a sentence: what a client would get now
	Route     []explainedStep `json:"route"`  // in the order in which they would be asked
}

// explainedStep is one place of a route.
type explainedStep struct {
	Place string  `json:"place"`
	Repo  string  `json:"repo"`                 // as it is called there
	State string  `json:"state"`                // up, down or paused
	Usual float64 `json:"usual_seconds"`        // what most of its answers took at most; 0: it has not answered yet
	Left  float64 `json:"paused_for,omitempty"` // s
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
	ns := resolve(h.namespaces, req.Project())
	req.Repo = ns.fullRepo(req.Repo)
	freshness := h.cfg.Freshness(ns.Kind)
	separator := ":"
	if req.Digest != "" {
		separator = "@"
	}
	x := explanation{Reference: req.Repo + separator + req.Reference(), Project: ns.Project, Kind: ns.Kind.String(), Freshness: freshness.Seconds()}
	if ns.Kind == KindPlain {
		x.Answer = "A plain project: the request is passed to the local Harbor, with the client's own credentials."
		x.Route = []explainedStep{h.harbor.explain(req.Repo)}
		return x, nil
	}
	for _, s := range h.route(ns, req.Repo, req.Tag) {
		x.Route = append(x.Route, s.place.explain(s.repo))
	}
	key := tagKey{req.Repo, req.Reference()}
	e, known, fresh := h.tags.get(key, freshness)
	if known {
		x.Digest, x.Source, x.Held = e.digest.String(), e.source, h.holds(e.digest)
		if !e.checked.IsZero() {
			x.Age = h.cfg.Now().Sub(e.checked).Seconds()
		}
	}
	if err := h.tags.refused(lookKey{key, false}); err != nil {
		x.Refused = err.Error()
	}
	x.Answer = x.sentence(fresh)
	return x, nil
}

func (x explanation) sentence(fresh bool) string {
	first := "nobody"
	for _, s := range x.Route {
		if s.State == "up" {
			first = s.Place
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

func (p *place) explain(repo string) explainedStep {
	s := explainedStep{Place: p.name, Repo: repo, State: "up", Usual: p.usual().Seconds()}
	p.mu.Lock()
	defer p.mu.Unlock()
	if left := p.paused.Sub(p.now()); left > 0 {
		s.State, s.Left = "paused", left.Seconds()
	}
	if p.open {
		s.State = "down"
	}
	return s
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
