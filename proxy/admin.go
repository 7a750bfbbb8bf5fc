package proxy

import (
	"encoding/json"
	"net/http"

	"example.org/breakwater/proxy/operator"
	"example.org/breakwater/registry"
)

// Admin adds what operators ask of an edge to the admin listener:
//
//	POST /purge?digest=sha256:…   removes a blob or manifest from this edge's store (purged);
//	                              with fleet=true from those of all edges of the fleet
//	GET  /explain?ref=repo:tag    says where a reference would come from (explanation)
//	POST /drain                   makes the health say that this edge leaves, until
//	DELETE /drain                 or a restart; requests are served all the same
func (h *Handler) Admin(mux *http.ServeMux) {
	mux.HandleFunc("GET /explain", h.adminExplain)
	h.operator.Admin(mux)
	mux.HandleFunc("POST /purge", func(w http.ResponseWriter, r *http.Request) {
		d, err := registry.ParseDigest(r.URL.Query().Get("digest"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		answer, err := h.purge(d, "operator")
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		if r.URL.Query().Get("fleet") == "true" {
			answer.Peers = operator.PurgePeers(r.Context(), h.routes.Peers(), d, h.cfg.Deadline)
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(answer) //nolint:errcheck // the operator is gone
	})
}
