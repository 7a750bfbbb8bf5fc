package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	edgepeer "example.org/breakwater/proxy/peer"
)

// What a message is about, between two edges or between an edge and its own Harbor.
const (
	announced = "announcement" // with versions in it
	atRest    = "heartbeat"    // an announcement without any, or a hello
	asksPeer  = "question"     // anything else that one edge asks another
	manifests = "manifest"     // of a Harbor
	around    = "beside it"    // a Harbor's tokens, projects and health
	harborOf  = "Harbor "      // before the kind: a Harbor's, of the edge that is looked at
	harborsOf = "Harbors "     // of all others
)

// traffic is how many messages there were, each a request and its answer, with the bytes of both
// as HTTP/1.1 has them.
type traffic struct {
	Messages int64 `json:"messages"`
	Out      int64 `json:"request_bytes"`
	In       int64 `json:"answer_bytes"`
}

func (t *traffic) add(o traffic) {
	t.Messages, t.Out, t.In = t.Messages+o.Messages, t.Out+o.Out, t.In+o.In
}

type trafficOf map[string]traffic

func (t trafficOf) add(kind string, o traffic) {
	sum := t[kind]
	sum.add(o)
	t[kind] = sum
}

// fleetNet hands requests to edges and Harbors, after the time that the way takes.
type fleetNet struct {
	hosts map[string]http.Handler // by name, as par1.edge or par1.harbor; not changed while the edges run
	far   time.Duration           // one way between two datacenters
	near  time.Duration           // to the own Harbor

	mu      sync.Mutex
	all     trafficOf
	watched map[string]*watched // by project
}

// watched is what has to do with one project, as one edge sees it.
type watched struct {
	edge   string
	about  []string // words of which one is in what counts, but for tokens and the like; none: all counts
	counts trafficOf
}

// takes reports whether a message counts.
func (w *watched) takes(kind, text string) bool {
	return len(w.about) == 0 || kind == harborOf+around || slices.ContainsFunc(w.about, func(word string) bool { return strings.Contains(text, word) })
}

// watch begins to count what has to do with a project, anew.
func (n *fleetNet) watch(project, edge string, about ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.watched[project] = &watched{edge: edge, about: about, counts: trafficOf{}}
}

// seen is what was counted of a project until now.
func (n *fleetNet) seen(project string) trafficOf {
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.watched[project].counts)
}

func (n *fleetNet) total() trafficOf {
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.all)
}

// note counts a message.
func (n *fleetNet) note(from, kind, text string, t traffic) {
	about := projectsIn(text)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all.add(kind, t)
	for _, project := range about {
		w := n.watched[project]
		if w == nil || !w.takes(kind, text) {
			continue
		}
		k := kind
		if strings.HasPrefix(kind, harborOf) && from != w.edge {
			k = harborsOf + strings.TrimPrefix(kind, harborOf)
		}
		w.counts.add(k, t)
	}
}

// aboutWhat says what a request is about.
func aboutWhat(req *http.Request, body []byte) string {
	path := req.URL.Path
	switch {
	case strings.HasSuffix(req.URL.Host, ".harbor") && strings.Contains(path, "/manifests/"):
		return harborOf + manifests
	case strings.HasSuffix(req.URL.Host, ".harbor"):
		return harborOf + around
	case path == edgepeer.HelloPath, path == edgepeer.AnnouncePath && bytes.Contains(body, []byte(`"records":[]`)), path == edgepeer.Path+"/v2/":
		return atRest
	case path == edgepeer.AnnouncePath:
		return announced
	}
	return asksPeer
}

const fleetProject = "multi-dc-p" // and four digits or more

// projectsIn are the projects that a text names, each once.
func projectsIn(text string) (all []string) {
	seen := map[string]bool{}
	for {
		at := strings.Index(text, fleetProject)
		if at < 0 {
			return all
		}
		text = text[at:]
		end := len(fleetProject)
		for end < len(text) && text[end] >= '0' && text[end] <= '9' {
			end++
		}
		if name := text[:end]; !seen[name] {
			seen[name] = true
			all = append(all, name)
		}
		text = text[end:]
	}
}

// fleetWire is the network as one edge sees it.
type fleetWire struct {
	net  *fleetNet
	from string
	ctx  context.Context // of the edge
}

// RoundTrip implements http.RoundTripper.
func (w *fleetWire) RoundTrip(req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		var err error
		if body, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
		req.Body.Close() //nolint:errcheck // it is in memory
	}
	to := w.net.hosts[req.URL.Host]
	if to == nil || w.ctx.Err() != nil {
		return nil, fmt.Errorf("%s cannot be reached", req.URL.Host)
	}
	way := w.net.far
	if strings.HasSuffix(req.URL.Host, ".harbor") {
		way = w.net.near
	}
	if err := wayTakes(req.Context(), way); err != nil {
		return nil, err
	}
	resp, err := answeredBy(req.Context(), to, incoming(req, body))
	if err != nil {
		return nil, err
	}
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if req.Method == http.MethodHead {
		answer = nil
	}
	text := req.URL.RequestURI()
	if decoded, err := url.QueryUnescape(text); err == nil {
		text = decoded
	}
	kind := aboutWhat(req, body)
	if kind == announced {
		text = string(body)
	}
	w.net.note(w.from, kind, text, traffic{1, sizeOfRequest(req, body), sizeOfHeader(resp.Header) + int64(len(answer)) + 20})
	if err := wayTakes(req.Context(), way); err != nil {
		return nil, err
	}
	resp.Body, resp.Request = io.NopCloser(bytes.NewReader(answer)), req
	return resp, nil
}

func wayTakes(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func sizeOfRequest(req *http.Request, body []byte) int64 {
	line := len(req.Method) + len(req.URL.RequestURI()) + len(" HTTP/1.1\r\nHost: \r\n\r\n") + len(req.URL.Host)
	return int64(line+len(body)) + sizeOfHeader(req.Header)
}

func sizeOfHeader(h http.Header) (n int64) {
	for name, values := range h {
		for _, v := range values {
			n += int64(len(name) + len(v) + 4)
		}
	}
	return n
}

// incoming is a request as its server reads it.
func incoming(req *http.Request, body []byte) *http.Request {
	in := &http.Request{Method: req.Method, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: req.Header.Clone(), Host: req.URL.Host,
		RemoteAddr: "192.0.2.7:1234", ContentLength: int64(len(body)), Body: io.NopCloser(bytes.NewReader(body)),
		URL: &url.URL{Path: req.URL.Path, RawPath: req.URL.RawPath, RawQuery: req.URL.RawQuery}}
	if in.Header == nil {
		in.Header = http.Header{}
	}
	in.RequestURI = in.URL.RequestURI()
	return in
}

// answeredBy is a handler's answer to a request, as a server has it answer.
func answeredBy(ctx context.Context, h http.Handler, in *http.Request) (resp *http.Response, err error) {
	rec := httptest.NewRecorder()
	defer func() {
		if p := recover(); p == http.ErrAbortHandler {
			resp, err = nil, errors.New("the answer was cut short")
		} else if p != nil {
			panic(p)
		}
	}()
	h.ServeHTTP(rec, in.WithContext(context.WithValue(ctx, http.ServerContextKey, &http.Server{})))
	return rec.Result(), nil
}

// gate is an edge that is still being started: until it is open nobody can reach it.
type gate struct{ inside atomic.Pointer[http.Handler] }

func (g *gate) open(h http.Handler) { g.inside.Store(&h) }

// ServeHTTP implements http.Handler.
func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := g.inside.Load()
	if h == nil {
		panic(http.ErrAbortHandler)
	}
	(*h).ServeHTTP(w, r)
}
