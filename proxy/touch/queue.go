package touch

import (
	"cmp"
	"slices"
	"time"
)

// schedule has a pull shown to Harbor after a while; t.mu is held.
func (t *Toucher) schedule(p Pull, e *entry, wait time.Duration) {
	e.due = time.Now().Add(wait)
	t.queue.Add(p, e.due)
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
	if !up {
		return p, t.cfg.Pace, false
	}
	p, wait, ok = t.queue.Next(time.Now(), func(p Pull, due time.Time) bool {
		e := t.entries[p]
		return e != nil && e.Owed && e.due.Equal(due)
	})
	return p, min(wait, t.cfg.Pace), ok // Harbor may go down
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
