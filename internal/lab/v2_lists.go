package lab

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/opencontainers/go-digest"
)

// page cuts a sorted list to the n entries behind last, and links to the next page.
func page(w http.ResponseWriter, r *http.Request, path string, all []string) []string {
	query := r.URL.Query()
	if last := query.Get("last"); last != "" {
		i, found := slices.BinarySearch(all, last)
		if found {
			i++
		}
		all = all[i:]
	}
	if n, err := strconv.Atoi(query.Get("n")); err == nil && n >= 0 && n < len(all) {
		all = all[:n]
		if n > 0 {
			w.Header().Set("Link", fmt.Sprintf(`<%s?last=%s&n=%d>; rel="next"`, path, url.QueryEscape(all[n-1]), n))
		}
	}
	return all
}

func (h *Harbor) serveCatalog(w http.ResponseWriter, r *http.Request) {
	repos := page(w, r, "/v2/_catalog", h.db.repositories())
	writeJSON(w, http.StatusOK, coreJSON, struct {
		Repositories []string `json:"repositories"`
	}{repos})
}

func (h *Harbor) serveTags(c *call) {
	tags := h.db.tags(c.project, c.repo)
	if c.upstream != nil {
		tags = append(tags, h.upstreamTags(c)...)
		slices.Sort(tags)
		tags = append([]string{}, slices.Compact(tags)...)
	}
	if tags == nil {
		notFound(c, "repository %s not found", c.repo)
		return
	}
	tags = page(c.w, c.r, c.r.URL.Path, tags)
	writeJSON(c.w, http.StatusOK, coreJSON, struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}{c.repo, tags})
}

func (h *Harbor) serveReferrers(c *call) {
	d, err := digest.Parse(c.reference)
	if err != nil {
		coreError(c.w, http.StatusBadRequest, "BAD_REQUEST", fmt.Sprintf("unsupported digest %s: %v", c.reference, err))
		return
	}
	type descriptor struct {
		MediaType    string            `json:"mediaType"`
		Digest       string            `json:"digest"`
		Size         int64             `json:"size"`
		Annotations  map[string]string `json:"annotations,omitempty"`
		ArtifactType string            `json:"artifactType,omitempty"`
	}
	all := h.db.referrers(c.project, c.repo, d.String())
	filter := c.r.URL.Query().Get("artifactType")
	manifests := []descriptor{}
	for _, a := range all {
		if filter == "" || a.ArtifactType == filter {
			manifests = append(manifests, descriptor{a.MediaType, a.Digest, a.Size, a.Annotations, a.ArtifactType})
		}
	}
	if filter != "" {
		c.w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	c.w.Header().Set("X-Total-Count", strconv.Itoa(len(all)))
	const index = "application/vnd.oci.image.index.v1+json"
	writeJSON(c.w, http.StatusOK, index, struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType"`
		Manifests     []descriptor `json:"manifests"`
	}{2, index, manifests})
}
