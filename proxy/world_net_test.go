package proxy_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"example.org/breakwater/proxy/peer"
)

// wire is the network that one life of an edge sees: it leads to the datacenter's Harbor
// and to the other edges, and loses, doubles and delays what the world says.
type wire struct {
	w    *world
	from *memEdge
	life *edgeLife
}

const (
	silence     = 30 * time.Second // after which a client gives up a server that does not answer
	cutRefused  = "refused"
	cutSilent   = "silent"
	longestLate = 20 * time.Second // of what is delivered though its sender has given it up
)

var errLost = errors.New("the connection broke before the answer")

// RoundTrip implements http.RoundTripper. A request that was sent goes on when its sender
// gives up, as long as it is on its way.
func (n *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		var err error
		if body, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
		req.Body.Close()
	}
	if n.life.ctx.Err() != nil {
		return nil, n.life.ctx.Err()
	}
	type result struct {
		resp *http.Response
		err  error
	}
	done := make(chan result, 1)
	sent := onTheWay(req, body)
	n.w.aside(func() {
		resp, err := n.carry(req.Context(), req.URL.Host, sent, body)
		done <- result{resp, err}
	})
	select {
	case r := <-done:
		if r.err != nil {
			return nil, r.err
		}
		r.resp.Request = req
		if req.Method == http.MethodHead {
			r.resp.Body = http.NoBody
		}
		return r.resp, nil
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
}

// onTheWay is a request as its server reads it.
func onTheWay(req *http.Request, body []byte) *http.Request {
	in := &http.Request{Method: req.Method, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: req.Header.Clone(), Host: req.Host,
		RemoteAddr: "192.0.2.7:1234", ContentLength: int64(len(body)), Body: io.NopCloser(bytes.NewReader(body)),
		URL: &url.URL{Path: req.URL.Path, RawPath: req.URL.RawPath, RawQuery: req.URL.RawQuery}}
	if in.Header == nil {
		in.Header = http.Header{}
	}
	if in.Host == "" {
		in.Host = req.URL.Host
	}
	in.RequestURI = in.URL.RequestURI()
	return in
}

// carry brings a request to the server that answers for the host, and the answer back.
func (n *wire) carry(ctx context.Context, host string, sent *http.Request, body []byte) (*http.Response, error) {
	if datacenter, ok := strings.CutSuffix(host, ".edge"); ok {
		return n.w.carry(ctx, n.from, datacenter, false, sent, body)
	}
	return n.w.carry(ctx, n.from, strings.TrimPrefix(host, "harbor."), true, sent, body)
}

func (w *world) carry(ctx context.Context, from *memEdge, to string, toHarbor bool, sent *http.Request, body []byte) (*http.Response, error) {
	pause := func() { time.Sleep(w.latency(toHarbor)) }
	deliver := func(ctx context.Context) (*http.Response, error) {
		if toHarbor {
			return answered(w.harbor(to), sent.WithContext(ctx))
		}
		return w.edge(to).life.Load().serve(ctx, sent, from)
	}
	again := func() {
		w.aside(func() {
			time.Sleep(time.Duration(w.dice(int(longestLate))))
			again := *sent
			again.Header, again.Body = sent.Header.Clone(), io.NopCloser(bytes.NewReader(body))
			if resp, err := w.edge(to).life.Load().serve(w.ctx, &again, from); err == nil {
				resp.Body.Close()
			}
		})
	}
	telling := !toHarbor && sent.Method == http.MethodPost && strings.HasPrefix(sent.URL.Path, peer.Path+"/")
	changing := sent.Method != http.MethodGet && sent.Method != http.MethodHead
	pause()
	switch {
	case w.isCut(from.name, to, toHarbor) == cutRefused:
		return nil, errRefused
	case w.isCut(from.name, to, toHarbor) == cutSilent:
		time.Sleep(silence)
		return nil, errors.New("no answer")
	case w.noisy(1):
		w.count("requests lost", 1)
		return nil, errLost
	case telling && w.noisy(5):
		w.count("announcements delayed", 1)
		again()
		return nil, errLost
	}
	resp, err := deliver(ctx)
	pause()
	switch {
	case telling && w.noisy(5):
		w.count("announcements doubled", 1)
		again()
	case changing && w.noisy(3):
		w.count("answers lost", 1)
		return nil, errLost
	}
	return resp, err
}

// ask is a request of somebody who is no edge to one. The answer's body has been read.
func (w *world) ask(edge string, req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		body, _ = io.ReadAll(req.Body)
	}
	time.Sleep(w.latency(true))
	resp, err := w.edge(edge).life.Load().serve(req.Context(), onTheWay(req, body), nil)
	time.Sleep(w.latency(true))
	return resp, err
}

// isCut says how the way between two edges, or between an edge and its Harbor, is cut: ""
// for not at all.
func (w *world) isCut(from, to string, toHarbor bool) string {
	if toHarbor {
		switch w.harbor(to).is() {
		case "down":
			return cutRefused
		case "hang":
			return cutSilent
		}
		return ""
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cuts[from+" "+to]
}

// latency is how long a message takes. In a storm a few take much longer.
func (w *world) latency(near bool) time.Duration {
	ms := 1 + w.dice(3)
	if !near {
		ms = 3 + w.dice(30)
	}
	if w.noisy(2) {
		ms += w.dice(3000)
	}
	return time.Duration(ms) * time.Millisecond
}

// noisy is true in so many of 100 cases, in a storm.
func (w *world) noisy(percent int) bool { return w.storm.Load() && w.dice(100) < percent }
