package operator

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/peer"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/proxy/store"
	"example.org/breakwater/proxy/tags"
	"example.org/breakwater/registry"
)

// Purged is the answer to a purge.
type Purged struct {
	Digest string       `json:"digest"`
	Purged bool         `json:"purged"`          // false: nothing of it was there
	Peers  []PeerPurged `json:"peers,omitempty"` // of a purge of the fleet: the other edges, nearest first
}

// PeerPurged is what another edge made of a purge.
type PeerPurged struct {
	Datacenter string `json:"datacenter"`
	Purged     bool   `json:"purged"`
	Error      string `json:"error,omitempty"` // it may still hold it
}

// Purger removes content from an edge's store.
type Purger struct {
	Store    *store.Store
	Tags     *tags.Cache
	Peers    func() []*source.Source
	Deadline time.Duration // for the answer of a peer
	Log      *slog.Logger
}

// Admin adds the purge to the listener that this machine alone reaches.
func (p Purger) Admin(mux *http.ServeMux) {
	mux.HandleFunc("POST /purge", func(w http.ResponseWriter, r *http.Request) {
		d, err := registry.ParseDigest(r.URL.Query().Get("digest"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		answer, err := p.purge(d, "operator")
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		if r.URL.Query().Get("fleet") == "true" {
			answer.Peers = purgePeers(r.Context(), p.Peers(), d, p.Deadline)
		}
		registry.WriteJSON(w, answer)
	})
}

// ServePeer purges because an operator of another edge, in the datacenter by, purges the fleet.
func (p Purger) ServePeer(w http.ResponseWriter, r *http.Request, by string) error {
	if r.Method != http.MethodPost {
		return registry.Errorf(registry.CodeUnsupported, "a purge is a POST")
	}
	d, err := registry.ParseDigest(r.URL.Query().Get("digest"))
	if err != nil {
		return err
	}
	answer, err := p.purge(d, by)
	if err == nil {
		registry.WriteJSON(w, answer)
	}
	return err
}

// purge removes content from this edge's store, and lets the tags go that were frozen at it
// or kept.
func (p Purger) purge(d digest.Digest, by string) (Purged, error) {
	p.Tags.LetGo(d)
	was, err := p.Store.Purge(d)
	if err != nil {
		return Purged{}, err
	}
	p.Log.Info("purged", "digest", d.String(), "was_there", was, "by", by)
	return Purged{Digest: d.String(), Purged: was}, nil
}

// purgePeers asks all other edges at once to purge, each for as long as the deadline.
func purgePeers(ctx context.Context, peers []*source.Source, d digest.Digest, deadline time.Duration) []PeerPurged {
	answers := make([]PeerPurged, len(peers))
	var all sync.WaitGroup
	for i, p := range peers {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, deadline)
			defer cancel()
			answers[i].Datacenter = p.Datacenter
			was, err := purgeAt(ctx, p, d)
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
func purgeAt(ctx context.Context, p *source.Source, d digest.Digest) (bool, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.Registry.URL().String()+peer.PurgePath+"?digest="+url.QueryEscape(d.String()), nil)
	if err != nil {
		return false, err
	}
	resp, err := p.RoundTrip(req)
	if err != nil {
		return false, fmt.Errorf("it does not answer: %w", err)
	}
	defer resp.Body.Close()
	var answer Purged
	body := io.LimitReader(resp.Body, 64<<10)
	if resp.StatusCode != http.StatusOK || json.NewDecoder(body).Decode(&answer) != nil {
		return false, fmt.Errorf("it answers %s", resp.Status)
	}
	return answer.Purged, nil
}
