package proxy

import (
	"slices"
	"strconv"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/fetch"
	"example.org/breakwater/proxy/lists"
	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/registry"
)

// serveTags answers tags/list (OCI distribution specification, "Listing Tags").
func (h *Handler) serveTags(w *response, r *request) error {
	list, err := h.lists.Tags(r.http.Context(), r.question())
	switch r.ns.Kind {
	case namespace.MultiDC:
		list, err = h.withVersions(r.Repo, list, err)
	case namespace.Cache:
		list, err = h.withKept(r, list, err)
	}
	if err != nil {
		return err
	}
	if len(list.All) == 0 && h.tryOtherwise(w, r, lists.Some) {
		return nil
	}
	noteList(w, list)
	return w.writeTags(r, list.All)
}

// serveReferrers answers the referrers API (OCI distribution specification, "Listing
// Referrers").
func (h *Handler) serveReferrers(w *response, r *request) error {
	list, err := h.lists.Referrers(r.http.Context(), r.question())
	if err != nil {
		return err
	}
	if len(list.All) == 0 && h.tryOtherwise(w, r, lists.Some) { // Harbor's word of a cache, whose upstream it does not ask
		return nil
	}
	if r.ns.Kind == namespace.MultiDC {
		list.All = lists.Without(list.All, func(d digest.Digest) bool { return h.versions.Gone(r.Repo, d) })
	}
	noteList(w, list)
	w.Header().Set("X-Total-Count", strconv.Itoa(len(list.All))) // before the filter, as Harbor counts
	filter := r.Query.Get("artifactType")
	if filter != "" {
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	return w.writeJSON(r, registry.TypeIndex, lists.Index{SchemaVersion: 2, MediaType: registry.TypeIndex, Manifests: lists.OfType(list.All, filter)})
}

// withVersions makes a list of tags right by what is known to be newer: tags that were
// pushed a short while ago are there, and those that were deleted are not, whatever
// Harbor has. err is why there is no list.
func (h *Handler) withVersions(repo string, list lists.List[string], err error) (lists.List[string], error) {
	if err != nil && (!outcome.IsNo(err) || !h.cfg.Access.Has(repo)) {
		return list, err
	}
	known := h.versions.Tags(repo)
	all := slices.DeleteFunc(slices.Clone(list.All), func(tag string) bool { return known[tag].Known() && known[tag].Deleted() })
	for tag, record := range known {
		if !record.Deleted() && record.Age(h.cfg.Now()) < fetch.Settled {
			all = append(all, tag)
		}
	}
	if err != nil && len(all) == 0 {
		return list, err
	}
	slices.Sort(all)
	list.All = slices.Compact(all)
	if err != nil {
		list.Source = "version-" + h.cfg.Datacenter
	}
	return list, nil
}

// noteList says how the edge came by a list.
func noteList[T any](w *response, list lists.List[T]) {
	w.outcome = outcomeList
	switch {
	case list.Merged:
		w.cacheStatus("hit", "fwd=stale", "detail=merged")
	case list.Stale:
		w.cacheStatus("hit", "fwd=stale", "detail=nobody-can-say")
	default:
		w.cacheStatus("fwd=miss", "detail="+list.Source)
	}
}

// writeTags writes the part of the list that the client asks for.
func (w *response) writeTags(r *request, tags []string) error {
	tags, next, err := lists.Page(tags, r.Query)
	if err != nil {
		return err
	}
	if next != nil {
		w.Header().Set("Link", "<"+r.Path()+"?"+next.Encode()+`>; rel="next"`)
	}
	return w.writeJSON(r, "application/json; charset=utf-8", struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}{r.Repo, append([]string{}, tags...)})
}
