package proxy

import (
	"net/url"
	"slices"
	"strconv"

	"example.org/breakwater/proxy/lists"
	"example.org/breakwater/registry"
)

const indexType = "application/vnd.oci.image.index.v1+json"

// serveTags answers tags/list (OCI distribution specification, "Listing Tags").
func (h *Handler) serveTags(w *response, r *request) error {
	list, err := h.lists.Tags(r.http.Context(), r.question())
	if err != nil {
		return err
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
	noteList(w, list)
	filter := r.Query.Get("artifactType")
	if filter != "" {
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	return w.writeJSON(r, indexType, lists.Index{SchemaVersion: 2, MediaType: indexType, Manifests: lists.OfType(list.All, filter)})
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

// writeTags writes the part of the list that the client asks for: n after last.
func (w *response) writeTags(r *request, tags []string) error {
	if last := r.Query.Get("last"); last != "" {
		at, found := slices.BinarySearch(tags, last)
		if found {
			at++
		}
		tags = tags[at:]
	}
	if text := r.Query.Get("n"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return registry.Errorf(registry.CodePaginationInvalid, "n is to be a number, not %q", clip(text))
		}
		if n < len(tags) {
			tags = tags[:n]
			if n > 0 {
				next := url.Values{"n": {text}, "last": {tags[n-1]}}
				w.Header().Set("Link", "<"+r.Path()+"?"+next.Encode()+`>; rel="next"`)
			}
		}
	}
	return w.writeJSON(r, "application/json; charset=utf-8", struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}{r.Repo, append([]string{}, tags...)})
}

func clip(s string) string { return s[:min(len(s), 40)] }
