package lab

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/opencontainers/go-digest"
)

// artifactName is the reference as Harbor's messages have it.
func artifactName(repo, reference string) string {
	if strings.Contains(reference, ":") {
		return repo + "@" + reference
	}
	return repo + ":" + reference
}

// artifact is the one that the call names; where there is none it writes Harbor's 404.
func (h *Harbor) artifact(c *call) *artifact {
	a, known := h.db.find(c.project, c.repo, c.reference)
	switch {
	case !known:
		notFound(c, "repository %s not found", c.repo)
	case a == nil:
		notFound(c, "artifact %s not found", artifactName(c.repo, c.reference))
	}
	return a
}

func (h *Harbor) localManifest(c *call) {
	switch a := h.artifact(c); {
	case a == nil:
	case strings.Contains(c.r.Header.Get("If-None-Match"), a.Digest):
		c.w.WriteHeader(http.StatusNotModified)
	default:
		h.serveManifest(c, a)
		h.pulled(c, a)
	}
}

// serveManifest lets distribution answer, by digest: core resolves the tag.
func (h *Harbor) serveManifest(c *call, a *artifact) {
	r := c.r.Clone(c.r.Context())
	r.URL = &url.URL{Path: "/v2/" + c.repo + "/manifests/" + a.Digest}
	r.Header["Accept"] = []string{a.MediaType}
	h.serveDistribution(c.w, r)
}

const maxManifest = 4 << 20

func (h *Harbor) putManifest(c *call) {
	body, err := io.ReadAll(io.LimitReader(c.r.Body, maxManifest))
	if err != nil {
		return
	}
	c.r.Body = io.NopCloser(bytes.NewReader(body))
	a := describe(c.r.Header.Get("Content-Type"), body)
	tag := c.reference
	if strings.Contains(tag, ":") {
		tag = ""
	}
	if !h.mayPutManifest(c, a, tag) {
		return
	}
	h.db.mu.Lock()
	for _, part := range a.children { // core makes sure that the children of an index exist
		if there, _ := c.project.find(c.repo, part.Digest); there == nil {
			h.db.mu.Unlock()
			coreError(c.w, http.StatusNotFound, "NOT_FOUND", "artifact "+c.repo+"@"+part.Digest+" not found")
			return
		}
	}
	h.db.mu.Unlock()
	h.serveDistribution(&createdWriter{ResponseWriter: c.w, created: func() {
		h.db.record(c.project, c.repo, tag, a)
		h.happened(event{kind: pushed, project: c.project, repo: c.repo, digest: a.Digest, tags: named(tag), operator: c.who.name})
		if a.Subject != "" { // what distribution leaves out: that it was seen
			c.w.Header().Set("OCI-Subject", a.Subject)
		}
	}}, c.r)
}

// createdWriter does something before the client hears that its manifest is there.
type createdWriter struct {
	http.ResponseWriter
	created func()
}

// WriteHeader implements http.ResponseWriter.
func (w *createdWriter) WriteHeader(status int) {
	if status == http.StatusCreated {
		w.created()
	}
	w.ResponseWriter.WriteHeader(status)
}

func (h *Harbor) deleteManifest(c *call) {
	if err := digest.Digest(c.reference).Validate(); err != nil {
		coreError(c.w, http.StatusBadRequest, "UNSUPPORTED", fmt.Sprintf("unsupported digest %s: %v", c.reference, err))
		return
	}
	a := h.artifact(c)
	if a == nil {
		return
	}
	if err := h.deleteArtifact(c.project, c.repo, a, c.who.name); err != nil {
		(&apiCall{w: c.w, r: c.r}).finish(err)
		return
	}
	c.w.WriteHeader(http.StatusAccepted)
}
