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

	"example.org/breakwater/proxy/peer"
	"example.org/breakwater/proxy/source"
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

// purge removes content from this edge's store.
func (h *Handler) purge(d digest.Digest, by string) (purged, error) {
	was, err := h.cfg.Store.Purge(d)
	if err != nil {
		return purged{}, err
	}
	h.cfg.Log.Info("purged", "digest", d.String(), "was_there", was, "by", by)
	return purged{Digest: d.String(), Purged: was}, nil
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

// purgePeers asks all other edges at once to purge.
func (h *Handler) purgePeers(ctx context.Context, d digest.Digest) []peerPurged {
	peers := h.routes.Peers()
	answers := make([]peerPurged, len(peers))
	var all sync.WaitGroup
	for i, p := range peers {
		all.Go(func() {
			answers[i].Datacenter = p.Datacenter
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

// purgeAt asks one edge (POST peer.PurgePath).
func (h *Handler) purgeAt(ctx context.Context, p *source.Source, d digest.Digest) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, h.cfg.Deadline)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.Registry.URL().String()+peer.PurgePath+"?digest="+url.QueryEscape(d.String()), nil)
	if err != nil {
		return false, err
	}
	resp, err := p.RoundTrip(req)
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
