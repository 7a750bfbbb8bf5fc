package queue_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"example.org/breakwater/proxy/queue"
)

// Whatever is added and added again, each value comes out once, when it is due last, in order.
func TestEachValueComesWhenItIsDue(t *testing.T) {
	begun, chance := time.Unix(1_800_000_000, 0), rand.New(rand.NewPCG(1, 2))
	var q queue.Queue[int]
	due := map[int]time.Time{}
	for range 1000 {
		value, at := chance.IntN(300), begun.Add(time.Duration(chance.IntN(100))*time.Second)
		due[value] = at
		q.Add(value, at)
	}
	delete(due, 7) // it is left out
	counts := func(value int, at time.Time) bool { return due[value].Equal(at) }
	for now, last := begun, begun; len(due) > 0; {
		value, wait, ok := q.Next(now, counts)
		if !ok {
			if wait <= 0 || wait > time.Hour {
				t.Fatalf("%v to wait, and %d are left", wait, len(due))
			}
			now = now.Add(wait)
			continue
		}
		at, known := due[value]
		if !known || at.After(now) || at.Before(last) || wait != 0 {
			t.Fatalf("%d at %v: it is due at %v, and the one before at %v", value, now, at, last)
		}
		last = at
		delete(due, value)
	}
	if value, wait, ok := q.Next(begun.Add(time.Hour), counts); ok || wait < time.Hour {
		t.Errorf("%d is left, or %v to wait for nothing", value, wait)
	}
}
