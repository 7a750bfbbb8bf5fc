package operator

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/peer"
	"example.org/breakwater/proxy/source"
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

// PurgePeers asks all other edges at once to purge, each for as long as the deadline.
func PurgePeers(ctx context.Context, peers []*source.Source, d digest.Digest, deadline time.Duration) []PeerPurged {
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
