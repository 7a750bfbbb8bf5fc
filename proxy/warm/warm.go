// Package warm brings content to the store before it is asked for: by a set of the fleet
// file, because somebody has pushed it, or because an operator or a Harbor asks.
package warm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"example.org/breakwater/internal/naming"
	"example.org/breakwater/proxy/fetch"
	"example.org/breakwater/proxy/lists"
	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/queue"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/proxy/tags"
	"example.org/breakwater/registry"
)

// What asks for an image to be warmed.
const (
	Operator = "operator" // breakwater warm
	Push     = "push"     // it was pushed, here or elsewhere in the fleet, and a set takes it
	Clock    = "clock"    // a set's schedule
	Preheat  = "preheat"  // a Harbor's preheat policy
)

var kinds = []string{Operator, Push, Clock, Preheat}

// Image is what is to be warmed.
type Image struct {
	Repo      string   `json:"repo"`                // as clients write it: cache-dockerhub/library/nginx
	Reference string   `json:"reference"`           // a tag or digest
	Platforms []string `json:"platforms,omitempty"` // as linux/amd64, linux/arm64/v8; none: all
}

// String is the image as people write it.
func (i Image) String() string {
	if strings.Contains(i.Reference, ":") {
		return i.Repo + "@" + i.Reference
	}
	return i.Repo + ":" + i.Reference
}

// key tells images apart.
func (i Image) key() string { return i.String() + " " + strings.Join(i.Platforms, ",") }

// Set is one line of projects.*.warm of the fleet file.
type Set struct {
	Project     string        // in Harbor, as cache-dockerhub
	Images      []string      // globs of the image's name below the project
	Tags        []string      // globs; none: all
	Platforms   []string      // none: all
	Datacenters []string      // whose edges warm it; none: all
	Push        bool          // when it is pushed
	Every       time.Duration // how often it is looked at; 0: never
}

// Config is what a Warmer needs.
type Config struct {
	Datacenter string
	Namespaces *namespace.Table
	Sets       func() []Set
	Peers      func() []*source.Source // the other datacenters' edges
	Fetch      *fetch.Fetcher
	Lists      *lists.Lists
	// Resolve finds out what a reference is now, remembers it as if a client had asked, and
	// returns its manifest. anew: what is remembered may be old, however fresh it is. The error is
	// an outcome.
	Resolve  func(ctx context.Context, q fetch.Question, anew bool) (tags.Entry, []byte, error)
	Patience time.Duration // for one image without a byte or an answer; 0: 120 times Pace
	Deadline time.Duration // for the answer of a peer
	Pace     time.Duration // a part of all times between tries; 0: 1 s
	Log      *slog.Logger
	Metrics  prometheus.Registerer // nil: none
	Now      func() time.Time
}

// Warmer warms one edge's store. Safe for concurrent use.
type Warmer struct {
	cfg     Config
	metrics *metrics

	mu       sync.Mutex
	jobs     map[string]*job // that are queued or under way, by Image.key
	order    queue.Queue[*job]
	ended    map[string]*job // the last that ended, by Image.key
	endings  []string        // their keys, oldest first
	wake     chan struct{}
	moves    uint64               // bytes and manifests that came, of all images: it is at work
	saidFull time.Time            // when it was logged last
	unsigned map[string]time.Time // references of what signs that were not there, and when that was seen
}

const (
	maxJobs     = 10_000
	maxEnded    = 2_000
	maxUnsigned = 1 << 16
	workers     = 2 // images at once, each by one body
	maxReads    = 4 // fills for clients that are under way while a body is begun
)

// New returns a Warmer. It warms while it Runs.
func New(cfg Config) *Warmer {
	if cfg.Pace == 0 {
		cfg.Pace = time.Second
	}
	if cfg.Patience == 0 {
		cfg.Patience = 120 * cfg.Pace
	}
	w := &Warmer{cfg: cfg, jobs: map[string]*job{}, ended: map[string]*job{}, wake: make(chan struct{}, 1), unsigned: map[string]time.Time{}}
	w.metrics = newMetrics(cfg.Metrics, w)
	return w
}

// ErrFull says that the queue takes no more.
var ErrFull = errors.New("too many images wait to be warmed; try again when some are")

// Add queues images for this edge alone. kind is why: Operator, Push, Clock or Preheat. taken is
// how many are queued now, those among them that were already; the error says in a sentence
// what is wrong with each of the others.
func (w *Warmer) Add(kind string, images ...Image) (taken int, err error) {
	return w.add(kind, nil, images...)
}

// add is Add for several datacenters, whose edges agree on who fetches; none: this one alone.
func (w *Warmer) add(kind string, datacenters []string, images ...Image) (taken int, err error) {
	var faults []error
	for _, image := range images {
		read, err := w.read(image)
		if err == nil {
			err = w.enqueue(&job{kind: kind, image: read, wanted: datacenters, added: w.cfg.Now()})
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("%.300s: %w", image, err))
			continue
		}
		taken++
	}
	return taken, errors.Join(faults...)
}

// enqueue puts a job into the queue, or joins it to the one that is there for the same image.
func (w *Warmer) enqueue(j *job) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if known := w.jobs[j.image.key()]; known != nil {
		known.wanted, known.leads = union(known.wanted, j.wanted), known.leads || j.leads
		known.again = known.again || known.state == running && j.kind != Clock // it may have seen what was there before
		return nil
	}
	if len(w.jobs) >= maxJobs {
		return ErrFull
	}
	j.state = queued
	w.jobs[j.image.key()] = j
	w.queue(j, j.added)
	return nil
}

// queue has a job be done at a time. w.mu is locked.
func (w *Warmer) queue(j *job, due time.Time) {
	j.due = due
	w.order.Add(j, due)
	w.rouse()
}

// rouse has a worker that waits look at the queue.
func (w *Warmer) rouse() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// read returns the image under the name by which it is kept.
func (w *Warmer) read(image Image) (Image, error) {
	if len(image.Repo) > 255 || !registry.ValidRepo(image.Repo) || !strings.Contains(image.Repo, "/") {
		return image, errors.New("it has no name of a project and a repository")
	}
	_, isDigest := registry.ParseDigest(image.Reference)
	if isDigest != nil && !registry.ValidTag(image.Reference) {
		return image, errors.New("it has neither a tag nor a digest")
	}
	for _, p := range image.Platforms {
		if !naming.ValidPlatform(p) {
			return image, fmt.Errorf("%.80q is no platform; want one as linux/amd64", p)
		}
	}
	ns := w.cfg.Namespaces.OfRepo(image.Repo)
	if ns.Kind == namespace.Plain {
		return image, fmt.Errorf("%s is a plain project, of which the edge keeps nothing", ns.Project)
	}
	image.Repo = ns.FullRepo(image.Repo)
	return image, nil
}

// question is the edge's own question for a reference of a repo. only is the datacenter whose
// edge is asked; "": all who may be.
func (w *Warmer) question(kind registry.Kind, repo, reference, only string) fetch.Question {
	q := fetch.Question{Request: registry.Request{Method: http.MethodGet, Kind: kind, Repo: repo}, Namespace: w.cfg.Namespaces.OfRepo(repo), Only: only}
	if d, err := registry.ParseDigest(reference); err == nil {
		q.Request.Digest = d
	} else {
		q.Request.Tag = reference
	}
	return q
}
