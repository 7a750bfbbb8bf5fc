package proxy

import (
	"net/http"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/operator"
	"example.org/breakwater/registry"
)

// purge removes content from this edge's store, and lets the tags go that were frozen at it
// or kept.
func (h *Handler) purge(d digest.Digest, by string) (operator.Purged, error) {
	h.tags.LetGo(d)
	was, err := h.cfg.Store.Purge(d)
	if err != nil {
		return operator.Purged{}, err
	}
	h.cfg.Log.Info("purged", "digest", d.String(), "was_there", was, "by", by)
	return operator.Purged{Digest: d.String(), Purged: was}, nil
}

// purgeForPeer removes content from this edge's store, because an operator of another
// edge purges the fleet.
func (h *Handler) purgeForPeer(w *response, r *request) error {
	if r.http.Method != http.MethodPost {
		return registry.Errorf(registry.CodeUnsupported, "a purge is a POST")
	}
	d, err := registry.ParseDigest(r.http.URL.Query().Get("digest"))
	if err != nil {
		return err
	}
	answer, err := h.purge(d, r.peer)
	if err != nil {
		return err
	}
	return w.writeJSON(r, "application/json", answer)
}
