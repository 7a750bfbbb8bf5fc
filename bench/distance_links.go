package main

import (
	"context"
	"errors"
	"strings"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/internal/ports"
)

// What is spoken over a link: HTTP/1.1 without TLS and with it, and HTTP/2.
const (
	plainHTTP = "plain"
	http1     = "h1"
)

// far is one who answers at the other end of a link, or who fetches what he answers from there.
type far struct {
	*peer
	as      string     // its name in the result
	over    string     // what is spoken over the link: plainHTTP, http1 or http2
	clients *load      // of this peer
	base    string     // where they ask
	link    *lab.Relay // to who sends what is pulled
	pieces  int        // in which they fetch, all at once; 0: as a whole
}

// distance is the links and who is at their ends.
type distance struct {
	env     *environment
	plan    distancePlan
	token   string
	started []*peer
	links   []*lab.Relay
	loads   []*load
	near    []*far // clients are far from these, which take pushes and hold what is pulled
	fills   []*far // these are far from the origin, as edges or as its clients
	pairs   []*far // edges that are far from another edge, which alone has the content
}

// close ends all but the environment.
func (d *distance) close() {
	for _, l := range d.loads {
		l.http.CloseIdleConnections() // before the peers stop
	}
	for _, p := range d.started {
		p.stop()
	}
	for _, l := range d.links {
		l.Close() //nolint:errcheck // it is gone either way
	}
}

// load makes clients that speak HTTP/1.1, or HTTP/2 where the server does.
func (d *distance) load(second bool) *load {
	l := newLoad(d.env.pool, second)
	l.token = func() string { return d.token }
	d.loads = append(d.loads, l)
	return l
}

// link starts one to a server's URL, and returns where it begins.
func (d *distance) link(url string) (*lab.Relay, string, error) {
	scheme, host, _ := strings.Cut(url, "://")
	l, err := lab.StartRelay(nil, host)
	if err != nil {
		return nil, "", err
	}
	d.links = append(d.links, l)
	return l, scheme + "://" + l.Address(), nil
}

// start starts the links, and edges at either side of them.
func (d *distance) start(ctx context.Context) error {
	local := d.load(false)
	for _, k := range kinds() {
		if _, found := d.env.binaries[k.name]; !found || k.command == nil {
			continue
		}
		for _, over := range [][]string{{plainHTTP}, {http1, http2}} {
			if err := d.startNear(ctx, k, over); err != nil {
				return err
			}
		}
		if k.takes {
			if err := d.startPair(ctx, k, local); err != nil {
				return err
			}
		}
	}
	o := d.env.origin
	return errors.Join(d.startFar(ctx, plainHTTP, o.URL, local), d.startFar(ctx, http1, o.TLS, local), d.startFar(ctx, http2, o.TLS2, local))
}

// startNear starts a peer and a link to it.
func (d *distance) startNear(ctx context.Context, k kind, overs []string) error {
	p, err := newPeer(ctx, d.env, k, overs[0] != plainHTTP, false)
	if p != nil {
		d.started = append(d.started, p)
	}
	if err != nil {
		return err
	}
	link, base, err := d.link(p.base)
	if err != nil {
		return err
	}
	for _, over := range overs {
		d.near = append(d.near, &far{peer: p, as: k.name, over: over, clients: d.load(over == http2), base: base, link: link})
	}
	return nil
}

// startPair starts two edges of one fleet and a link from the one to the other. The one's own
// Harbor has nothing.
func (d *distance) startPair(ctx context.Context, k kind, local *load) error {
	own, err := ports.Free("127.0.0.1", 2)
	if err != nil {
		return err
	}
	link, base, err := d.link("https://" + own[0])
	if err != nil {
		return err
	}
	fleet := []spreadPlace{{Name: "par1", Harbor: d.env.origin.Empty, Edge: "https://" + own[1]}, {Name: "mad1", Harbor: d.env.origin.URL, Edge: base}}
	holder := &peer{kind: k, env: d.env, tls: true, fleet: fleet, listen: own[0], args: []string{"--datacenter", "mad1"}}
	asking := &peer{kind: k, env: d.env, tls: true, fleet: fleet, listen: own[1]}
	for dir, p := range map[string]*peer{"holder": holder, "asking": asking} {
		d.started = append(d.started, p)
		if err := p.startIn(ctx, k.name+"-"+dir, d.env.origin.URL); err != nil {
			return err
		}
	}
	d.pairs = append(d.pairs, &far{peer: asking, as: k.name, over: http2, clients: local, base: asking.base, link: link})
	return nil
}

// pieces is in how many ranges a client fetches that does it itself.
const pieces = 10

// startFar starts a link to the origin, an edge of each kind that fetches over it, and clients
// that do so without an edge.
func (d *distance) startFar(ctx context.Context, over, url string, local *load) error {
	link, base, err := d.link(url)
	if err != nil {
		return err
	}
	for _, k := range kinds() {
		if _, found := d.env.binaries[k.name]; !found {
			continue
		}
		p := &peer{kind: k, env: d.env, process: d.env.origin.process}
		if k.command == nil {
			clients := d.load(over == http2)
			alone := &far{peer: p, as: k.name, over: over, clients: clients, base: base, link: link}
			ranges := *alone
			ranges.as, ranges.pieces = "ranges", pieces
			d.near, d.fills = append(d.near, alone), append(d.fills, alone, &ranges)
			continue
		}
		d.started = append(d.started, p)
		if err := p.startIn(ctx, k.name+"-far-"+over, base); err != nil {
			return err
		}
		d.fills = append(d.fills, &far{peer: p, as: k.name, over: over, clients: local, base: p.base, link: link})
	}
	return nil
}
