package version

import "sync"

// barren is a stretch of the log in which nothing is this edge's own. It stays so: what is
// written again stands at the log's end.
type barren struct {
	mu         sync.Mutex
	from, last uint64 // the positions after from, up to last
}

// note adds a stretch that was read. Of two that do not meet the later one is kept.
func (b *barren) note(from, last uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case last <= from:
	case from <= b.last && last >= b.from:
		b.from, b.last = min(b.from, from), max(b.last, last)
	case last > b.last:
		b.from, b.last = from, last
	}
}

// after returns how far nothing of its own comes after a position.
func (b *barren) after(position uint64) uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if position < b.from || position > b.last {
		return position
	}
	return b.last
}

// Onward returns the position from which to read on for what is this edge's own: what stands
// between, where that is known, it was told by others. So what one edge tells is read once, and
// not for each peer.
func (l *Ledger) Onward(position uint64) uint64 { return l.barren.after(position) }
