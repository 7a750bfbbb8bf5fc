package proxy

import (
	"net/http"

	"example.org/breakwater/proxy/explain"
)

// Admin adds what operators ask of an edge to the admin listener:
//
//	POST /purge?digest=sha256:…   removes a blob or manifest from this edge's store (purged);
//	                              with fleet=true from those of all edges of the fleet
//	GET  /explain?ref=repo:tag    says where a reference would come from (explanation)
//	POST /drain                   makes the health say that this edge leaves, until
//	DELETE /drain                 or a restart; requests are served all the same
//	POST /warm                    has images in the store before they are asked for (warm.Order)
//	GET  /warm                    says how that is getting on (warm.Status)
func (h *Handler) Admin(mux *http.ServeMux) {
	explain.Admin(mux, h.Explain)
	h.operator.Admin(mux)
	h.purger.Admin(mux)
	h.warm.Admin(mux)
}
