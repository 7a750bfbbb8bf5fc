package operator

import (
	"sync"
	"time"
)

const (
	span  = time.Minute
	spans = 10
)

// Counter counts what clients read, and how much of it came from the store: of all time,
// and by the minute for the last ten. Its zero value has counted nothing. Safe for
// concurrent use.
type Counter struct {
	mu     sync.Mutex
	all    Ratio
	last   [spans]Ratio
	minute int64 // of the newest of them, since 1970
}

// Add counts an answer.
func (c *Counter) Add(now time.Time, hit bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turn(now)
	for _, r := range []*Ratio{&c.all, &c.last[c.minute%spans]} {
		r.Of++
		if hit {
			r.Hits++
		}
	}
}

// Hits returns what was counted.
func (c *Counter) Hits(now time.Time) Hits {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turn(now)
	h := Hits{Start: c.all}
	for _, r := range c.last {
		h.Recent.Hits += r.Hits
		h.Recent.Of += r.Of
	}
	return h
}

// turn forgets the minutes that are over; c.mu is held. A clock that was put back counts on.
func (c *Counter) turn(now time.Time) {
	minute := now.Unix() / int64(span/time.Second)
	for n := 0; c.minute < minute && n < spans; n++ {
		c.minute = max(c.minute+1, minute-spans+1)
		c.last[c.minute%spans] = Ratio{}
	}
}
