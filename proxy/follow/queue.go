package follow

import (
	"container/heap"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/version"
)

// task is what is to be done for one reference. While it is running, all but the flag itself
// belongs to the attempt, which holds no lock.
type task struct {
	version  version.Version
	publish  bool // its content is to be offered to the other datacenters' Harbors
	settled  bool // Harbor was as it should be, when it was last looked at
	givenUp  bool
	retained bool // Harbor's retention removed it: what Harbor lacks is not given to it
	running  bool
	looks    int // since it is settled
	tries    int // that failed
	restored int // how often Harbor's tag was set right for this version
	put      bool
	strange  digest.Digest // what Harbor has and nobody knows, since
	since    time.Time
	due      time.Time
	deleted  bool      // the version is a tombstone
	lags     time.Time // since when Harbor is to be given it; zero: it has it
}

// item is a place in the queue; one whose time is not its task's any more is skipped.
type item struct {
	key version.Key
	t   *task
	due time.Time
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

// schedule puts a task into the queue; f.mu is held.
func (f *Follower) schedule(key version.Key, t *task, wait time.Duration) {
	f.tasks[key], t.due = t, time.Now().Add(wait)
	switch {
	case t.settled:
		t.lags = time.Time{}
	case t.lags.IsZero():
		t.lags = time.Now()
	}
	heap.Push(&f.queue, item{key, t, t.due})
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// next takes the task that is due. Where none is, wait says for how long.
func (f *Follower) next() (key version.Key, t *task, wait time.Duration) {
	up := f.cfg.Harbor.Usable()
	f.mu.Lock()
	defer f.mu.Unlock()
	if !up {
		f.down = true
		return key, nil, f.cfg.Pace
	}
	if f.down { // it may have come back as another one: all is looked at again
		f.down = false
		for key, t := range f.tasks {
			if !t.givenUp && !t.running {
				t.settled, t.tries = false, 0
				f.schedule(key, t, 0)
			}
		}
	}
	for len(f.queue) > 0 {
		first := f.queue[0]
		if first.t.running || f.tasks[first.key] != first.t || !first.due.Equal(first.t.due) {
			heap.Pop(&f.queue)
			continue
		}
		if wait = time.Until(first.due); wait > 0 {
			return key, nil, min(wait, f.cfg.Pace) // Harbor may go down
		}
		heap.Pop(&f.queue)
		first.t.running = true
		return first.key, first.t, 0
	}
	return key, nil, f.cfg.Pace
}
