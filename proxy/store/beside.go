package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// beside is one that brings parts, one after the other.
type beside struct {
	heard bool   // something has come
	again bool   // it has asked for a part while another one came
	broke int    // how many parts in a row have broken off
	next  *asked // what it has asked for already; nil: nothing
}

// asked is a part that a source is asked for.
type asked struct {
	part *piece
	at   int  // the source's number
	last bool // what its body asks for next is asked for already: it counts no more as asked for
	ctx  context.Context
	end  context.CancelCauseFunc
	done chan struct{} // closed when the source has answered
	body Body
	err  error
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

// nextPart brings one part. It returns false where no further one is to be asked for.
func (f *fill) nextPart(b *beside) bool {
	a := b.next
	if b.next = nil; a == nil {
		a = f.askPart(b, nil)
	}
	if a == nil {
		return false
	}
	before := a.part.at
	err := f.bring(b, a)
	var final finalError
	if errors.As(err, &final) {
		f.parts.fail(err)
	}
	switch result := f.putPart(b, a, before, err); result {
	case "":
	case "broke":
		if b.next == nil {
			pause(f.parts.ctx, resumeWait)
		}
		fallthrough
	default:
		f.store.metrics.parts.WithLabelValues(result).Inc()
	}
	return true
}

// askPart asks a source for the next part, in the place of one that is about to end; nil: beside
// all others. It returns nil where none is to be asked for. There is one body less then, unless
// one still comes.
func (f *fill) askPart(b *beside, ending *asked) *asked {
	f.mu.Lock()
	defer f.mu.Unlock()
	p, part := &f.parts, (*piece)(nil)
	if ending != nil {
		p.asked[ending.at]--
	}
	at, ok := f.whoGives()
	if ok && p.bodies < p.most && f.written-f.hash.at.Load() < maxUnhashed && p.ctx.Err() == nil {
		if n := f.layout.partOf(p.most); ending == nil {
			part = f.layout.take(n)
		} else { // what somebody may wait for is for who reads it at once
			part = f.layout.takeNew(n)
		}
	}
	switch {
	case part != nil && ending != nil:
		ending.last = true
	case part != nil:
	case ending != nil:
		p.asked[ending.at]++
		return nil
	default:
		if p.bodies--; !b.heard {
			p.silent--
		}
		f.store.parts.Add(-1)
		return nil
	}
	p.asked[at]++
	a := &asked{part: part, at: at, done: make(chan struct{})}
	a.ctx, a.end = context.WithCancelCause(context.WithValue(p.ctx, partKey{}, true))
	part.cancel = func() { a.end(nil) }
	p.running.Go(func() {
		defer close(a.done)
		a.body, a.err = f.openPart(a)
	})
	return a
}

// putPart notes what became of a part that was at before, and returns that: "complete", "broke",
// "refused", or "" for one that is not wanted any more.
func (f *fill) putPart(b *beside, a *asked, before int64, err error) (result string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a.end(nil)
	p, part := &f.parts, a.part
	came := part.at - before
	if !a.last {
		p.asked[a.at]--
	}
	if came > 0 && !slices.Contains(p.brought, a.at) {
		p.brought = append(p.brought, a.at)
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
			p.refused[a.at], result = true, "refused"
		}
	}
	close(f.changed) // the lead may bring what this one has not
	f.changed = make(chan struct{})
	return result
}

// errBrokeOff is of a part whose body was what was asked for, and ended too soon.
var errBrokeOff = errors.New("the part broke off")

type partKey struct{}

// IsPart reports whether Source.Open is asked for bytes in that context that others would bring
// as well: what a source says to that is no word of how it is doing.
func IsPart(ctx context.Context) bool { return ctx.Value(partKey{}) != nil }

// openPart asks a source for a part.
func (f *fill) openPart(a *asked) (Body, error) {
	src, part := f.rota.sources[a.at], a.part
	late := time.AfterFunc(f.store.cfg.Idle, func() { a.end(fmt.Errorf("%s did not answer for %v", src.Name, f.store.cfg.Idle)) })
	defer late.Stop()
	offset, length := part.at, part.end-part.at
	body, err := f.store.openSource(a.ctx, src, offset, length)
	if err == nil && (body.Parts < 1 || body.Doubtful || body.Otherwise != nil || body.Offset != offset || body.Size != f.layout.size) {
		body.Close()
		err = fmt.Errorf("%s sent something else than the part that it was asked for", src.Name)
	}
	return body, err
}

// bring writes to the file what a source sends of a part. Shortly before its end the next part is
// asked for: no trip passes between the two.
func (f *fill) bring(b *beside, a *asked) error {
	<-a.done
	if a.err != nil {
		return a.err
	}
	defer a.body.Close()
	begun, from, part := time.Now(), a.part.at, a.part
	for part.at < part.end {
		buf := f.store.chunks.get()
		n, err := f.readChunk(b, a, buf[:min(chunk, part.end-part.at)])
		if n > 0 {
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
		case b.next == nil && f.endsSoon(b, float64(part.end-part.at), float64(part.at-from), time.Since(begun)):
			b.next = f.askPart(b, a)
			b.again = b.again || b.next != nil
		}
	}
	return nil
}

// readChunk reads what comes of a part. As long as nobody waits for it, because what is before it
// has not come, that is a whole chunk: a TLS record is an eighth of one, and each write has its cost.
// Of a part that somebody else brings it reads nothing.
func (f *fill) readChunk(b *beside, a *asked, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var m int
		if m, err = a.body.Read(buf[n:]); m == 0 {
			continue
		}
		n += m
		switch wanted, first := f.arrived(b, a.part); {
		case !wanted:
			return 0, context.Canceled
		case first:
			return n, err
		}
	}
	return n, err
}

// arrived notes that bytes of a part are there, to be written. wanted is false where somebody else
// brings them; first says that all before the part has come.
func (f *fill) arrived(b *beside, part *piece) (wanted, first bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if part.lost {
		return false, false
	}
	if part.begun = true; !b.heard {
		b.heard = true
		f.parts.silent--
	}
	return true, len(f.layout.pieces) > 0 && f.layout.pieces[0] == part
}

// endsSoon reports whether a part, of which so many bytes are left, ends before the next one would
// begin, if came bytes took took. The first time another connection has to be made. What comes
// within less than a trip may be a burst.
func (f *fill) endsSoon(b *beside, left, came float64, took time.Duration) bool {
	way := f.parts.trip
	if !b.again {
		way = max(way, f.parts.late)
	}
	return way >= farTrip.Seconds() && left*max(took.Seconds(), way) <= came*way*aheadShare
}
