package store

import (
	"context"
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
	// A source is far where the way to it and back takes at least farTrip. The next part is asked for
	// when the last one is going to end within aheadShare of the way: a source never has more to send
	// at once than it gives.
	farTrip    = 5 * time.Millisecond
	aheadShare = 0.9
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
	c := f.newClimb()
	if c.eager {
		f.step(c, 0)
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
		rate := float64(f.parts.came-came) / now.Sub(last).Seconds()
		last, came = now, f.parts.came
		f.mu.Unlock()
		f.step(c, rate)
	}
}

// newClimb says how to find out how many bodies there are to be. A source that is near is
// measured longer, and one that is very far is asked for many at once: what its lead brings while
// others begin is a small part of a blob that is large enough for what cutting the lead off wastes.
func (f *fill) newClimb() *climb {
	c := &climb{enough: fast}
	switch late := f.parts.late; {
	case late < near.Seconds():
		c.enough, c.least = fastNear, triesNear
	case late >= veryFar.Seconds():
		c.eager = f.size >= wasteShare*maxOnWay
	}
	return c
}

// step begins further bodies after a measure in which so many bytes a second came.
func (f *fill) step(c *climb, rate float64) {
	f.mu.Lock()
	p := &f.parts
	most := f.mostBodies(max(rate, c.best))
	p.most = c.next(rate, p.silent, p.bodies, most)
	each := c.best / float64(max(1, c.bodies))
	f.layout.least = min(max(int64(each*p.trip), minPart), maxPart)
	f.cutSlow(each)
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
	if rate == 0 { // not known: half of what each of all bodies brings
		return min(f.size/(2*maxBodies), 2*maxPart)
	}
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
