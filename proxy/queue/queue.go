// Package queue is what is to be done later, by time.
package queue

import (
	"container/heap"
	"math"
	"time"
)

// Queue holds values, each with the time at which it is due. The zero Queue is empty. A value
// that is due at another time is added again, and the time before does not count then. Not safe
// for concurrent use.
type Queue[T any] struct{ places places[T] }

// Add puts a value in.
func (q *Queue[T]) Add(value T, due time.Time) { heap.Push(&q.places, place[T]{value, due}) }

// Next takes out the value that is due first, if it is due now. Those before it whose time does
// not count are dropped. Where none is due, wait says for how long: without end, of an empty Queue.
func (q *Queue[T]) Next(now time.Time, counts func(value T, due time.Time) bool) (value T, wait time.Duration, ok bool) {
	for len(q.places) > 0 {
		first := q.places[0]
		valid := counts(first.value, first.due)
		if wait = first.due.Sub(now); valid && wait > 0 {
			return value, wait, false
		}
		heap.Pop(&q.places)
		if valid {
			return first.value, 0, true
		}
	}
	return value, math.MaxInt64, false
}

type place[T any] struct {
	value T
	due   time.Time
}

// places is a heap by time (heap.Interface).
type places[T any] []place[T]

func (p places[T]) Len() int           { return len(p) }
func (p places[T]) Less(i, j int) bool { return p[i].due.Before(p[j].due) }
func (p places[T]) Swap(i, j int)      { p[i], p[j] = p[j], p[i] }

// Push implements heap.Interface.
func (p *places[T]) Push(x any) { *p = append(*p, x.(place[T])) }

// Pop implements heap.Interface.
func (p *places[T]) Pop() any {
	at := len(*p) - 1
	last := (*p)[at]
	(*p)[at] = place[T]{} // else its value would stay in memory
	*p = (*p)[:at]
	return last
}
