package proxy

import (
	"context"
	"errors"
	"net/http"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/pass"
	"example.org/breakwater/proxy/version"
	"example.org/breakwater/registry"
)

// change is a write through Harbor's own API, as the portal makes it, that changes what a
// tag of a multi-dc- project is: Harbor tells nobody of most of them.
type change struct {
	pass.Change
	digest digest.Digest
	all    []digest.Digest // of the repo that is deleted
	begun  version.Version
}

// servePortal passes what is not the distribution API to Harbor, and takes note of what it
// changes.
func (h *Handler) servePortal(w *response, r *request) error {
	c, ok := change{}, false
	c.Change, r.http, ok = pass.ChangeOf(r.http, func(project string) bool { return h.namespaces.Of(project).Kind == namespace.MultiDC })
	if !ok {
		return h.pass.Serve(w, r.http, pass.Call{Answered: func(resp *http.Response) error {
			if resp.StatusCode < 300 && pass.ChangesProjects(r.http) {
				h.cfg.Access.ProjectsChanged()
			}
			return nil
		}})
	}
	c.begun = h.versions.Begin(c.Repo, "").Version
	switch { // before it is gone
	case c.Copied:
	case c.Reference != "":
		c.digest = h.digestOf(r.http.Context(), c.Repo, c.Reference)
	default:
		c.all = h.follower.Digests(r.http.Context(), c.Repo)
	}
	return h.pass.Serve(w, r.http, pass.Call{Answered: func(resp *http.Response) error {
		if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusCreated {
			if err := h.changed(r.http.Context(), c); err != nil {
				h.cfg.Log.Warn("a change through Harbor's API is not told to the other datacenters", "repo", c.Repo, "tag", c.Tag, "err", err.Error())
			}
			h.acknowledge(resp.Header)
		}
		return nil
	}})
}

// adoptCopy gives versions to the tags of a copied artifact.
func (h *Handler) adoptCopy(ctx context.Context, c change) error {
	d, tags, err := h.follower.Tags(ctx, c.Repo, c.Reference)
	if err != nil {
		return err
	}
	for _, tag := range tags {
		err = errors.Join(err, h.adopt(ctx, version.Key{Repo: c.Repo, Reference: tag}, d))
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
	tag := version.Key{Repo: c.Repo, Reference: c.Tag}
	switch {
	case c.Added:
		if c.digest == "" {
			return errors.New("it is not known what the tag was added to")
		}
		return h.adopt(ctx, tag, c.digest)
	case c.Tag != "":
		h.versions.Delete(tag, c.begun)
	case c.digest != "":
		h.versions.Delete(version.Buried(c.Repo, c.digest), c.begun)
	case c.Copied:
		return h.adoptCopy(ctx, c)
	case c.Reference == "":
		for _, d := range c.all {
			h.versions.Delete(version.Buried(c.Repo, d), c.begun)
		}
		for name, r := range h.versions.Tags(c.Repo) {
			if !r.Deleted() {
				h.versions.Delete(version.Key{Repo: c.Repo, Reference: name}, c.begun)
				h.versions.Delete(version.Buried(c.Repo, r.Digest), c.begun)
			}
		}
	}
	return nil
}
