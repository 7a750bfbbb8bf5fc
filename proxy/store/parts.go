package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
)

// parts are the bodies that bring bytes of a fill ahead of its lead.
type parts struct {
	ctx     context.Context         // of all bodies of the transfer
	fail    context.CancelCauseFunc // ends it
	running sync.WaitGroup

	// guarded by fill.mu
	begun   bool         // somebody measures
	parted  bool         // bytes have been asked for ahead of the lead
	over    bool         // the transfer has ended
	leader  int          // the number of the lead's source
	able    map[int]int  // how many bodies at once a source gives of the blob, by its number
	asked   map[int]int  // how many parts it is asked for now
	refused map[int]bool // it gives no parts, whatever it says
	brought []int        // the numbers of the sources that had a part in the body
	bodies  int          // parts that are under way
	silent  int          // those of them that have not begun to send
	most    int          // bodies that there may be now, the lead too
	came    int64        // bytes of all bodies
	late    float64      // how many seconds the lead's body took to begin
	trip    float64      // how many seconds the way to its source and back takes
}

const (
	maxParts  = 64 // of all fills, beside their leads
	maxBodies = 8  // of one fill, its lead too
	// A part is worth while where that many bytes are left, which the lead alone would need that
	// long for.
	worthBytes = 32 << 20
	worthTime  = time.Second
	// What is on its way when the lead is cut off is lost. That is at most what a receive
	// buffer takes (Linux: tcp_rmem), and may be a wasteShare-th of the blob.
	maxOnWay   = 6 << 20
	wasteShare = 50
	// maxBreaks is how many parts in a row may break off, until their source is asked for no more.
	maxBreaks = 1
	// A part that all wait for is cut off where it has brought less than a slowShare-th of what a
	// body usually brings, slowTries measures in a row.
	slowShare = 8
	slowTries = 20
	// maxUnhashed is how far the bytes that are there may be ahead of the hash.
	maxUnhashed = 256 << 20
)

// allowParts notes how many bodies the lead's source gives at once. f.mu is locked.
func (f *fill) allowParts(body Body) {
	p := &f.parts
	if p.able == nil {
		p.able, p.asked, p.refused = map[int]int{}, map[int]int{}, map[int]bool{}
	}
	p.leader = f.rota.at % len(f.rota.sources)
	if f.size < worthBytes || body.Doubtful || body.Otherwise != nil || f.verifyFirst {
		clear(p.able)
		return
	}
	if p.able[p.leader] = body.Parts; body.Parts > 1 && !p.begun {
		p.begun, p.late = true, time.Since(f.begun).Seconds()
		if p.trip = body.Trip.Seconds(); p.trip == 0 {
			p.trip = p.late
		}
		p.running.Go(f.measure)
	}
}

// endParts ends the bodies ahead of the lead.
func (f *fill) endParts() {
	f.parts.fail(nil)
	f.parts.running.Wait()
	for _, at := range f.parts.brought {
		f.rota.took(at)
	}
	f.update(func() { f.parts.over = true })
}

// measure begins further bodies as long as they bring more bytes a second.
func (f *fill) measure() {
	tick := time.NewTicker(measure)
	defer tick.Stop()
	c := climb{enough: fast}
	if f.parts.late < near.Seconds() {
		c.enough, c.least = fastNear, triesNear
	}
	last, came := time.Now(), int64(0)
	for {
		select {
		case <-f.parts.ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		f.mu.Lock()
		p := &f.parts
		rate := float64(p.came-came) / now.Sub(last).Seconds()
		last, came = now, p.came
		most := f.mostBodies(max(rate, c.best))
		p.most = c.next(rate, p.silent > 0, most)
		f.cutSlow(c.best / float64(max(1, c.bodies)))
		more := p.most - 1 - p.bodies
		if more > 0 && (!p.parted || f.layout.left() == 0 && f.lead.end-f.lead.at >= 2*maxPart) {
			p.parted = f.layout.split(f.lead.piece, f.lead.at+f.firstGap(rate)) || p.parted
		}
		if !f.layout.waits() {
			more = 0
		}
		f.mu.Unlock()
		for range more {
			f.beginPart()
		}
	}
}

// cutSlow has somebody else bring the rest of a part that keeps everybody waiting: one connection of
// eight may be as good as lost. usual is what a body brings, in bytes a second. f.mu is locked.
func (f *fill) cutSlow(usual float64) {
	if len(f.layout.pieces) == 0 {
		return
	}
	p := f.layout.pieces[0]
	came := float64(p.at - p.was)
	p.was = p.at
	if p == f.lead.piece || !p.begun || p.cancel == nil || came*slowShare >= usual*measure.Seconds() {
		p.slow = 0
		return
	}
	if p.slow++; p.slow == slowTries {
		p.cut = true
		p.cancel()
	}
}

// mostBodies is how many bodies there may be at most where so many bytes come a second. f.mu is
// locked.
func (f *fill) mostBodies(rate float64) int {
	p, most := &f.parts, 1
	for at, n := range p.able {
		switch {
		case p.refused[at]:
		case at == p.leader:
			most += n - 1
		default:
			most += n
		}
	}
	if p.parted {
		return min(most, maxBodies)
	}
	left := float64(f.lead.end - f.lead.at)
	if left < worthBytes || left < rate*worthTime.Seconds() || min(rate*p.trip, maxOnWay) > float64(f.size/wasteShare) {
		return 1
	}
	return min(most, maxBodies)
}

// firstGap is how far ahead of the lead the first part begins: that is to have begun when the
// lead is there.
func (f *fill) firstGap(rate float64) int64 {
	return min(max(int64(rate*max(3*f.parts.late, 0.25)), minPart), 2*maxPart, (f.lead.end-f.lead.at)/2)
}

// leadPart is how much the lead takes of what is nobody's. f.mu is locked.
func (f *fill) leadPart() int64 {
	if f.parts.most > 1 {
		return f.layout.partOf(f.parts.most)
	}
	return f.layout.size
}

// extendLead has the lead's body bring what follows it, where nobody has begun to. f.mu is
// locked.
func (f *fill) extendLead() *piece {
	following, from := f.layout.extend(f.lead.piece, f.lead.reach, f.leadPart())
	if from != nil && from.cancel != nil {
		from.cancel()
	}
	if following != nil {
		f.lead.piece = following
	}
	return following
}

// beginPart begins a body beside the others, where there may be one more.
func (f *fill) beginPart() {
	if f.store.parts.Add(1) > maxParts {
		f.store.parts.Add(-1)
		return
	}
	f.mu.Lock()
	f.parts.bodies++
	f.parts.silent++
	f.mu.Unlock()
	f.parts.running.Go(func() {
		for b := (&beside{}); f.nextPart(b); {
		}
	})
}

// beside is one that brings parts, one after the other.
type beside struct {
	heard bool // something has come
	broke int  // how many parts in a row have broken off
}

// nextPart brings one part. It returns false where no further one is to be asked for.
func (f *fill) nextPart(b *beside) bool {
	at, part, ctx := f.takePart(b)
	if part == nil {
		return false
	}
	before := part.at
	err := f.bring(ctx, b, at, part)
	var final finalError
	if errors.As(err, &final) {
		f.parts.fail(err)
	}
	switch result := f.putPart(b, at, part, before, err); result {
	case "":
	case "broke":
		pause(f.parts.ctx, resumeWait)
		fallthrough
	default:
		f.store.metrics.parts.WithLabelValues(result).Inc()
	}
	return true
}

// takePart returns the next part, and the number of the source to ask for it, in a context. part is
// nil, and one body beside the lead less is there, where none is to be brought.
func (f *fill) takePart(b *beside) (at int, part *piece, ctx context.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := &f.parts
	at, ok := f.whoGives()
	if ok && p.bodies < p.most && f.written-f.hash.at.Load() < maxUnhashed && p.ctx.Err() == nil {
		part = f.layout.take(f.layout.partOf(p.most))
	}
	if part == nil {
		if p.bodies--; !b.heard {
			p.silent--
		}
		f.store.parts.Add(-1)
		return 0, nil, nil
	}
	p.asked[at]++
	ctx, part.cancel = context.WithCancel(p.ctx)
	return at, part, ctx
}

// putPart notes what became of a part that was at before, and returns that: "complete", "broke",
// "refused", or "" for one that is not wanted any more.
func (f *fill) putPart(b *beside, at int, part *piece, before int64, err error) (result string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	part.cancel()
	p, came := &f.parts, part.at-before
	p.asked[at]--
	if came > 0 && !slices.Contains(p.brought, at) {
		p.brought = append(p.brought, at)
	}
	switch {
	case part.at == part.end:
		result, b.broke = "complete", 0
	case part.lost:
	default:
		ends := part.cut || errors.Is(err, errBrokeOff)
		f.layout.release(part)
		if p.ctx.Err() != nil {
			break
		}
		result = "broke"
		if b.broke++; b.broke > maxBreaks || came < leastProgress || !ends {
			p.refused[at], result = true, "refused"
		}
	}
	close(f.changed) // the lead may bring what this one has not
	f.changed = make(chan struct{})
	return result
}

// whoGives returns the number of the source that is asked for the next part: who is asked for
// the least of what it gives. f.mu is locked.
func (f *fill) whoGives() (number int, ok bool) {
	least := 1.0
	for at, n := range f.parts.able {
		used := f.parts.asked[at]
		if at == f.parts.leader {
			used++
		}
		if share := float64(used) / float64(max(1, n)); n > 0 && !f.parts.refused[at] && share < least {
			number, least, ok = at, share, true
		}
	}
	return number, ok
}

// errBrokeOff is of a part whose body was what was asked for, and ended too soon.
var errBrokeOff = errors.New("the part broke off")

type partKey struct{}

// IsPart reports whether Source.Open is asked for bytes in that context that others would bring
// as well: what a source says to that is no word of how it is doing.
func IsPart(ctx context.Context) bool { return ctx.Value(partKey{}) != nil }

// bring asks a source for a part, and writes what it sends to the file.
func (f *fill) bring(ctx context.Context, b *beside, at int, part *piece) error {
	src := f.rota.sources[at]
	asking, cancel := context.WithCancelCause(context.WithValue(ctx, partKey{}, true))
	defer cancel(nil)
	late := time.AfterFunc(f.store.cfg.Idle, func() { cancel(fmt.Errorf("%s did not answer for %v", src.Name, f.store.cfg.Idle)) })
	body, err := f.store.openSource(asking, src, part.at, part.end-part.at)
	late.Stop()
	if err != nil {
		return err
	}
	defer body.Close()
	if body.Parts < 1 || body.Doubtful || body.Otherwise != nil || body.Offset != part.at || body.Size != f.layout.size {
		return fmt.Errorf("%s sent something else than the part that it was asked for", src.Name)
	}
	for part.at < part.end {
		buf := f.store.chunks.get()
		n, err := body.Read(buf[:min(chunk, part.end-part.at)])
		if n > 0 {
			if !f.beginWrite(b, part) {
				f.store.chunks.put(buf)
				return context.Canceled
			}
			if err := f.write(part, buf[:n]); err != nil {
				return err
			}
		}
		f.store.chunks.put(buf)
		switch {
		case part.at == part.end:
		case err == io.EOF:
			return io.ErrUnexpectedEOF
		case err != nil:
			return fmt.Errorf("%w: %w", errBrokeOff, err)
		}
	}
	return nil
}

// beginWrite notes that a part's bytes are there, to be written. It returns false where
// somebody else brings them.
func (f *fill) beginWrite(b *beside, part *piece) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if part.lost {
		return false
	}
	if part.begun = true; !b.heard {
		b.heard = true
		f.parts.silent--
	}
	return true
}
