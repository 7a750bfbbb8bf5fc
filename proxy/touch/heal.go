package touch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/registry"
)

const (
	healFor  = time.Hour // for an image: an upstream may be slow
	maxParts = 1000      // layers of an image
)

// isPast reports whether an answer came past the local Harbor: from a peer or the upstream.
func (t *Toucher) isPast(header http.Header) bool {
	status := header.Get("Cache-Status")
	for part := range strings.SplitSeq(status, ";") {
		if from, ok := strings.CutPrefix(strings.TrimSpace(part), "detail="); ok {
			return strings.Contains(status, "fwd=miss") && from != t.cfg.Harbor.Name
		}
	}
	return false
}

// heals has an image that a cache lacks, and that clients got past it, pulled through it: when
// its Harbor is back it is as if that had never been away. t.mu is held.
func (t *Toucher) heals(p Pull) {
	if !slices.Contains(t.healing, p) {
		t.healing = append(t.healing, p)
	}
	select {
	case t.ill <- struct{}{}:
	default:
	}
}

// heal pulls images through Harbor's caches, one after the other, until ctx ends.
func (t *Toucher) heal(ctx context.Context) {
	for {
		p, ok := t.nextHeal()
		if !ok {
			select {
			case <-t.ill:
				continue
			case <-ctx.Done():
				return
			}
		}
		err := t.through(ctx, p)
		if ctx.Err() != nil {
			return
		}
		t.healed(p, err)
		pause(ctx, t.cfg.Pace)
	}
}

// nextHeal takes the image that waits longest.
func (t *Toucher) nextHeal() (p Pull, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.healing) == 0 {
		return p, false
	}
	p, t.healing = t.healing[0], t.healing[1:]
	return p, true
}

// through pulls an image through Harbor, as a client does: its manifest, and what that names.
func (t *Toucher) through(ctx context.Context, p Pull) error {
	ctx, cancel := context.WithTimeout(ctx, healFor)
	defer cancel()
	ns, body := t.cfg.Namespace(p.Repo), new(bytes.Buffer)
	if err := t.pull(ctx, registry.Request{Method: http.MethodGet, Kind: registry.KindManifest, Repo: p.Repo, Digest: p.Digest}, ns, body, registry.MaxManifest); err != nil {
		return err
	}
	var m struct {
		Config struct{ Digest digest.Digest }
		Layers []struct{ Digest digest.Digest }
	}
	if json.Unmarshal(body.Bytes(), &m) != nil || len(m.Layers) > maxParts {
		return nil // of which kind it is, its next client finds out
	}
	parts := []digest.Digest{m.Config.Digest}
	for _, l := range m.Layers {
		parts = append(parts, l.Digest)
	}
	for _, d := range parts {
		if d.Validate() != nil { // an index names manifests, which are pulled by themselves
			continue
		}
		if err := t.pull(ctx, registry.Request{Method: http.MethodGet, Kind: registry.KindBlob, Repo: p.Repo, Digest: d}, ns, io.Discard, math.MaxInt64); err != nil {
			return err
		}
	}
	return nil
}

// healed notes how a heal ended.
func (t *Toucher) healed(p Pull, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.entries[p]
	if e == nil {
		return
	}
	result := resultHealed
	switch {
	case errors.Is(err, errGone): // its upstream has it no longer
		result = resultAbsent
	case err != nil:
		t.again(p, e, errors.Is(err, errRefused))
		return
	}
	t.settle(p, e, result, t.cfg.Now())
}
