package store

import (
	"context"
	"math"
	"slices"
)

// layout says who brings which bytes of a blob: each byte is one piece's, or nobody's yet.
// It has no lock of its own.
type layout struct {
	next   int64    // bytes from here on are nobody's
	size   int64    // unbounded: not known
	least  int64    // how long a part is at least; 0: minPart
	pieces []*piece // those that lack bytes, in order
}

// piece is a run of bytes that one body brings.
type piece struct {
	at, end int64 // of what it lacks
	taken   bool  // somebody brings it
	begun   bool  // who brings it has bytes of it: nobody else may write there until it is let go
	lost    bool  // somebody else brings it instead
	was     int64 // its at of a measure ago
	slow    int   // measures in a row in which hardly anything of it came
	cut     bool  // it was too slow: somebody else is to bring the rest
	cancel  context.CancelFunc
}

const (
	unbounded = math.MaxInt64
	// A part is minPart to maxPart bytes long.
	minPart = 4 << 20
	maxPart = 32 << 20
)

// prefix is up to where all bytes are there.
func (l *layout) prefix() int64 {
	if len(l.pieces) > 0 {
		return l.pieces[0].at
	}
	return l.next
}

// add adds a piece of bytes that are no other piece's.
func (l *layout) add(p *piece) *piece {
	at, _ := slices.BinarySearchFunc(l.pieces, p.at, func(q *piece, at int64) int {
		if q.at < at {
			return -1
		}
		return 1
	})
	l.pieces = slices.Insert(l.pieces, at, p)
	return p
}

// whole is the piece that is all bytes, of a blob of this size, before anything else is done
// with it.
func (l *layout) whole(size int64) *piece {
	l.size, l.next = size, size
	return l.add(&piece{end: size, taken: true})
}

// resize notes what the size is; negative: it is not known. All bytes that are missing are
// one piece's.
func (l *layout) resize(lead *piece, size int64) {
	if size < 0 {
		size = unbounded
	}
	if l.size != size {
		l.size, l.next, lead.end = size, size, size
	}
}

// split has the last piece, which ends with the blob, end at another offset. The bytes from
// there on are nobody's.
func (l *layout) split(p *piece, at int64) bool {
	if p.end != l.size || l.next != l.size || at <= p.at || at >= p.end {
		return false
	}
	p.end, l.next = at, at
	return true
}

// take returns the first piece that nobody brings, of at most n bytes where nobody has begun
// it. nil: there is none.
func (l *layout) take(n int64) *piece {
	for _, p := range l.pieces {
		if !p.taken {
			p.taken, p.begun = true, false
			return p
		}
	}
	return l.takeNew(n)
}

// takeNew is take of bytes that nobody has ever brought.
func (l *layout) takeNew(n int64) *piece {
	if l.next >= l.size {
		return nil
	}
	p := &piece{at: l.next, end: l.next + min(n, l.size-l.next), taken: true}
	l.next = p.end
	return l.add(p)
}

// came notes that n bytes of a piece are there.
func (l *layout) came(p *piece, n int64) {
	if p.at += n; p.at == p.end {
		l.pieces = slices.DeleteFunc(l.pieces, func(q *piece) bool { return q == p })
	}
}

// release notes that nobody brings a piece any more.
func (l *layout) release(p *piece) {
	p.taken, p.begun, p.cancel, p.slow, p.cut = false, false, nil, 0, false
}

// extend has a body that has brought all of its piece bring what follows, up to reach, where
// nobody has begun to: what somebody else was asked for, or at most n bytes that are nobody's.
// It returns the piece that follows, or nil. from is who was asked for it, or nil.
func (l *layout) extend(p *piece, reach, n int64) (following *piece, from *piece) {
	for _, q := range l.pieces {
		if q.at == p.end && !q.begun && q.end <= reach {
			if !q.taken {
				q.taken = true
				return q, nil
			}
			l.pieces = slices.DeleteFunc(l.pieces, func(o *piece) bool { return o == q })
			q.lost = true
			return l.add(&piece{at: q.at, end: q.end, taken: true}), q
		}
	}
	if n = min(n, l.size-l.next, reach-l.next); l.next == p.end && n > 0 {
		q := &piece{at: l.next, end: l.next + n, taken: true}
		l.next = q.end
		return l.add(q), nil
	}
	return nil, nil
}

// waits reports whether there are bytes that nobody brings.
func (l *layout) waits() bool {
	return l.left() > 0 || slices.ContainsFunc(l.pieces, func(p *piece) bool { return !p.taken })
}

// left is how many bytes are nobody's.
func (l *layout) left() int64 { return l.size - l.next }

// partOf is how long the next part is, where so many bodies share what is left.
func (l *layout) partOf(bodies int) int64 {
	left := l.left()
	least := max(l.least, minPart)
	n := min(max(left/int64(2*bodies), least), maxPart)
	if left-n < least && left < maxPart {
		return left
	}
	return n
}
