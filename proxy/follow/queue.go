package follow

import (
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
	had      bool // Harbor was as it should be once
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

// item is a task as it was added to the queue.
type item struct {
	key version.Key
	t   *task
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
	f.queue.Add(item{key, t}, t.due)
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
		turn := 0
		for key, t := range f.tasks {
			if !t.givenUp && !t.running {
				wait := time.Duration(0)
				if t.settled { // after those of which it is known that Harbor lacks them, and what becomes new
					wait = f.inTurn(turn)
					turn++
				}
				t.settled, t.tries = false, 0
				f.schedule(key, t, wait)
			}
		}
	}
	first, wait, ok := f.queue.Next(time.Now(), func(i item, due time.Time) bool {
		return !i.t.running && f.tasks[i.key] == i.t && due.Equal(i.t.due)
	})
	if !ok {
		return key, nil, min(wait, f.cfg.Pace) // Harbor may go down
	}
	first.t.running = true
	return first.key, first.t, 0
}
