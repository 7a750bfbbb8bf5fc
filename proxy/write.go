package proxy

import (
	"context"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/push"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/proxy/tags"
	"example.org/breakwater/proxy/version"
	"example.org/breakwater/registry"
)

// serveWrite hands a push or delete to the Harbor that takes it.
func (h *Handler) serveWrite(w *response, r *request) error {
	request := r.write()
	request.Begun = h.begin(r)
	if r.Method == http.MethodDelete && r.Digest != "" && r.ns.Kind == namespace.MultiDC {
		request.Unnamed = func(ctx context.Context) bool { return len(h.follower.NamedBy(ctx, r.Repo, r.Digest)) > 0 }
	}
	if r.ns.Kind == namespace.MultiDC && r.Tag != "" {
		h.shown(version.Key{Repo: r.Repo, Reference: r.Tag})
	}
	request.Refused = (request.IsManifest() || r.ns.Away && r.Method == http.MethodDelete) && h.refuses(r)
	write, err := h.pusher.Begin(w, request)
	if request.Refused || err != nil {
		w.Header().Set("Connection", "close") // the answer is not to wait for a body that nobody reads
	}
	if err != nil {
		w.outcome = outcomeOwn
		return err
	}
	if request.IsManifest() && r.ns.Kind == namespace.MultiDC {
		defer h.underway.Begin(r.Repo, r.Tag, write.Digest())()
	}
	return write.Serve(w)
}

// refuses reports whether the credentials are known not to permit what the request asks for.
func (h *Handler) refuses(r *request) bool {
	if scheme, _, _ := strings.Cut(r.query.Authorization, " "); strings.EqualFold(scheme, "Basic") && !h.cfg.Access.KnownPlain() {
		return h.tokens.Refuses(r.http.Context(), r.http, r.Repo, r.query.Action)
	}
	return h.cfg.Access.Refuses(r.http.Context(), r.query)
}

// manifests is what writes change of what the edge knows (push.Manifests).
type manifests struct{ h *Handler }

// Written implements push.Manifests.
func (m manifests) Written(repo, moved string) { m.h.written(repo, moved) }

// Deleted implements push.Manifests.
func (m manifests) Deleted(ns namespace.Namespace, repo string, d digest.Digest, begun version.Version, answer http.Header) {
	buried := version.Buried(repo, d)
	m.h.forgetManifests(buried)
	if ns.Kind == namespace.MultiDC {
		m.h.versions.Delete(buried, begun)
		m.h.acknowledge(answer)
	}
}

// Pushed implements push.Manifests. A manifest that the store does not take is not
// remembered.
func (m manifests) Pushed(p push.Pushed) {
	mediaType, err := m.h.fetch.KeepPushed(p.Repo, p.Digest, p.Manifest, p.ContentType)
	if p.Namespace.Kind == namespace.MultiDC {
		m.h.ordered(p, mediaType)
	}
	if err == nil {
		m.h.tags.Pushed(tags.Key{Repo: p.Repo, Reference: p.Reference}, tags.Entry{Digest: p.Digest, MediaType: mediaType, Source: p.By.Name})
	}
}

// Begun implements push.Manifests.
func (m manifests) Begun(repo string, d digest.Digest, b version.Begun) (version.Begun, string) {
	b = m.h.versions.Pushes(repo, d, b)
	return b, version.Record{Version: b.Version, Knew: b.Knew, After: b.After}.Mark()
}

// Doubted implements push.Manifests.
func (m manifests) Doubted(p push.Pushed) {
	if p.Namespace.Kind == namespace.MultiDC && p.By.Kind == source.Harbor {
		if err := m.h.fetch.KeepTold(p.Digest, p.Manifest); err != nil {
			m.h.cfg.Log.Warn("a manifest that Harbor may have taken is not kept", "repo", p.Repo, "digest", p.Digest.String(), "err", err.Error())
		}
		mediaType, _ := registry.ManifestType(p.ContentType, p.Manifest) // "" of what Harbor takes for no manifest either
		m.h.doubts.Note(p, mediaType)
	}
}

// Read implements push.Manifests.
func (m manifests) Read(d digest.Digest) ([]byte, error) { return m.h.fetch.Read(d) }
