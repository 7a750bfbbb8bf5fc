package lab

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
)

// room reports whether the project has room for so many bytes more, or writes the refusal.
func (h *Harbor) room(c *call, added int64) bool {
	h.db.mu.Lock()
	defer h.db.mu.Unlock()
	used, limit := c.project.used(), c.project.quota.Hard
	if limit == -1 || added == 0 || h.db.config["quota_per_project_enable"] == false {
		return true
	}
	if used+added <= limit {
		if (used+added)*100 >= limit*85 {
			h.send(c.project, WebhookDelivery{Kind: "QUOTA_WARNING", Operator: c.who.name, Repo: c.repo}, quotaData(c, fmt.Sprintf("quota usage reach 85%%: resource storage used %s of %s", size(used+added), size(limit))))
		}
		return true
	}
	message := fmt.Sprintf("adding %s of storage resource, which when updated to current usage of %s will exceed the configured upper limit of %s.", size(added), size(used), size(limit))
	h.send(c.project, WebhookDelivery{Kind: "QUOTA_EXCEED", Operator: c.who.name, Repo: c.repo}, quotaData(c, message))
	coreError(c.w, http.StatusForbidden, "DENIED", message)
	return false
}

func quotaData(c *call, details string) map[string]any {
	repo := c.project.webhookRepo(c.repo)
	delete(repo, "date_created")
	return map[string]any{"repository": repo, "custom_attributes": map[string]string{"Details": details}}
}

// size is a number of bytes as Harbor writes it.
func size(n int64) string {
	v, unit := float64(n), "B"
	for _, next := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if v < 1024 {
			break
		}
		v, unit = v/1024, next
	}
	return fmt.Sprintf("%.1f %s", v, unit)
}

// serveUpload lets the registry take a part of a blob. What completes a blob, or
// mounts one, must find room, and counts from then on.
func (h *Harbor) serveUpload(c *call) {
	query := c.r.URL.Query()
	digest, added := "", int64(-1)
	switch {
	case c.r.Method == http.MethodPut:
		digest = query.Get("digest")
		added = h.uploaded(c) + max(0, c.r.ContentLength)
	case c.r.Method == http.MethodPost && query.Has("mount") && query.Has("from"):
		digest = query.Get("mount")
		added = h.blobSize(query.Get("from"), digest)
	}
	h.db.mu.Lock()
	_, held := c.project.blobs[digest]
	h.db.mu.Unlock()
	if digest == "" || held || added < 0 {
		h.serveDistribution(c.w, c.r)
		return
	}
	if !h.room(c, added) {
		if c.r.Body != nil {
			io.Copy(io.Discard, io.LimitReader(c.r.Body, 64<<20)) //nolint:errcheck // so that the client hears the answer
		}
		return
	}
	h.serveDistribution(&createdWriter{ResponseWriter: c.w, created: func() {
		if c.r.ContentLength < 0 { // it was sent in chunks
			added = h.blobSize(c.repo, digest)
		}
		h.db.mu.Lock()
		defer h.db.mu.Unlock()
		c.project.blobs[digest] = added
	}}, c.r)
}

// uploaded is how much an upload session has already.
func (h *Harbor) uploaded(c *call) int64 {
	r, err := http.NewRequest(http.MethodGet, c.r.URL.RequestURI(), nil)
	if err != nil {
		return 0
	}
	w := httptest.NewRecorder()
	h.registry.ServeHTTP(w, r)
	_, last, _ := strings.Cut(w.Header().Get("Range"), "-")
	n, err := strconv.ParseInt(last, 10, 64)
	if err != nil || n == 0 {
		return 0
	}
	return n + 1
}

// blobSize is that of a blob that a repo holds; -1 where it does not.
func (h *Harbor) blobSize(repo, digest string) int64 {
	r, err := http.NewRequest(http.MethodHead, "/v2/"+repo+"/blobs/"+url.PathEscape(digest), nil)
	if err != nil {
		return -1
	}
	w := httptest.NewRecorder()
	h.registry.ServeHTTP(w, r)
	n, err := strconv.ParseInt(w.Header().Get("Content-Length"), 10, 64)
	if err != nil || w.Code != http.StatusOK {
		return -1
	}
	return n
}
