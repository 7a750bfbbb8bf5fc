package source

import (
	"maps"
	"slices"
	"sync/atomic"

	lru "github.com/hashicorp/golang-lru/v2"

	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/registry"
)

// Step is one source to ask for one repo, and what the source calls the repo.
type Step struct {
	*Source
	Repo      string
	Namespace namespace.Namespace // whose rules say what an answer means: a cache's 404 is not a Harbor project's
}

// Under is the request as the step's source knows it.
func (s Step) Under(req registry.Request) registry.Request {
	req.Repo, req.Query = s.Repo, nil
	return req
}

// Skipped reports whether the step's source is known to be down, and another one of
// the route can be asked: nobody waits for a silence then.
func (s Step) Skipped(route []Step) bool {
	return !s.Usable() && AnyUsable(route)
}

// AnyUsable reports whether some source may be asked now. If not, the probes tell
// when one is back.
func AnyUsable(route []Step) bool {
	return slices.ContainsFunc(route, func(s Step) bool { return s.Usable() })
}

// Routes knows from where each repo is read. The sources but Harbor may be others from one
// moment to the next: what is asked of them is asked of what Peers and Of return then.
// Safe for concurrent use.
type Routes struct {
	Harbor     *Source
	Namespaces *namespace.Table

	others  atomic.Pointer[others]
	holders *lru.Cache[string, string] // the name of the source that gave something last, by repo
}

// others are the sources but the local Harbor.
type others struct {
	peers     []*Source          // nearest first
	upstreams map[string]*Source // by the project of the cache
}

const maxHolders = 1 << 14

// NewRoutes returns the routes over the sources.
func NewRoutes(harbor *Source, peers []*Source, upstreams map[string]*Source, namespaces *namespace.Table) *Routes {
	r := &Routes{Harbor: harbor, Namespaces: namespaces}
	r.others.Store(&others{peers, upstreams})
	r.holders, _ = lru.New[string, string](maxHolders) // the size is positive: no error
	return r
}

// Peers returns the other datacenters' edges, nearest first.
func (r *Routes) Peers() []*Source { return r.others.Load().peers }

// Use replaces the sources but Harbor, by whose clock and metrics they go. One whose name is
// known stays, with what is known of how it is doing unless it is reached in another way now;
// one that is left out ends. It is not to be called twice at once.
func (r *Routes) Use(peers []Config, upstreams map[string]Config) {
	before, known := r.others.Load(), map[string]*Source{}
	for _, s := range append(slices.Collect(maps.Values(before.upstreams)), before.peers...) {
		known[s.Name] = s
	}
	of := func(cfg Config) *Source {
		old := known[cfg.Name]
		if old == nil {
			cfg.Now, cfg.Metrics = r.Harbor.Now, r.Harbor.Metrics
			return New(r.Harbor.ctx, cfg)
		}
		delete(known, cfg.Name)
		old.Use(cfg.Registry)
		return old
	}
	next := &others{upstreams: map[string]*Source{}}
	for _, cfg := range peers {
		next.peers = append(next.peers, of(cfg))
	}
	for project, cfg := range upstreams {
		next.upstreams[project] = of(cfg)
	}
	r.others.Store(next)
	for _, s := range known {
		s.end()
	}
}

// All are the sources of all repos.
func (r *Routes) All() []*Source {
	now := r.others.Load()
	all := append([]*Source{r.Harbor}, now.peers...)
	for _, project := range slices.Sorted(maps.Keys(now.upstreams)) {
		all = append(all, now.upstreams[project])
	}
	return all
}

// Of returns where a repo of a managed namespace is read from, in order
// (proxy/README.md, "Namespaces"). tag is "" for a digest, which is looked for
// under every rule that may have brought it.
func (r *Routes) Of(ns namespace.Namespace, repo, tag string) []Step {
	steps := r.Own(ns, repo)
	now := r.others.Load()
	for _, holds := range [...]bool{true, false} { // those whose Harbors are to hold it come first
		for _, peer := range now.peers {
			if ns.At(peer.Datacenter) == holds {
				steps = append(steps, Step{peer, repo, ns})
			}
		}
	}
	switch ns.Kind {
	case namespace.Cache:
		if upstream := now.upstreams[ns.Project]; upstream != nil {
			steps = append(steps, Step{upstream, ns.Image(repo), ns})
		}
	case namespace.Repl:
		for _, origin := range ns.Origins(repo, tag) {
			cache := r.Namespaces.Of(origin.Cache)
			steps = append(steps, Step{r.Harbor, origin.Cache + "/" + origin.Image, cache})
			if upstream := now.upstreams[origin.Cache]; upstream != nil {
				steps = append(steps, Step{upstream, origin.Image, cache})
			}
		}
	}
	return steps
}

// Homes returns the part of a route that is the local Harbor and those that are to hold the project.
func Homes(route []Step) []Step {
	return slices.DeleteFunc(route, func(s Step) bool { return s.Kind == Peer && !s.Namespace.At(s.Datacenter) })
}

// Upstream is the upstream that a project is a cache of; nil: this edge has no way there.
func (r *Routes) Upstream(project string) *Source { return r.others.Load().upstreams[project] }

// Own is the route of a peer's request, which goes no further than this
// datacenter's own Harbor: the peer asks the others itself.
func (r *Routes) Own(ns namespace.Namespace, repo string) []Step {
	return []Step{{r.Harbor, repo, ns}}
}

// Gave notes that the source gave something of the repo.
func (r *Routes) Gave(repo string, s *Source) { r.holders.Add(repo, s.Name) }

// ForBlobs sorts the route of a repo for its blobs: the source that gave something
// of the repo last comes first, because what belongs to it is there too. The local
// Harbor stays before it: it is near.
func (r *Routes) ForBlobs(repo string, route []Step) []Step {
	holder, ok := r.holders.Get(repo)
	if !ok || holder == r.Harbor.Name {
		return route
	}
	rank := func(s Step) int {
		switch {
		case s.Source == r.Harbor && s.Repo == repo:
			return 0
		case s.Name == holder:
			return 1
		}
		return 2
	}
	route = slices.Clone(route)
	slices.SortStableFunc(route, func(a, b Step) int { return rank(a) - rank(b) })
	return route
}
