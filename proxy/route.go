package proxy

import (
	"slices"
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

// anyUsable reports whether somebody may be asked now; if not, probes tell when
// one is back.
func anyUsable(route []step) bool {
	return slices.ContainsFunc(route, func(s step) bool { return s.place.usable() })
}

// leftOut reports whether the step's place is known to be down, and somebody else
// of the route can be asked: nobody waits for a silence then. One that has had
// enough says so at once.
func (s step) leftOut(route []step) bool {
	return !s.place.usable() && s.place.limited() == nil && anyUsable(route)
}

const maxHolders = 1 << 14

// blobRoute is the route of a request for a blob. The place that gave something of
// the repo last comes before others of its kind and beyond: what belongs to it is
// there too. The local Harbor stays where it is: it is near.
func (h *Handler) blobRoute(x *exchange) []step {
	route := h.routeFor(x)
	holder, ok := h.holders.Get(x.req.Repo)
	if !ok || holder == h.harbor.name {
		return route
	}
	rank := func(s step) int {
		switch {
		case s.place == h.harbor && s.repo == x.req.Repo:
			return 0
		case s.place.name == holder:
			return 1
		}
		return 2
	}
	slices.SortStableFunc(route, func(a, b step) int { return rank(a) - rank(b) })
	return route
}

// under is the request as the step's place knows it.
func (s step) under(req registry.Request) registry.Request {
	req.Repo, req.Query = s.repo, nil
	return req
}
