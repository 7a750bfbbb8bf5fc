package proxy

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"example.org/breakwater/registry"
)

// question is what a look at the sources is to find out. It outlives the request
// that began it.
type question struct {
	ns            Namespace
	req           registry.Request
	route         []step
	authorization string // the client's, for a Harbor where the edge has no robot
}

// found is a manifest as a place has it.
type found struct {
	entry entry
	body  []byte // nil: what the store holds is still right
	stale bool   // the place is a peer whose own Harbor could not say
}

const (
	lookDeadline   = time.Minute
	sourceDeadline = 5 * time.Second // then the next are asked
	patience       = 3               // times that, then nobody can say
	hedgeLeast     = 200 * time.Millisecond
	staleAnswer    = "hit; fwd=stale"
)

// lookUp finds out what a reference is now: the local Harbor first, then all
// peers at once, then the upstreams in turn. What is known to be down is left
// out where a copy is held, and asked last where there is none. Who takes long
// is not given up, but the next are asked beside.
func (h *Handler) lookUp(ctx context.Context, q question, old entry) (found, error) {
	if old.digest != "" && !h.holds(old.digest) {
		old = entry{}
	}
	ctx, cancel := context.WithTimeout(ctx, patience*h.cfg.Deadline)
	defer cancel()
	stages, left := groups(q.route, old.digest == "")
	type result struct {
		found   found
		refused []said
		ok      bool
	}
	results := make(chan result, len(stages))
	started := 0
	next := func() {
		group := stages[started]
		started++
		go func() {
			f, refused, ok := h.askAll(ctx, q, group, old)
			results <- result{f, refused, ok}
		}()
	}
	next()
	var all []said
	for _, s := range left { // who is not asked has not said no
		all = append(all, said{s, dontKnow(errDown)})
	}
	for ended := 0; ended < started; {
		timer := time.NewTimer(h.hedgeAfter(q, stages, started))
		select {
		case <-timer.C:
			for _, s := range stages[started-1] {
				s.place.suspect()
			}
			if started < len(stages) {
				next()
			}
			continue
		case r := <-results:
			timer.Stop()
			ended++
			if r.ok {
				return r.found, nil
			}
			for _, s := range r.refused {
				if final(q.ns, s.err) {
					return found{}, s.err
				}
			}
			all = append(all, r.refused...)
		}
		if started < len(stages) {
			next()
		}
	}
	return found{}, verdict(all)
}

var (
	errDown      = errors.New("it was not asked: it has been found down")
	errRemembers = errors.New("it only remembers: its own Harbor cannot say")
)

// hedgeAfter is how long those who were asked last have for themselves. Peers are
// asked beside as soon as the place takes longer than it is used to, unless that
// might show an older tag. Upstreams count what they are asked, and are not; nor
// are peers for a cache, whose own Harbors would each ask the upstream in turn.
func (h *Handler) hedgeAfter(q question, stages [][]step, started int) time.Duration {
	if started < len(stages) && stages[started][0].place.kind == placePeer && (q.ns.Kind == KindRepl || q.ns.Kind == KindMultiDC && q.req.Tag == "") {
		return min(h.cfg.Deadline, max(hedgeLeast, 2*stages[started-1][0].place.usual()))
	}
	return h.cfg.Deadline
}

// final reports whether an answer is the last word, whatever others would say:
// Harbor's policy; in a cache, a no, which only somebody who can know says.
func final(ns Namespace, err error) bool {
	return isPolicy(err) || ns.Kind == KindCache && isNo(err)
}

// groups splits a route into those who are asked at once, in order: all peers are
// one group, everybody else is one of his own. Those that are known to be down
// come last, or are left out.
func groups(route []step, lastResort bool) (all [][]step, left []step) {
	var peers []step
	for _, s := range route {
		switch {
		case !s.place.usable():
			left = append(left, s)
			continue
		case s.place.kind == placePeer:
			peers = append(peers, s)
			continue
		case len(peers) > 0:
			all, peers = append(all, peers), nil
		}
		all = append(all, []step{s})
	}
	if len(peers) > 0 {
		all = append(all, peers)
	}
	if lastResort || len(all) == 0 {
		for _, s := range left {
			all = append(all, []step{s})
		}
		return all, nil
	}
	return all, left
}

// askAll asks a group at once. The first that has it wins; one that only
// remembers it wins when nobody else has it, and not over a copy that is held
// here: nobody can say which of the two is older.
func (h *Handler) askAll(ctx context.Context, q question, group []step, old entry) (f found, refused []said, ok bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type answer struct {
		found found
		said  said
	}
	answers := make(chan answer, len(group))
	for _, s := range group {
		go func() {
			f, err := h.askManifest(ctx, q, s, old)
			answers <- answer{f, said{s, err}}
		}()
	}
	for range group {
		a := <-answers
		switch {
		case a.said.err != nil:
			refused = append(refused, a.said)
		case !a.found.stale:
			return a.found, nil, true
		case old.digest != "":
			refused = append(refused, said{a.said.step, dontKnow(errRemembers)})
		default:
			f, ok = a.found, true
		}
	}
	return f, refused, ok
}

// askManifest asks one place. With a copy in the store a HEAD will do when it
// names the same digest.
func (h *Handler) askManifest(ctx context.Context, q question, s step, old entry) (found, error) {
	req, header := s.under(q.req), h.headerFor(s, q.authorization)
	header.Set("Accept", manifestTypes)
	if old.digest != "" {
		req.Method = http.MethodHead
		resp, err := s.place.do(ctx, req, header, 0)
		if err != nil {
			return found{}, err
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK && resp.Header.Get("Docker-Content-Digest") == old.digest.String() {
			old.source = s.place.name
			return found{entry: old, stale: isStale(resp)}, nil
		}
		if resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests {
			return found{}, s.meaning(registry.ReadError(resp))
		}
	}
	req.Method = http.MethodGet // anything else: the body says what it is
	resp, err := s.place.do(ctx, req, header, 0)
	if err != nil {
		return found{}, err
	}
	if resp.StatusCode != http.StatusOK {
		return found{}, s.meaning(registry.ReadError(resp))
	}
	defer resp.Body.Close()
	e, body, err := h.keepManifest(q.req, resp)
	if e.source = s.place.name; err == nil {
		h.holders.Add(q.req.Repo, e.source)
	}
	return found{e, body, isStale(resp)}, err
}

// isStale reports whether a peer gave what it remembers because its own Harbor
// could not say.
func isStale(resp *http.Response) bool {
	return strings.Contains(resp.Header.Get("Cache-Status"), staleAnswer)
}

// headerFor is what a request to a place carries beside the edge's own
// credentials: towards Harbor the client's, where the edge has no robot there.
func (h *Handler) headerFor(s step, authorization string) http.Header {
	header := http.Header{}
	if s.place.kind == placeHarbor && !h.cfg.OwnRobot && authorization != "" {
		header.Set("Authorization", authorization)
	}
	if s.place.kind == placePeer {
		header.Set(askedHeader, h.cfg.Datacenter)
	}
	return header
}
