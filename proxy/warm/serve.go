package warm

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"example.org/breakwater/proxy/explain"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/registry"
)

// Order is what an operator asks for (POST /warm, JSON).
type Order struct {
	References []string `json:"references"` // as clients write them, with or without the registry's name
	Platforms  []string `json:"platforms"`
	Fleet      bool     `json:"fleet"` // by all edges
}

// Taken is the answer to an Order. What could not be taken is said in Refused, and makes 400
// where nothing else was.
type Taken struct {
	Images  []string `json:"images"`            // as Status names them
	Refused []string `json:"refused,omitempty"` // each with why
}

// Status is how an edge is getting on.
type Status struct {
	Datacenter string           `json:"datacenter"`
	Error      string           `json:"error,omitempty"` // it could not be asked, and the rest is empty
	Pending    int              `json:"pending"`         // images
	BytesToGo  int64            `json:"bytes_to_go"`     // of those that are under way
	Kinds      map[string]Count `json:"kinds"`
	Images     []Progress       `json:"images"` // those that were asked for; else those under way, that failed, and the first that wait
}

// Count is how many images there are of one kind; of those that have ended, the last 2,000.
type Count struct {
	Pending int `json:"pending"`
	Warmed  int `json:"warmed"`
	Failed  int `json:"failed"`
}

// Progress is how far one image is.
type Progress struct {
	Image         string   `json:"image"`
	Platforms     []string `json:"platforms,omitempty"`
	Kind          string   `json:"kind"`
	State         string   `json:"state"` // queued | running | done | failed
	Manifests     int      `json:"manifests"`
	ManifestsHere int      `json:"manifests_here"`
	Bytes         int64    `json:"bytes"` // that were not in the store
	BytesToGo     int64    `json:"bytes_to_go"`
	From          string   `json:"from,omitempty"` // the datacenter whose edge gave it
	Tries         int      `json:"tries,omitempty"`
	Error         string   `json:"error,omitempty"`
	Note          string   `json:"note,omitempty"`
}

const (
	maxOrder = 1 << 20
	maxShown = 200
	maxAsks  = 8 // of one peer at once
)

// Admin adds what operators ask to the admin listener:
//
//	POST /warm         queues images (Order, Taken)
//	GET  /warm?image=  says how they are getting on ([]Status): those images, or all; with
//	                   fleet=true at all edges
func (w *Warmer) Admin(mux *http.ServeMux) {
	mux.HandleFunc("POST /warm", func(rw http.ResponseWriter, r *http.Request) {
		var order Order
		if err := json.NewDecoder(http.MaxBytesReader(rw, r.Body, maxOrder)).Decode(&order); err != nil {
			http.Error(rw, "the order cannot be read: "+err.Error(), http.StatusBadRequest)
			return
		}
		taken := w.take(r.Context(), order)
		if len(taken.Images) == 0 {
			http.Error(rw, strings.Join(append([]string{"nothing is to be warmed"}, taken.Refused...), "; "), http.StatusBadRequest)
			return
		}
		registry.WriteJSON(rw, taken)
	})
	mux.HandleFunc("GET /warm", func(rw http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		all := []Status{w.Status(q["image"]...)}
		if q.Get("fleet") == "true" {
			all = append(all, w.statuses(r.Context(), q["image"])...)
		}
		registry.WriteJSON(rw, all)
	})
}

// ServePeer answers another edge: POST an Ask, GET the Status.
func (w *Warmer) ServePeer(rw http.ResponseWriter, r *http.Request) error {
	switch r.Method {
	case http.MethodGet:
		registry.WriteJSON(rw, w.Status(r.URL.Query()["image"]...))
		return nil
	case http.MethodPost:
	default:
		return registry.Errorf(registry.CodeUnsupported, "warming is a POST, and its status a GET")
	}
	var ask Ask
	if err := json.NewDecoder(http.MaxBytesReader(rw, r.Body, maxAsk)).Decode(&ask); err != nil {
		return registry.Errorf(registry.CodeUnsupported, "what is to be warmed cannot be read")
	}
	a, err := w.answer(ask)
	switch {
	case errors.Is(err, ErrFull):
		return registry.Errorf(registry.CodeUnavailable, "%v", err)
	case err != nil:
		return registry.Errorf(registry.CodeUnsupported, "%v", err)
	}
	registry.WriteJSON(rw, a)
	return nil
}

// take queues what an operator asks for, here and at the other edges.
func (w *Warmer) take(ctx context.Context, order Order) (taken Taken) {
	var images []Image
	var all []string
	if order.Fleet {
		all = w.datacenters()
	}
	for _, text := range order.References {
		image, err := w.parse(text, order.Platforms)
		if err == nil {
			image, err = w.read(image)
		}
		if err == nil {
			_, err = w.add(Operator, all, image)
		}
		if err != nil {
			taken.Refused = append(taken.Refused, fmt.Sprintf("%.300s: %v", text, err))
			continue
		}
		if !slices.Contains(taken.Images, image.String()) {
			images, taken.Images = append(images, image), append(taken.Images, image.String())
		}
	}
	if !order.Fleet || len(images) == 0 {
		return taken
	}
	if len(all) == 1 {
		taken.Refused = append(taken.Refused, "this edge knows no other edges: edge.peers.key or the datacenters' edge addresses are missing in its fleet file")
	}
	peers := w.cfg.Peers()
	errs := make([]error, len(peers))
	var asked sync.WaitGroup
	for i, s := range peers {
		asked.Go(func() {
			errs[i] = w.askFor(ctx, s, images, all)
		})
	}
	asked.Wait()
	for i, s := range peers {
		if errs[i] != nil {
			taken.Refused = append(taken.Refused, fmt.Sprintf("the edge of %s: %v", s.Datacenter, errs[i]))
		}
	}
	return taken
}

// askFor asks a peer for images, some at once. What it refuses of one ends none of the others; a
// peer that does not answer is asked no more.
func (w *Warmer) askFor(ctx context.Context, s *source.Source, images []Image, all []string) error {
	errs, room := make([]error, len(images)), make(chan struct{}, maxAsks)
	var asked sync.WaitGroup
	var gone atomic.Bool
	for i, image := range images {
		if room <- struct{}{}; gone.Load() {
			break
		}
		asked.Go(func() {
			defer func() { <-room }()
			_, err := w.ask(ctx, s, Ask{Kind: Operator, Image: image, Datacenters: all})
			if errors.Is(err, errNoAnswer) {
				gone.Store(true)
			}
			if err != nil {
				errs[i] = fmt.Errorf("%.300s: %w", image, err)
			}
		})
	}
	asked.Wait()
	return errors.Join(errs...)
}

// parse reads a reference as those who pull write it.
func (w *Warmer) parse(text string, platforms []string) (Image, error) {
	ref, err := explain.Reader{Table: w.cfg.Namespaces}.Read(text)
	if err == nil && ref.Nowhere != "" {
		err = fmt.Errorf("there is no cache of %s", ref.Nowhere)
	}
	return Image{Repo: ref.Repo, Reference: ref.Reference(), Platforms: platforms}, err
}

// Status is how this edge is getting on with some images; none: with all.
func (w *Warmer) Status(images ...string) Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := Status{Datacenter: w.cfg.Datacenter, Pending: len(w.jobs), Kinds: map[string]Count{}, Images: []Progress{}}
	for _, kind := range kinds {
		s.Kinds[kind] = Count{}
	}
	var shown []*job
	note := func(j *job) {
		c := s.Kinds[j.kind]
		switch j.state {
		case done:
			c.Warmed++
		case failed:
			c.Failed++
		default:
			c.Pending++
			s.BytesToGo += max(0, j.bytes-j.bytesHere)
		}
		s.Kinds[j.kind] = c
		if slices.Contains(images, j.image.String()) || len(images) == 0 && j.state != done {
			shown = append(shown, j)
		}
	}
	for _, j := range w.jobs {
		note(j)
	}
	for key, j := range w.ended {
		if w.jobs[key] == nil { // else it is at it again
			note(j)
		}
	}
	order := []string{running, failed, queued, done}
	slices.SortFunc(shown, func(a, b *job) int {
		return cmp.Or(cmp.Compare(slices.Index(order, a.state), slices.Index(order, b.state)), cmp.Compare(a.image.key(), b.image.key()))
	})
	for _, j := range shown[:min(len(shown), max(maxShown, len(images)))] {
		s.Images = append(s.Images, j.progress())
	}
	return s
}

// Says is what operators are told of an image, in sentences: when and by what it was warmed.
func (w *Warmer) Says(repo, reference string) (all []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	image := Image{Repo: repo, Reference: reference}.String()
	for _, key := range w.endings {
		j := w.ended[key]
		if j.image.String() != image {
			continue
		}
		what := "warmed"
		if j.state == failed {
			what = "not warmed (" + j.err.Error() + ")"
		}
		text := fmt.Sprintf("it was %s at %s, by %s", what, j.ended.UTC().Format(time.RFC3339), j.kind)
		if len(j.image.Platforms) > 0 {
			text += ", for " + strings.Join(j.image.Platforms, ", ")
		}
		all = append(all, text)
	}
	return all
}

// progress is how far a job is. Warmer.mu is locked.
func (j *job) progress() Progress {
	p := Progress{Image: j.image.String(), Platforms: j.image.Platforms, Kind: j.kind, State: j.state, Manifests: j.manifests, ManifestsHere: j.manifestsHere,
		Bytes: j.bytes, BytesToGo: max(0, j.bytes-j.bytesHere), From: j.from, Tries: j.tries, Note: j.note}
	if j.err != nil {
		p.Error = j.err.Error()
	}
	return p
}

// statuses are how the other edges are getting on.
func (w *Warmer) statuses(ctx context.Context, images []string) []Status {
	peers := w.cfg.Peers()
	all := make([]Status, len(peers))
	var asked sync.WaitGroup
	for i, s := range peers {
		asked.Go(func() {
			query := "?" + url.Values{"image": images}.Encode()
			if err := w.call(ctx, s, http.MethodGet, query, nil, &all[i]); err != nil {
				all[i] = Status{Error: err.Error()}
			}
			all[i].Datacenter = s.Datacenter
		})
	}
	asked.Wait()
	return all
}
