package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
)

// failoverKinds are the name servers that ask for health.
func failoverKinds() []nameKind {
	quick, usual, gdnsd := breakwaterKind(), breakwaterKind(), gdnsdKind()
	quick.name, quick.interval, quick.timeout = "breakwater 500ms/200ms", 500*time.Millisecond, 200*time.Millisecond
	usual.name, usual.interval, usual.timeout = "breakwater 1s/500ms", time.Second, 500*time.Millisecond
	gdnsd.name, gdnsd.watch = "gdnsd 2s/1s", true
	lua := pdnsKind("pdns ifurlup 1s", "pdns-lua", "pdns-backend-bind", "ifurlup")
	return []nameKind{quick, usual, gdnsd, lua}
}

// siteHealth is the sites' edges, as far as name servers ask them: each on its
// address, all at one port.
type siteHealth struct {
	port    int
	servers []*http.Server
}

func newSiteHealth() (*siteHealth, error) {
	var err error
	for range 20 { // until a port is free on all addresses
		h := &siteHealth{servers: make([]*http.Server, len(sites()))}
		for i := range h.servers {
			if err = h.start(i); err != nil {
				break
			}
		}
		if err == nil {
			return h, nil
		}
		h.close()
	}
	return nil, err
}

// start makes a site answer that it is well.
func (h *siteHealth) start(n int) error {
	l, err := net.Listen("tcp", net.JoinHostPort(sites()[n].Four.String(), strconv.Itoa(h.port)))
	if err != nil {
		return err
	}
	h.port = int(netip.MustParseAddrPort(l.Addr().String()).Port())
	h.servers[n] = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintln(w, `{"serving":true}`)
	}), ReadHeaderTimeout: time.Minute}
	go h.servers[n].Serve(l) //nolint:errcheck // it ends when it is stopped
	return nil
}

// stop makes a site refuse connections, and breaks those off that there are.
func (h *siteHealth) stop(n int) {
	if h.servers[n] != nil {
		h.servers[n].Close()
		h.servers[n] = nil
	}
}

func (h *siteHealth) close() {
	for n := range h.servers {
		h.stop(n)
	}
}

const (
	switchEvery    = 5 * time.Millisecond // how often a client asks
	switchDeadline = time.Minute
)

// watcher asks one server for one client again and again.
type watcher struct {
	server *nameServer
	client *nameClient
	query  question
}

// answered is the address that the client is sent to now.
func (w *watcher) answered() (a netip.Addr, err error) {
	b, err := w.client.ask(w.query.wire, answerDeadline)
	if err != nil {
		return a, fmt.Errorf("%s: %w", w.server.name, err)
	}
	m := new(dns.Msg)
	if err := m.Unpack(b); err != nil {
		return a, fmt.Errorf("%s: %w", w.server.name, err)
	}
	if len(m.Answer) == 1 {
		if rr, ok := m.Answer[0].(*dns.A); ok {
			a, _ = netip.AddrFromSlice(rr.A.To4())
		}
	}
	return a, nil
}

// until asks until the client is sent there, and says how long that took.
func (w *watcher) until(ctx context.Context, there netip.Addr) (took time.Duration, err error) {
	begun := time.Now()
	ticker := time.NewTicker(switchEvery)
	defer ticker.Stop()
	for time.Since(begun) < switchDeadline {
		a, err := w.answered()
		if err != nil {
			return 0, err
		}
		if a == there {
			return time.Since(begun), nil
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-ticker.C:
		}
	}
	return 0, fmt.Errorf("%s: clients are not sent to %s within %s", w.server.name, there, switchDeadline)
}

// stay asks for a time, and counts how often the client is sent anywhere else.
func (w *watcher) stay(ctx context.Context, there netip.Addr, calm time.Duration) (strayed int, err error) {
	ticker := time.NewTicker(switchEvery)
	defer ticker.Stop()
	for begun := time.Now(); time.Since(begun) < calm; {
		a, err := w.answered()
		if err != nil {
			return 0, err
		}
		if a != there {
			strayed++
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-ticker.C:
		}
	}
	return strayed, nil
}

// scene is all servers that are watched while a site goes and comes.
type scene struct {
	watchers []*watcher
	rows     []switchRow
}

// runFailover stops and starts the first site's health under all servers at once,
// and measures until a client that is near to it is sent elsewhere, and back.
func (e *nameEnvironment) runFailover(ctx context.Context) ([]switchRow, error) {
	servers, stop, err := e.startNames(ctx, failoverKinds())
	defer stop()
	if err != nil {
		return nil, err
	}
	first, second := sites()[0], sites()[1]
	s := &scene{rows: make([]switchRow, len(servers))}
	at := slices.IndexFunc(e.questions, func(q question) bool { return q.qtype == dns.TypeA && q.rcode == 0 && q.near.Name == first.Name })
	for i, server := range servers {
		c, err := dialName(server.Listen)
		if err != nil {
			return nil, err
		}
		defer c.conn.Close()
		s.watchers = append(s.watchers, &watcher{server, c, e.questions[at]})
		s.rows[i].Server = server.name
	}
	if err := s.move(ctx, first, func(*switchRow, float64) {}); err != nil {
		return nil, err
	}
	for round := range e.plan.Rounds {
		if err := s.settle(ctx, first, e.plan.Away); err != nil {
			return nil, err
		}
		e.health.stop(0)
		if err := s.move(ctx, second, func(r *switchRow, took float64) { r.Leave = append(r.Leave, took) }); err != nil {
			return nil, err
		}
		if err := s.settle(ctx, second, e.plan.Away); err != nil {
			return nil, err
		}
		if err := e.health.start(0); err != nil {
			return nil, err
		}
		if err := s.move(ctx, first, func(r *switchRow, took float64) { r.Return = append(r.Return, took) }); err != nil {
			return nil, err
		}
		for _, r := range s.rows {
			e.say("failover round %d of %d  %-24s left after %.2f s, returned after %.2f s", round+1, e.plan.Rounds, r.Server, r.Leave[round], r.Return[round])
		}
	}
	return s.rows, nil
}

// each does something with all servers at once.
func (s *scene) each(do func(i int, w *watcher) error) error {
	var group errgroup.Group
	for i, w := range s.watchers {
		group.Go(func() error { return do(i, w) })
	}
	return group.Wait()
}

// move waits until all servers send their client there, and says how long each took.
func (s *scene) move(ctx context.Context, there site, note func(*switchRow, float64)) error {
	return s.each(func(i int, w *watcher) error {
		took, err := w.until(ctx, there.Four)
		note(&s.rows[i], took.Seconds())
		return err
	})
}

// settle lets a while pass that has no beat in common with anybody's interval.
func (s *scene) settle(ctx context.Context, there site, least time.Duration) error {
	calm := least + time.Duration(rand.Int64N(int64(2*time.Second)))
	return s.each(func(i int, w *watcher) error {
		n, err := w.stay(ctx, there.Four, calm)
		s.rows[i].Strayed += n
		return err
	})
}
