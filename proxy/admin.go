package proxy

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/registry"
)

// purged is the answer to a purge.
type purged struct {
	Digest string       `json:"digest"`
	Purged bool         `json:"purged"`          // false: nothing of it was there
	Peers  []peerPurged `json:"peers,omitempty"` // of a purge of the fleet: the other edges, nearest first
}

// peerPurged is what another edge made of a purge.
type peerPurged struct {
	Datacenter string `json:"datacenter"`
	Purged     bool   `json:"purged"`
	Error      string `json:"error,omitempty"` // it may still hold it
}

// Admin adds what operators ask of an edge to the admin listener:
//
//	POST /purge?digest=sha256:…   removes a blob or manifest from this edge's store (purged);
//	                              with fleet=true from those of all edges of the fleet
//	GET  /explain?ref=repo:tag    says where a reference would come from (explanation)
//	POST /drain                   makes the health say that this edge leaves, until
//	DELETE /drain                 or a restart; requests are served all the same
func (h *Handler) Admin(mux *http.ServeMux) {
	mux.HandleFunc("GET /explain", h.adminExplain)
	for method, drained := range map[string]bool{http.MethodPost: true, http.MethodDelete: false} {
		mux.HandleFunc(method+" /drain", func(w http.ResponseWriter, _ *http.Request) {
			h.drained.Store(drained)
			h.cfg.Log.Info("drain", "draining", h.draining(), "by", "operator")
			fmt.Fprintf(w, "{\"draining\":%t}\n", h.draining())
		})
	}
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
			answer.Peers = h.purgePeers(r.Context(), d)
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(answer) //nolint:errcheck // the operator is gone
	})
}

func (h *Handler) purge(d digest.Digest, by string) (purged, error) {
	was, err := h.cfg.Store.Purge(d)
	if err != nil {
		return purged{}, err
	}
	h.cfg.Log.Info("purged", "digest", d.String(), "was_there", was, "by", by)
	return purged{Digest: d.String(), Purged: was}, nil
}

// purgePeers asks all other edges at once to purge.
func (h *Handler) purgePeers(ctx context.Context, d digest.Digest) []peerPurged {
	answers := make([]peerPurged, len(h.peers))
	var all sync.WaitGroup
	for i, p := range h.peers {
		all.Go(func() {
			answers[i].Datacenter = h.cfg.Peers[i].Datacenter
			was, err := h.purgeAt(ctx, p, d)
			answers[i].Purged = was
			if err != nil {
				answers[i].Error = err.Error()
			}
		})
	}
	all.Wait()
	return answers
}

// purgeAt asks one edge (POST PeerPath/purge).
func (h *Handler) purgeAt(ctx context.Context, p *place, d digest.Digest) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, h.cfg.Deadline)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.registry.URL().String()+peerPurgePath+"?digest="+url.QueryEscape(d.String()), nil)
	if err != nil {
		return false, err
	}
	if err := p.showKey(req.Header); err != nil {
		return false, err
	}
	resp, err := p.registry.Transport().RoundTrip(req)
	if err != nil {
		return false, fmt.Errorf("it does not answer: %w", err)
	}
	defer resp.Body.Close()
	var answer purged
	body := io.LimitReader(resp.Body, 64<<10)
	if resp.StatusCode != http.StatusOK || json.NewDecoder(body).Decode(&answer) != nil {
		return false, fmt.Errorf("it answers %s", resp.Status)
	}
	return answer.Purged, nil
}
