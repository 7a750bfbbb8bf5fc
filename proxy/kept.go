package proxy

import (
	"slices"
	"time"

	"example.org/breakwater/proxy/lists"
	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/proxy/peer"
	"example.org/breakwater/proxy/tags"
	"example.org/breakwater/registry"
)

// stays reports whether a tag is frozen by its cache's rules.
func (h *Handler) stays(key tags.Key) bool {
	return registry.ValidTag(key.Reference) && h.namespaces.OfRepo(key.Repo).Freezes(key.Repo, key.Reference)
}

// freeze returns the request for a tag that stays as it was first seen as one for that
// digest: no upstream is asked for the tag, and Harbor's policy counts.
func (h *Handler) freeze(r *request) (*request, tags.Entry) {
	if r.Tag == "" || !r.ns.Freezes(r.Repo, r.Tag) {
		return r, tags.Entry{}
	}
	key := tags.Key{Repo: r.Repo, Reference: r.Tag}
	e, known, _ := h.tags.Get(key, 0)
	if !known {
		return r, tags.Entry{}
	}
	h.tags.Pin(key)
	at := *r
	at.Tag, at.Digest, at.ns.Keep, at.frozen = "", e.Digest, namespace.Forever, true
	return &at, e
}

// noteKept says that the upstream has deleted the copy that is served, or that its tag is frozen.
func (w *response) noteKept(r *request, e tags.Entry) {
	if !e.Gone.IsZero() {
		w.outcome = outcomeKept
		w.cacheStatus("hit", "fwd=stale", "detail=deleted-upstream")
		w.Header().Set(peer.DeletedHeader, e.Gone.UTC().Format(time.RFC3339))
	}
	if r.frozen {
		w.Header().Set("Cache-Status", w.Header().Get("Cache-Status")+"; frozen")
	}
}

// withKept adds to a list the tags that are kept. err is why there is none.
func (h *Handler) withKept(r *request, list lists.List[string], err error) (lists.List[string], error) {
	if r.ns.Keep == 0 || err != nil && !outcome.IsDeleted(err) {
		return list, err
	}
	all := slices.Concat(list.All, h.fetch.KeptTags(h.tags, r.Repo, r.ns.Keep))
	if slices.Sort(all); err != nil && len(all) == 0 {
		return list, err
	}
	list.All, list.Stale = slices.Compact(all), list.Stale || err != nil
	return list, nil
}
