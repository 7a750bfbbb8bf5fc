package touch

import (
	"cmp"
	"container/heap"
	"slices"
	"time"
)

// item is a place in the queue; one whose time is not its entry's any more is skipped.
type item struct {
	pull Pull
	due  time.Time
}

// queue is a heap of items by time.
type queue []item

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }

// Push implements heap.Interface.
func (q *queue) Push(x any) { *q = append(*q, x.(item)) }

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

// schedule has a pull shown to Harbor after a while; t.mu is held.
func (t *Toucher) schedule(p Pull, e *entry, wait time.Duration) {
	e.due = time.Now().Add(wait)
	heap.Push(&t.queue, item{p, e.due})
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// next takes the pull that is due. Where none is, wait says for how long.
func (t *Toucher) next() (p Pull, wait time.Duration, ok bool) {
	up := t.cfg.Harbor.Usable()
	t.mu.Lock()
	defer t.mu.Unlock()
	for up && len(t.queue) > 0 {
		first := t.queue[0]
		if e := t.entries[first.pull]; e == nil || !e.Owed || !e.due.Equal(first.due) {
			heap.Pop(&t.queue)
			continue
		}
		if wait = time.Until(first.due); wait > 0 {
			return p, min(wait, t.cfg.Pace), false
		}
		heap.Pop(&t.queue)
		return first.pull, 0, true
	}
	return p, t.cfg.Pace, false
}

// told is a place in the log that peers are told from; one whose position is not its
// entry's any more is skipped.
type told struct {
	position uint64
	pull     Pull
}

// Untold returns what the edge of a datacenter has not heard, so many at most, and the
// position at which that ends; 0: it has heard everything.
func (t *Toucher) Untold(datacenter string) (all []Pull, until uint64) {
	if t == nil {
		return nil, 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	from, _ := slices.BinarySearchFunc(t.log, t.heard[datacenter]+1, func(l told, position uint64) int { return cmp.Compare(l.position, position) })
	for _, l := range t.log[from:] {
		if len(all) == maxTold {
			break
		}
		if until = l.position; t.entries[l.pull] != nil && t.entries[l.pull].Position == l.position {
			all = append(all, l.pull)
		}
	}
	return all, until
}

// Told notes that the edge of a datacenter has heard up to a position. It reports whether
// there is more.
func (t *Toucher) Told(datacenter string, position uint64) (more bool) {
	if t == nil || position == 0 {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if position > t.last || position <= t.heard[datacenter] {
		return false
	}
	t.heard[datacenter] = position
	t.saveHeard(datacenter, position)
	return len(t.log) > 0 && t.log[len(t.log)-1].position > position
}

// level is the position up to which all peers have heard; t.mu is held.
func (t *Toucher) level() uint64 {
	level := t.last
	for _, p := range t.cfg.Peers() {
		level = min(level, t.heard[p.Datacenter])
	}
	return level
}
