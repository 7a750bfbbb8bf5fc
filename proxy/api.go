package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/pass"
	"example.org/breakwater/proxy/version"
	"example.org/breakwater/registry"
)

// change is a write through Harbor's own API, as the portal makes it, that changes what a
// tag of a multi-dc- project is: Harbor tells nobody of most of them.
type change struct {
	repo      string
	reference string // of the artifact; "": of the whole repo
	tag       string // that is deleted or added; "": the artifact is deleted
	digest    digest.Digest
	added     bool
	copied    bool            // from another repo, with its tags
	all       []digest.Digest // of the repo that is deleted
	begun     version.Version
}

const maxTagBody = 64 << 10

// servePortal passes what is not the distribution API to Harbor, and takes note of what it
// changes.
func (h *Handler) servePortal(w *response, r *request) error {
	c, ok := h.changeOf(r)
	if !ok {
		return h.pass.Serve(w, r.http, pass.Call{Answered: func(resp *http.Response) error {
			if resp.StatusCode < 300 && pass.ChangesProjects(r.http) {
				h.cfg.Access.ProjectsChanged()
			}
			return nil
		}})
	}
	c.begun = h.versions.Begin(c.repo, "").Version
	switch { // before it is gone
	case c.copied:
	case c.reference != "":
		c.digest = h.digestOf(r.http.Context(), c.repo, c.reference)
	default:
		c.all = h.follower.Digests(r.http.Context(), c.repo)
	}
	return h.pass.Serve(w, r.http, pass.Call{Answered: func(resp *http.Response) error {
		if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusCreated {
			if err := h.changed(r.http.Context(), c); err != nil {
				h.cfg.Log.Warn("a change through Harbor's API is not told to the other datacenters", "repo", c.repo, "tag", c.tag, "err", err.Error())
			}
			h.acknowledge(resp.Header)
		}
		return nil
	}})
}

// changeOf reads a request of Harbor's API: DELETE /api/v2.0/projects/{project}/
// repositories/{repository}[/artifacts/{reference}[/tags/{tag}]], and POST …/tags.
func (h *Handler) changeOf(r *request) (c change, ok bool) {
	rest, ok := strings.CutPrefix(r.http.URL.Path, "/api/v2.0/projects/")
	parts := strings.Split(rest, "/")
	if !ok || len(parts) < 3 || parts[1] != "repositories" || h.namespaces.Of(parts[0]).Kind != namespace.MultiDC {
		return c, false
	}
	repo, err := url.PathUnescape(parts[2]) // slashes come as %252F
	if c.repo = parts[0] + "/" + repo; err != nil || !registry.ValidRepo(c.repo) {
		return c, false
	}
	if from := r.http.URL.Query().Get("from"); r.http.Method == http.MethodPost && len(parts) == 4 && parts[3] == "artifacts" && from != "" {
		c.reference, c.copied = from[strings.LastIndexAny(from, ":@")+1:], true
		if at := strings.Index(from, "@"); at >= 0 {
			c.reference = from[at+1:]
		}
		return c, true
	}
	isTags := len(parts) >= 6 && parts[3] == "artifacts" && parts[5] == "tags"
	switch {
	case r.http.Method == http.MethodDelete && len(parts) == 3:
		return c, true
	case r.http.Method == http.MethodDelete && len(parts) == 5 && parts[3] == "artifacts":
		c.reference = parts[4]
		return c, true
	case r.http.Method == http.MethodDelete && len(parts) == 7 && isTags:
		c.reference, c.tag = parts[4], parts[6]
		return c, registry.ValidTag(c.tag)
	case r.http.Method == http.MethodPost && len(parts) == 6 && isTags:
		c.reference, c.added, c.tag = parts[4], true, namedTag(r)
		return c, registry.ValidTag(c.tag)
	}
	return c, false
}

// namedTag reads the name of the tag that is to be added, and puts the body back.
func namedTag(r *request) string {
	var body struct{ Name string }
	head, err := io.ReadAll(io.LimitReader(r.http.Body, maxTagBody))
	in := *r.http
	in.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(head), r.http.Body), r.http.Body}
	r.http = &in
	if err != nil || json.Unmarshal(head, &body) != nil {
		return ""
	}
	return body.Name
}

// adoptCopy gives versions to the tags of a copied artifact.
func (h *Handler) adoptCopy(ctx context.Context, c change) error {
	d, tags, err := h.follower.Tags(ctx, c.repo, c.reference)
	if err != nil {
		return err
	}
	for _, tag := range tags {
		err = errors.Join(err, h.adopt(ctx, version.Key{Repo: c.repo, Reference: tag}, d))
	}
	return err
}

// digestOf is the digest of an artifact, "" where Harbor does not say.
func (h *Handler) digestOf(ctx context.Context, repo, reference string) digest.Digest {
	if d, err := registry.ParseDigest(reference); err == nil {
		return d
	}
	if !registry.ValidTag(reference) {
		return ""
	}
	d, err := h.follower.Has(ctx, repo, reference)
	if err != nil || d == "" {
		d = h.versions.Get(version.Key{Repo: repo, Reference: reference}).Digest
	}
	return d
}

// changed gives a change its version.
func (h *Handler) changed(ctx context.Context, c change) error {
	tag := version.Key{Repo: c.repo, Reference: c.tag}
	switch {
	case c.added:
		if c.digest == "" {
			return errors.New("it is not known what the tag was added to")
		}
		return h.adopt(ctx, tag, c.digest)
	case c.tag != "":
		h.versions.Delete(tag, c.begun)
	case c.digest != "":
		h.versions.Delete(version.Buried(c.repo, c.digest), c.begun)
	case c.copied:
		return h.adoptCopy(ctx, c)
	case c.reference == "":
		for _, d := range c.all {
			h.versions.Delete(version.Buried(c.repo, d), c.begun)
		}
		for name, r := range h.versions.Tags(c.repo) {
			if !r.Deleted() {
				h.versions.Delete(version.Key{Repo: c.repo, Reference: name}, c.begun)
				h.versions.Delete(version.Buried(c.repo, r.Digest), c.begun)
			}
		}
	}
	return nil
}
