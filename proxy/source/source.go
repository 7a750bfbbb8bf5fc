// Package source is what content may be fetched from: the local Harbor, the other
// datacenters' edges (peers), and the registries outside the fleet (upstreams). It
// knows how each of them is doing, in which order the sources of a repo are asked,
// and what their answers mean.
package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/prometheus/client_golang/prometheus"

	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/registry"
)

// Kind says what a source's answers mean.
type Kind int

// The kinds of sources.
const (
	Harbor   Kind = iota // the local Harbor
	Peer                 // another datacenter's edge: its own store and Harbor
	Upstream             // the registry outside the fleet that a cache is of
)

// Config is what one source is.
type Config struct {
	Name       string // in logs, Cache-Status and explanations: harbor, peer-mad1, upstream-quay.io
	Kind       Kind
	Datacenter string                  // of a peer
	Registry   *registry.Source        // its address and the edge's own credentials there
	Show       func(http.Header) error // shows a peer, in place of credentials, that one of the fleet's edges asks; nil: nothing is shown
	Probe      string                  // the path that a probe asks for; "": /v2/
	Relay      bool                    // where the edge has no credentials of its own there, requests carry those of the client that asked
	Marks      http.Header             // sent with every request for content; nil: none
	Now        func() time.Time        // nil: time.Now
	Metrics    *Metrics                // nil: none
}

// Source is something that content may be fetched from, and how it has been doing.
// Safe for concurrent use.
type Source struct {
	Config
	silent *lru.Cache[line, silence]
	ctx    context.Context // of the probes
	cancel context.CancelFunc

	mu      sync.Mutex
	probing bool
	turn    int                         // counts how often it began anew
	open    bool                        // the circuit breaker: the last probe failed
	paused  map[registry.Kind]time.Time // no requests until then, by end point: an upstream has had enough
	spent   time.Time                   // no new pulls until then: they would be refused
	left    *int64                      // pulls that it last said are left of its limit; nil: it has said nothing
	counts  bool                        // it says that it counts requests
	refuses bool                        // it has refused one for their number
	probed  time.Time                   // when the last probe ended
	ended   chan struct{}               // closed and replaced when a probe has ended
	took    [takes]time.Duration        // until the headers of its last answers
	answers int
}

// New returns a source. Its probes end with ctx, or when Routes have it no longer.
func New(ctx context.Context, cfg Config) *Source {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Metrics == nil {
		cfg.Metrics = NewMetrics(nil)
	}
	s := &Source{Config: cfg, ended: make(chan struct{})}
	s.silent, _ = lru.New[line, silence](maxSilent) // the size is positive: no error
	s.ctx, s.cancel = context.WithCancel(ctx)
	return s
}

// Use has the source reached as next is. Where that is another way, what was known of how
// the source is doing is forgotten.
func (s *Source) Use(next *registry.Source) {
	if s.Registry.Use(next) {
		s.forget()
	}
}

// forget ends the probes, and what is known of how the source is doing.
func (s *Source) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turn++
	s.probing, s.open, s.paused, s.spent, s.probed, s.answers = false, false, nil, time.Time{}, time.Time{}, 0
	s.counts, s.refuses, s.left = false, false, nil
	s.silent.Purge()
	s.Metrics.forget(s.Name)
}

// end is for a source that nobody asks any more. Answers that are on their way go on.
func (s *Source) end() {
	s.cancel()
	s.forget()
	s.Registry.CloseIdleConnections()
}

// Header returns what a request for content to the source carries beside the
// edge's own credentials. authorization is the client's.
func (s *Source) Header(authorization string) http.Header {
	header := http.Header{}
	if s.Relay && authorization != "" && s.Registry.Anonymous() {
		header.Set("Authorization", authorization)
	}
	maps.Copy(header, s.Marks)
	return header
}

// Authorize adds what shows a peer that one of the fleet's edges asks. It adds
// nothing where the edge's certificate does that.
func (s *Source) Authorize(h http.Header) error {
	if s.Show == nil {
		return nil
	}
	return s.Show(h)
}

// Do asks the source, and returns its answer as it is, or why there was none.
// deadline bounds the wait for the answer's header, where something else can be done then;
// it is shorter where the source is known to be silent about that; 0: as long as ctx allows
// (Vigil). What an answer, or that there was none, says of the source is noted. A page is no
// answer, unless its body shows what it is (IsPage).
func (s *Source) Do(ctx context.Context, req registry.Request, header http.Header, deadline time.Duration) (*http.Response, error) {
	if s.Kind == Upstream {
		if e := s.Limited(req); e != nil {
			return nil, e
		}
	}
	if s.Show != nil {
		header = header.Clone()
		if err := s.Authorize(header); err != nil {
			return nil, outcome.DontKnow(err)
		}
	}
	bounded, cancel := context.WithCancelCause(ctx)
	if deadline > 0 {
		if silent, _ := s.silence(req.Kind, req.Repo); silent {
			deadline = Shortened(deadline)
		}
		timer := time.AfterFunc(deadline, func() { cancel(fmt.Errorf("%w: %s did not answer for %v", context.DeadlineExceeded, s.Name, deadline)) })
		defer timer.Stop()
	}
	begun := s.Now()
	resp, err := s.Registry.Do(bounded, req, header)
	s.Metrics.asked(s.Name, resp)
	s.Metrics.credentials(s)
	if err != nil {
		cause := context.Cause(bounded)
		cancel(nil)
		if said := s.withheld(req.Repo, err); said != nil {
			return nil, said
		}
		s.hear(req, nil, errors.Join(err, cause))
		if ctx.Err() == nil && !isBeside(ctx) {
			s.Suspect()
		}
		if cause != nil && ctx.Err() == nil || errors.Is(cause, ErrSilent) {
			return nil, outcome.DontKnow(cause)
		}
		return nil, err
	}
	s.remember(s.Now().Sub(begun))
	if resp.StatusCode == http.StatusTooManyRequests && isBeside(ctx) {
		s.hadEnough()
	} else {
		s.Note(req.Kind, resp)
	}
	s.hear(req, resp, nil)
	if IsPage(resp) && !shows(req) {
		resp.Body.Close()
		cancel(nil)
		return nil, outcome.DontKnow(fmt.Errorf("%s: %w", s.Name, ErrPage))
	}
	resp.Body = &cancelingBody{resp.Body, cancel, s.Metrics.bytes.WithLabelValues(s.Name)}
	return resp, nil
}

// RoundTrip sends a request that is none for content to a peer, and shows that one
// of the fleet's edges asks. The request's URL is in full.
func (s *Source) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := s.Authorize(req.Header); err != nil {
		return nil, err
	}
	resp, err := s.Registry.Transport().RoundTrip(req)
	s.Metrics.asked(s.Name, resp)
	return resp, err
}

// shows reports whether the body of an answer shows what it is: content by its digest,
// manifests and lists by what stands in them. A server may label them wrongly.
func shows(req registry.Request) bool {
	return req.Method == http.MethodGet && req.Kind != registry.KindBase && req.Kind != registry.KindCatalog
}

// ErrPage is the cause of a don't-know about a source that answered with a page (IsPage).
var ErrPage = errors.New("it sent a page")

// IsPage reports whether an answer is a login page or the like, whatever was asked
// for. It is no registry's word, least of all that a repo holds something.
func IsPage(resp *http.Response) bool {
	return resp.StatusCode == http.StatusOK && registry.IsHTML(resp) && resp.Header.Get("Docker-Content-Digest") == ""
}

// cancelingBody ends its request's context when it is closed, and counts what is read of it.
type cancelingBody struct {
	body   io.ReadCloser
	cancel context.CancelCauseFunc
	read   prometheus.Counter
}

// Read implements io.Reader.
func (b *cancelingBody) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	b.read.Add(float64(n))
	return n, err
}

// Close implements io.Closer.
func (b *cancelingBody) Close() error {
	err := b.body.Close()
	b.cancel(nil)
	return err
}
