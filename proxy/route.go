package proxy

import (
	"strings"

	"example.org/breakwater/internal/naming"
	"example.org/breakwater/registry"
)

// Rule is one line of a repl- project: which tags of which image Harbor holds,
// and where they come from (Harbor's replication policy with a name and a tag filter).
type Rule struct {
	From    string         // the project of the cache whose upstream it comes from, as cache-dockerhub
	Name    string         // a glob of the image's name there
	Tags    string         // a glob; "" is every tag
	Flatten naming.Flatten // how the name becomes the repo's
}

// step is one place to look for one repo, and what the place calls it.
type step struct {
	place *place
	repo  string
	ns    Namespace // whose rules say what the answer means: a cache's 404 is not a Harbor project's
}

// route returns where a repo of a managed namespace is read from, in order
// (README.md, "Namespaces"). ref is a tag, or "" where any will do: a digest is
// looked for under every rule that may have brought it.
func (h *Handler) route(ns Namespace, repo, tag string) []step {
	steps := []step{{h.harbor, repo, ns}}
	for _, peer := range h.peers {
		steps = append(steps, step{peer, repo, ns})
	}
	name := strings.TrimPrefix(repo, ns.Project+"/")
	switch ns.Kind {
	case KindCache:
		if upstream := h.upstreams[ns.Project]; upstream != nil {
			steps = append(steps, step{upstream, name, ns})
		}
	case KindRepl:
		for _, rule := range ns.Rules {
			if tag != "" && rule.Tags != "" && !naming.Match(rule.Tags, tag) {
				continue
			}
			for _, source := range rule.Flatten.Sources(rule.Name, name) {
				cache := resolve(h.namespaces, rule.From)
				steps = append(steps, step{h.harbor, rule.From + "/" + source, cache})
				if upstream := h.upstreams[rule.From]; upstream != nil {
					steps = append(steps, step{upstream, source, cache})
				}
			}
		}
	}
	return steps
}

// routeFor is the route of a request. A peer's request goes no further than this
// datacenter's own Harbor: the peer asks the others itself.
func (h *Handler) routeFor(x *exchange) []step {
	if x.peer != "" {
		return []step{{h.harbor, x.req.Repo, x.ns}}
	}
	return h.route(x.ns, x.req.Repo, x.req.Tag)
}

// under is the request as the step's place knows it.
func (s step) under(req registry.Request) registry.Request {
	req.Repo, req.Query = s.repo, nil
	return req
}
