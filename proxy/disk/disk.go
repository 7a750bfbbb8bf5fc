// Package disk calls a file system that may not answer, and waits only so long. A network
// volume that is away holds every call that is made of it, and nothing ends such a call.
// So each is made in a goroutine of its own, and whoever waits for it goes on without the
// disk. No lock may be held meanwhile: it would stop those who do not need the disk.
package disk

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// Disk is a file system that calls are made of. Safe for concurrent use.
type Disk struct {
	slots chan struct{} // holds a token for each call that is under way

	mu   sync.Mutex
	late map[*call]struct{} // the calls that nobody waits for any more, and that are under way
}

// call is a call that is under way.
type call struct {
	begun    time.Time
	answered bool // guarded by Disk.mu
}

const (
	// maxCalls bounds the calls that are under way at once. Each that does not return keeps
	// a thread of the operating system, of which a Go program may have 10,000.
	maxCalls = 256
	// hangsAfter is how long a call is under way until the disk counts as hanging. A busy
	// disk is slow for some seconds.
	hangsAfter = 5 * time.Second
)

var (
	// ErrHangs says that a call was not made, because earlier ones have not returned.
	ErrHangs = errors.New("the disk hangs")
	// ErrLate says that a call was made and is still under way. It may yet succeed.
	ErrLate = errors.New("the disk has not answered")
)

// New returns a Disk.
func New() *Disk {
	return &Disk{slots: make(chan struct{}, maxCalls), late: map[*call]struct{}{}}
}

// Hangs reports whether the disk hangs: a call has been under way for hangsAfter, and
// whoever made it has given it up. No call is made then, until that one returns.
func (d *Disk) Hangs() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for c := range d.late {
		if time.Since(c.begun) >= hangsAfter {
			return true
		}
	}
	return false
}

// Do makes a call, and waits for patience at most. What comes later is given to late; nil:
// to nobody. What the call uses is the call's own until then. The error is the call's,
// ErrHangs where it was not made, or ErrLate.
func Do[T any](d *Disk, patience time.Duration, made func() (T, error), late func(T, error)) (result T, err error) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	if d.Hangs() {
		return result, ErrHangs
	}
	select {
	case d.slots <- struct{}{}:
	case <-timer.C:
		return result, fmt.Errorf("%w: %d calls are under way", ErrHangs, maxCalls)
	}
	type answer struct {
		result T
		err    error
		fault  any // of a call that has panicked
	}
	answers, c := make(chan answer, 1), &call{begun: time.Now()}
	go func() {
		var a answer
		defer func() {
			<-d.slots
			if a.fault = recover(); d.ended(c) {
				answers <- a
			} else if late != nil && a.fault == nil {
				late(a.result, a.err)
			}
		}()
		a.result, a.err = made()
	}()
	var a answer
	select {
	case a = <-answers:
	case <-timer.C:
		if d.giveUp(c) {
			return result, ErrLate
		}
		a = <-answers
	}
	if a.fault != nil {
		panic(a.fault)
	}
	return a.result, a.err
}

// Call is Do for a call that has no result but its error.
func (d *Disk) Call(patience time.Duration, made func() error) error {
	_, err := Do(d, patience, func() (struct{}, error) { return struct{}{}, made() }, nil)
	return err
}

// ended notes that a call has returned, and reports whether somebody waits for it.
func (d *Disk) ended(c *call) (awaited bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c.answered = true
	_, late := d.late[c]
	delete(d.late, c)
	return !late
}

// giveUp notes that nobody waits for a call any more. It returns false where the call has
// returned.
func (d *Disk) giveUp(c *call) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !c.answered {
		d.late[c] = struct{}{}
	}
	return !c.answered
}

// Silent reports whether an error says that the disk did not answer.
func Silent(err error) bool { return errors.Is(err, ErrHangs) || errors.Is(err, ErrLate) }
