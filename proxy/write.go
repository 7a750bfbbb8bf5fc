package proxy

import (
	"strings"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/fetch"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/proxy/state"
	"example.org/breakwater/proxy/tags"
)

// serveWrite hands a push or delete to the Harbor that takes it.
func (h *Handler) serveWrite(w *response, r *request) error {
	request := r.write()
	request.Refused = request.IsManifest() && h.refuses(r)
	write, err := h.pusher.Begin(w, request)
	if request.Refused || err != nil {
		w.Header().Set("Connection", "close") // the answer is not to wait for a body that nobody reads
	}
	if err != nil {
		w.outcome = outcomeOwn
		return err
	}
	return write.Serve(w)
}

// refuses reports whether the credentials are known not to permit what the request asks for.
func (h *Handler) refuses(r *request) bool {
	if scheme, _, _ := strings.Cut(r.query.Authorization, " "); strings.EqualFold(scheme, "Basic") {
		return h.tokens.Refuses(r.http.Context(), r.http, r.Repo, r.query.Action)
	}
	return h.cfg.Access.Refuses(r.http.Context(), r.query)
}

// manifests is what writes change of what the edge knows (push.Manifests).
type manifests struct {
	tags  *tags.Cache
	fetch *fetch.Fetcher
	state *state.DB // nil: none
}

// Written implements push.Manifests.
func (m manifests) Written(repo, moved string) { m.tags.Written(repo, moved) }

// Deleted implements push.Manifests. Lists that were seen before may name it.
func (m manifests) Deleted(repo string, d digest.Digest) {
	m.tags.Deleted(repo, d)
	m.state.DropLists(repo)
}

// Pushed implements push.Manifests. A manifest that the store does not take is not
// remembered.
func (m manifests) Pushed(repo, reference string, d digest.Digest, manifest []byte, contentType string, by *source.Source) {
	mediaType, err := m.fetch.KeepPushed(repo, d, manifest, contentType)
	if err == nil {
		m.tags.Pushed(tags.Key{Repo: repo, Reference: reference}, tags.Entry{Digest: d, MediaType: mediaType, Source: by.Name})
	}
}

// Read implements push.Manifests.
func (m manifests) Read(d digest.Digest) ([]byte, error) { return m.fetch.Read(d) }
