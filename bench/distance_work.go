package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"example.org/breakwater/internal/lab"
)

const (
	pushWork   = "push"        // of a new blob, to who is far away
	pullWork   = "pull"        // of a blob that he holds
	fillWork   = "fill"        // of a blob that an edge does not hold: it fetches it from afar
	cappedWork = "fill-capped" // the same, and no connection is faster than the cap
	edgeWork   = "fill-edge"   // of a blob that an edge in another datacenter holds
)

var distanceWorks = []string{pushWork, pullWork, fillWork, cappedWork, edgeWork}

// fills are the works whose bytes an edge has from afar.
var fills = []string{fillWork, cappedWork, edgeWork}

// widest is a window that limits nothing: more bytes than any work moves.
const widest = 256 * mib

// work has all peers do one work over links of each length.
func (d *distance) work(ctx context.Context, work string, r *distanceReport) (err error) {
	who, link := d.near, lab.Link{Window: widest}
	switch work {
	case fillWork, cappedWork:
		who = d.fills
	case edgeWork:
		who = d.pairs
	case pushWork:
		who = slices.DeleteFunc(slices.Clone(who), func(f *far) bool { return !f.takes })
	}
	d.set(link)
	if d.token, err = d.loads[0].login(ctx, d.env.origin.URL); err != nil {
		return err
	}
	for _, f := range who {
		if err := d.prove(ctx, work, f); err != nil {
			return fmt.Errorf("%s by %s over %s: %w", work, f.as, f.over, err)
		}
	}
	if work == cappedWork {
		link.Rate = d.plan.Rate
	}
	for _, trip := range d.plan.Trips {
		link.Delay = trip / 2
		d.set(link)
		samples, err := d.rounds(ctx, work, trip, who)
		if err != nil {
			return err
		}
		for _, f := range who {
			r.add(work, trip, link.Rate, f, samples[f])
		}
	}
	return nil
}

func (d *distance) set(link lab.Link) {
	for _, l := range d.links {
		l.Set(link)
	}
}

// rounds has all peers do the work as often as planned, in another order each time.
func (d *distance) rounds(ctx context.Context, work string, trip time.Duration, who []*far) (map[*far][]sample, error) {
	samples, order := map[*far][]sample{}, slices.Clone(who)
	for round := range d.plan.Rounds {
		rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for _, f := range order {
			s, err := d.measure(ctx, work, f)
			if err != nil {
				return nil, fmt.Errorf("%s by %s over %s, %s there and back: %w", work, f.as, f.over, trip, err)
			}
			d.env.say("%-11s %5s  round %d of %d  %-12s %s  %7.2f s  %6.0f MB/s", work, trip, round+1, d.plan.Rounds, f.as, f.over, s.wall.Seconds(), s.speed()/1e6)
			samples[f] = append(samples[f], s)
		}
	}
	return samples, nil
}

// prove sees that a peer does the work, and over what it is to be done. An edge's source takes
// nothing else than that.
func (d *distance) prove(ctx context.Context, work string, f *far) error {
	if f.base != f.peer.base {
		if err := f.clients.speaks(ctx, f.base, f.over); err != nil {
			return err
		}
	}
	switch work {
	case pushWork:
		return d.env.tryPush(ctx, f.clients, f.base, f.command != nil)
	case pullWork:
		return f.clients.verify(ctx, f.base, d.env.content.warm)
	}
	if f.pieces > 0 {
		_, err := f.clients.fetch(ctx, f.base, d.env.content.cold, f.pieces)
		return err
	}
	return f.clients.verify(ctx, f.base, d.env.content.cold)
}

// speaks is an error where a server is spoken to in another way.
func (l *load) speaks(ctx context.Context, base, over string) error {
	req, err := l.request(ctx, http.MethodGet, base+"/v2/", nil)
	if err != nil {
		return err
	}
	resp, err := l.http.Do(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if (resp.ProtoMajor == 2) != (over == http2) {
		return fmt.Errorf("%s answers by %s", base, resp.Proto)
	}
	return nil
}

// measure is one round of one peer. Its clients have a connection before the clock runs.
func (d *distance) measure(ctx context.Context, work string, f *far) (s sample, err error) {
	if slices.Contains(fills, work) {
		f.clients.http.CloseIdleConnections() // a server that stops would wait for those that were never used
		if err := f.empty(ctx); err != nil {
			return s, err
		}
	}
	if err := f.clients.verify(ctx, f.base, d.env.content.byTag); err != nil {
		return s, err
	}
	if err := f.process.resetPeak(); err != nil {
		return s, err
	}
	before, err := f.process.cpu()
	if err != nil {
		return s, err
	}
	_, carried := f.link.Carried()
	if s, err = d.do(ctx, work, f); err != nil {
		return s, err
	}
	time.Sleep(d.env.plan.Settle) // what a peer does behind its last byte is its work too
	after, err := f.process.cpu()
	if err != nil {
		return s, err
	}
	s.cpu = after - before
	_, s.carried = f.link.Carried()
	s.carried -= carried
	s.peak, err = f.process.memory("VmHWM")
	return s, err
}

// do is the work itself, once.
func (d *distance) do(ctx context.Context, work string, f *far) (s sample, err error) {
	i := d.env.content.cold
	switch {
	case work == pushWork:
		return f.clients.push(ctx, f.base, d.env.content.pushed, 1, 0, d.env.unpush)
	case work == pullWork:
		i = d.env.content.warm
	case f.pieces > 0:
		return f.clients.fetch(ctx, f.base, i, f.pieces)
	}
	s, err = f.clients.wave(ctx, f.base, i, 1, 0, longest)
	if s.cut {
		err = fmt.Errorf("%d bytes of %d came within %s", s.bytes, i.size, longest)
	}
	return s, err
}

// fetch pulls an item in ranges, all at once.
func (l *load) fetch(ctx context.Context, base string, i item, pieces int) (s sample, err error) {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	var arrived atomic.Int64
	group, within := errgroup.WithContext(ctx)
	begun := time.Now()
	for n := range int64(pieces) {
		from, to := i.size*n/int64(pieces), i.size*(n+1)/int64(pieces)
		part := item{path: i.path, size: to - from, part: fmt.Sprintf("bytes=%d-%d", from, to-1)}
		group.Go(func() error {
			_, err := l.get(within, base, part, l.buffers[n], &arrived, nil)
			return err
		})
	}
	err = group.Wait()
	s.total, s.bytes, s.requests = time.Since(begun), arrived.Load(), pieces
	s.wall = s.total
	return s, err
}
