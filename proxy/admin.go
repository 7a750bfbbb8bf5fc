package proxy

import (
	"encoding/json"
	"net/http"

	"example.org/breakwater/registry"
)

// purged is the answer to a purge.
type purged struct {
	Digest string `json:"digest"`
	Purged bool   `json:"purged"` // false: nothing of it was there
}

// Admin adds what operators ask of an edge to the admin listener:
//
//	POST /purge?digest=sha256:…   removes a blob or manifest from this edge's store (purged)
//	GET  /explain?ref=repo:tag    says where a reference would come from (explanation)
func (h *Handler) Admin(mux *http.ServeMux) {
	mux.HandleFunc("GET /explain", h.adminExplain)
	mux.HandleFunc("POST /purge", func(w http.ResponseWriter, r *http.Request) {
		d, err := registry.ParseDigest(r.URL.Query().Get("digest"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		was, err := h.cfg.Store.Purge(d)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		h.cfg.Log.Info("purged", "digest", d.String(), "was_there", was)
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(purged{d.String(), was}) //nolint:errcheck // the operator is gone
	})
}
