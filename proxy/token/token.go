// Package token is the token service of the edge (distribution's token
// specification): the local Harbor answers, else a peer's Harbor does, else, for a
// while, what Harbor granted last.
package token

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/proxy/pass"
	"example.org/breakwater/proxy/peer"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/registry"
)

// Config is what a token service needs.
type Config struct {
	Harbor   *source.Source
	Health   *source.Health // of the local Harbor
	Peers    func() []*source.Source
	Pass     *pass.Proxy // to the local Harbor
	Access   *access.Checker
	Deadline time.Duration // for an answer of a Harbor
	Log      *slog.Logger
	Metrics  prometheus.Registerer // nil: none
	Now      func() time.Time
}

// Service answers requests for tokens. Safe for concurrent use.
type Service struct {
	Config
	ctx      context.Context // of the work beside requests
	tokens   *prometheus.CounterVec
	unwell   lastCheck
	lost     lastCheck
	watching atomic.Bool // whether Harbor is well again
	given    atomic.Int64
	givenAt  atomic.Int64 // ns since 1970
}

// New returns a Service. Its work beside requests ends with ctx.
func New(ctx context.Context, cfg Config) *Service {
	s := &Service{Config: cfg, ctx: ctx}
	s.tokens = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "breakwater_edge_tokens_total",
		Help: "Answers to requests for a token by who gave them: harbor, a peer, outage (the edge itself), nobody."}, []string{"issuer"})
	// These series begin at 0: an alert on their increase does not see one that begins at 1.
	for _, issuer := range []string{"outage", "nobody"} {
		s.tokens.WithLabelValues(issuer)
	}
	if cfg.Metrics != nil {
		cfg.Metrics.MustRegister(s.tokens)
	}
	if cfg.Access != nil && cfg.Access.InOutage() { // it began before a restart, and may have ended
		s.watch()
	}
	return s
}

// Given is how many tokens the edge gave itself because no Harbor could, and when the last.
func (s *Service) Given() (tokens int64, last time.Time) {
	if tokens = s.given.Load(); tokens > 0 {
		last = time.Unix(0, s.givenAt.Load())
	}
	return tokens, last
}

// Answer is an answer for the client who asked for a token.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	Source string // the name of the source that gave it; Outage: the edge itself
	Who    string // whom the token is for; "": nobody, or that is not said
}

// notPassedOn are the headers of a token service's answer that are not the client's: the
// edge's own listener writes them, or says itself how it came by the answer.
var notPassedOn = []string{"Connection", "Content-Length", "Transfer-Encoding", "Cache-Status"}

// Outage is the Source of an answer that the edge gave because no Harbor could.
const Outage = "outage"

// Answer answers GET /service/token (proxy/README.md, "Tokens"). The error is an
// answer for the client too: 405 for another method, 503 when nobody can say.
func (s *Service) Answer(r *http.Request) (Answer, error) {
	if r.Method != http.MethodGet { // as Harbor does; containerd tries POST first, also while Harbor is down
		return Answer{}, notGET()
	}
	ctx, q := r.Context(), newQuestion(r, r.Header.Get("Authorization"))
	own, err := s.askHarbor(ctx, q)
	if ctx.Err() != nil {
		return Answer{}, ctx.Err()
	}
	if err == nil {
		return s.give(q, own, s.Harbor)
	}
	refusals := []error{fmt.Errorf("%s: %w", s.Harbor.Name, err)}
	outage := s.harborIsDown(ctx)
	for _, p := range s.Peers() {
		if !p.Usable() {
			continue
		}
		a, err := s.askPeer(ctx, p, q)
		if err == nil {
			return s.give(q, a, p)
		}
		refusals = append(refusals, fmt.Errorf("%s: %w", p.Name, err))
		outage = outage && !errors.Is(err, errWell) && (!errors.Is(err, errNoAnswer) || p.SeenDown())
	}
	if !outage {
		return Answer{}, s.notNow(errors.Join(refusals...))
	}
	return s.giveInOutage(q, errors.Join(refusals...))
}

// notNow is the answer to a request that no Harbor answered, though one is well. A failed
// request, as of a client that a limiter stops, makes no outage.
func (s *Service) notNow(cause error) error {
	s.tokens.WithLabelValues("nobody").Inc()
	e := outcome.DontKnow(cause)
	e.Message = "the request for a token was not answered; try again"
	return e
}

// AnswerPeer answers another edge from this datacenter's Harbor alone. The credentials
// of the client are in peer.ClientHeader. The error is 503 where this edge sees that its
// Harbor is down, and 429 where Harbor is well and did not answer this request.
func (s *Service) AnswerPeer(r *http.Request) (Answer, error) {
	if r.Method != http.MethodGet {
		return Answer{}, notGET()
	}
	a, err := s.askHarbor(r.Context(), newQuestion(r, r.Header.Get(peer.ClientHeader)))
	switch {
	case err != nil && s.harborIsDown(r.Context()):
		return Answer{}, outcome.DontKnow(err)
	case err != nil: // the peer is not to take it for an outage
		e := outcome.TooMany(outcome.RetryAfter)
		e.Cause = err
		return Answer{}, e
	}
	if a.subject != "" {
		s.Access.HarborAnswers()
	}
	header := http.Header{}
	for _, name := range []string{"Content-Type", "Www-Authenticate"} {
		if v := a.header[name]; v != nil {
			header[name] = slices.Clone(v)
		}
	}
	return Answer{Status: a.status, Header: header, Body: a.body, Source: s.Harbor.Name}, nil
}

func notGET() error {
	return registry.Errorf(registry.CodeUnsupported, "a token is asked for by GET")
}

// give passes a token service's answer on, and remembers what it grants. A peer's
// token that cannot be verified here is exchanged for one of the edge's own.
func (s *Service) give(q question, a issued, from *source.Source) (Answer, error) {
	if a.subject != "" {
		s.Access.HarborAnswers()
	}
	switch {
	case from.Kind == source.Peer: // a credential that its Harbor does not know may be known here
		s.Access.Learn(q.authorization, a.pull, a.pull)
	case a.status == http.StatusOK || a.status == http.StatusUnauthorized:
		s.Access.Learn(q.authorization, q.repos, a.pull)
	}
	s.tokens.WithLabelValues(from.Name).Inc()
	if from.Kind == source.Peer && a.status == http.StatusOK && !s.Access.Verifies(a.token) {
		return s.ownToken(a.subject, a.pull, from.Name)
	}
	header := http.Header{}
	for name, values := range a.header {
		if !slices.Contains(notPassedOn, name) {
			header[name] = values
		}
	}
	if from.Kind == source.Harbor {
		s.Pass.OwnChallenge(header, q.in)
	}
	return Answer{Status: a.status, Header: header, Body: a.body, Source: from.Name, Who: a.subject}, nil
}
