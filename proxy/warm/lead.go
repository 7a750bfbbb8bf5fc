package warm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"slices"
	"time"

	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/proxy/peer"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/proxy/store"
	"example.org/breakwater/registry"
)

// Ask is what an edge asks of a peer (POST peer.WarmPath, JSON): to have an image in its store.
type Ask struct {
	Kind        string   `json:"kind"`
	Image       Image    `json:"image"`
	Datacenters []string `json:"datacenters"` // whose edges want it
	// Lead has the peer fetch it, and ask no other edge; else it is for its own clients.
	Lead bool    `json:"lead"`
	Age  float64 `json:"age"` // in s: what the peer did in that time is as good
}

// Answer is how far the peer is.
type Answer struct {
	State string   `json:"state"`           // queued | running | done | failed
	Error string   `json:"error,omitempty"` // why it failed
	Moves uint64   `json:"moves"`           // grows while the peer gets on with its queue
	Signs []string `json:"signs,omitempty"` // references of what signs it, where it is done
}

const (
	maxAsk    = 64 << 10
	maxAnswer = 1 << 20
	slack     = time.Minute // of when edges begin with the same image
	standFor  = 5           // times Patience, that an edge that leads may stand still
)

var errNoAnswer = errors.New("it does not answer")

// attempt brings the image from the edge that leads, or leads. Who leads is the first in an order
// that all edges make alike for an image; the next leads where that one is down, or fails.
func (w *Warmer) attempt(ctx context.Context, l *load) error {
	for _, s := range w.leaders(l.j) {
		err := w.follow(ctx, l, s)
		if err == nil || ctx.Err() != nil || errors.Is(err, errWaits) || errors.Is(err, store.ErrNoRoom) {
			return err
		}
		w.cfg.Log.Info("another edge does not give what is to be warmed", "image", l.j.image.String(), "datacenter", s.Datacenter, "err", err.Error())
	}
	return l.bring(ctx, "", nil)
}

// leaders are the peers that come before this edge in the order of an image, and are up. Only a
// cache has a leader: everything else is in the Harbors of the fleet.
func (w *Warmer) leaders(j *job) (before []*source.Source) {
	w.mu.Lock()
	wanted, leads := j.wanted, j.leads
	w.mu.Unlock()
	if leads || w.cfg.Namespaces.OfRepo(j.image.Repo).Kind != namespace.Cache {
		return nil
	}
	own := rank(w.cfg.Datacenter, j.image)
	for _, s := range w.cfg.Peers() {
		if slices.Contains(wanted, s.Datacenter) && s.Usable() && rank(s.Datacenter, j.image) > own {
			before = append(before, s)
		}
	}
	slices.SortFunc(before, func(a, b *source.Source) int {
		if rank(a.Datacenter, j.image) > rank(b.Datacenter, j.image) {
			return -1
		}
		return 1
	})
	return before
}

// rank is a datacenter's place for an image (rendezvous hashing): the highest leads.
func rank(datacenter string, image Image) uint64 {
	h := fnv.New64a()
	io.WriteString(h, image.key()+"\x00"+datacenter) //nolint:errcheck // it cannot fail
	x := h.Sum64()                                   // the last byte alone moves few bits of it
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	return x ^ x>>33
}

// follow takes the image from an edge that leads, once that has it.
func (w *Warmer) follow(ctx context.Context, l *load, s *source.Source) error {
	w.mu.Lock()
	ask := Ask{Kind: l.j.kind, Image: l.j.image, Datacenters: l.j.wanted, Lead: true, Age: (w.cfg.Now().Sub(l.j.added) + slack).Seconds()}
	w.mu.Unlock()
	a, err := w.ask(ctx, s, ask)
	switch {
	case err != nil:
		return err
	case a.State == failed:
		return fmt.Errorf("it says: %s", a.Error)
	case a.State == done:
		return l.bring(ctx, s.Datacenter, a.Signs)
	}
	now := w.cfg.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	if seen := &l.j.lead; seen.datacenter != s.Datacenter || seen.moves != a.Moves {
		*seen = lead{s.Datacenter, a.Moves, now}
	} else if now.Sub(seen.since) > standFor*w.cfg.Patience {
		return errStalled
	}
	return errWaits
}

// ask asks a peer.
func (w *Warmer) ask(ctx context.Context, s *source.Source, ask Ask) (a Answer, err error) {
	text, err := json.Marshal(ask)
	if err != nil {
		return a, err
	}
	err = w.call(ctx, s, http.MethodPost, "", bytes.NewReader(text), &a)
	return a, err
}

// call sends a request to a peer (peer.WarmPath) and reads its answer.
func (w *Warmer) call(ctx context.Context, s *source.Source, method, query string, body io.Reader, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, w.cfg.Deadline)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, s.Registry.URL().String()+peer.WarmPath+query, body)
	if err != nil {
		return err
	}
	resp, err := s.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("%w: %w", errNoAnswer, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("it answers: %w", registry.ReadError(resp))
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(answer); err != nil {
		return fmt.Errorf("what it answers cannot be read: %w", err)
	}
	return nil
}

// answer queues what another edge asks for, and says how far it is.
func (w *Warmer) answer(ask Ask) (Answer, error) {
	image, err := w.read(ask.Image)
	if err != nil {
		return Answer{}, err
	}
	if !slices.Contains(kinds, ask.Kind) {
		return Answer{}, outcome.DontKnow(fmt.Errorf("%.40q is no kind that is known here", ask.Kind))
	}
	now := w.cfg.Now()
	w.mu.Lock()
	j, a := w.jobs[image.key()], Answer{Moves: w.moves}
	if over := w.ended[image.key()]; j == nil && over != nil && ask.Lead && now.Sub(over.ended).Seconds() <= ask.Age {
		a.State, a.Signs = over.state, over.signs
		if over.err != nil {
			a.Error = over.err.Error()
		}
	}
	if j != nil && ask.Lead {
		j.leads = true
		if a.State = j.state; j.tries > 0 && j.err != nil { // the next in the order need not wait for another try
			a.State, a.Error = failed, j.err.Error()
		}
	}
	w.mu.Unlock()
	if a.State == "" {
		a.State = queued
		err = w.enqueue(&job{kind: ask.Kind, image: image, wanted: ask.Datacenters, leads: ask.Lead, added: now})
	}
	return a, err
}
