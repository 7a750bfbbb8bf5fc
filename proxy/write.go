package proxy

import (
	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/fetch"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/proxy/state"
	"example.org/breakwater/proxy/tags"
)

// serveWrite hands a push or delete to the Harbor that takes it.
func (h *Handler) serveWrite(w *response, r *request) error {
	write, err := h.pusher.Begin(r.write())
	if err != nil {
		w.outcome = outcomeOwn
		return err
	}
	return write.Serve(w)
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
