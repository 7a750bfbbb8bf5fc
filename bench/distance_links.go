package main

import (
	"context"
	"strings"

	"example.org/breakwater/internal/lab"
)

const http1 = "h1"

// far is one who answers at the other end of a link, or who fetches what he answers from there.
type far struct {
	*peer
	as      string     // its name in the result
	over    string     // what is spoken over the link: http1 or http2
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
	l, err := lab.StartRelay(nil, strings.TrimPrefix(url, "https://"))
	if err != nil {
		return nil, "", err
	}
	d.links = append(d.links, l)
	return l, "https://" + l.Address(), nil
}

// start starts the links, and edges at either side of them.
func (d *distance) start(ctx context.Context) error {
	local := d.load(false)
	for _, k := range kinds() {
		if _, found := d.env.binaries[k.name]; !found || k.command == nil {
			continue
		}
		p, err := newPeer(ctx, d.env, k, true, false)
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
		for _, over := range []string{http1, http2} {
			d.near = append(d.near, &far{peer: p, as: k.name, over: over, clients: d.load(over == http2), base: base, link: link})
		}
	}
	if err := d.startFar(ctx, http1, d.env.origin.TLS, local); err != nil {
		return err
	}
	return d.startFar(ctx, http2, d.env.origin.TLS2, local)
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
