package main

import "container/list"

// policy is an order in which a store of a bounded number of bytes evicts. read has an object read,
// and reports whether it was held.
type policy interface {
	read(o object) (hit bool)
}

// object is what a trace reads.
type object struct {
	name int
	size int64 // bytes
}

// cached is an object that a policy holds.
type cached struct {
	object
	used bool // since it came, or since the hand passed
}

// held are the objects of a store, the newest first.
type held struct {
	room    int64 // bytes; an object of more than half of it is not held, as in proxy/store
	bytes   int64
	order   list.List
	objects map[int]*list.Element
}

func newHeld(room int64) held { return held{room: room, objects: map[int]*list.Element{}} }

func (h *held) add(o object) *list.Element {
	e := h.order.PushFront(&cached{object: o})
	h.objects[o.name] = e
	h.bytes += o.size
	return e
}

func (h *held) drop(e *list.Element) {
	c := h.order.Remove(e).(*cached)
	delete(h.objects, c.name)
	h.bytes -= c.size
}

// lru evicts what was used longest ago.
type lru struct{ held }

func (p *lru) read(o object) bool {
	if e := p.objects[o.name]; e != nil {
		p.order.MoveToFront(e)
		return true
	}
	if o.size > p.room/2 {
		return false
	}
	for p.bytes+o.size > p.room {
		p.drop(p.order.Back())
	}
	p.add(o)
	return false
}

// sieve evicts the oldest that was not used since a hand passed it (Zhang et al., SIEVE is
// Simpler than LRU, NSDI 2024), as proxy/store does. Nothing moves when it is used.
type sieve struct {
	held
	hand *list.Element
}

func (p *sieve) read(o object) bool {
	if e := p.objects[o.name]; e != nil {
		e.Value.(*cached).used = true
		return true
	}
	if o.size > p.room/2 {
		return false
	}
	for p.bytes+o.size > p.room {
		p.evict()
	}
	p.add(o)
	return false
}

func (p *sieve) evict() {
	for {
		if p.hand == nil {
			p.hand = p.order.Back()
		}
		e := p.hand
		c := e.Value.(*cached)
		p.hand = e.Prev()
		if !c.used {
			p.drop(e)
			return
		}
		c.used = false
	}
}

// segmented is LRU of two parts: what was read once is evicted before what was read again, of which
// there is at most share of the room (segmented LRU, Karedla et al. 1994).
type segmented struct {
	once, again held
	share       float64
}

func (p *segmented) read(o object) bool {
	if e := p.again.objects[o.name]; e != nil {
		p.again.order.MoveToFront(e)
		return true
	}
	e := p.once.objects[o.name]
	if e == nil {
		if o.size > p.once.room/2 {
			return false
		}
		p.fit(o.size)
		p.once.add(o)
		return false
	}
	p.once.drop(e)
	p.again.add(o)
	for float64(p.again.bytes) > p.share*float64(p.once.room) { // its oldest becomes the newest of the others
		old := p.again.order.Back()
		c := old.Value.(*cached)
		p.again.drop(old)
		p.once.add(c.object)
	}
	return true
}

func (p *segmented) fit(n int64) {
	for p.once.bytes+p.again.bytes+n > p.once.room {
		if e := p.once.order.Back(); e != nil {
			p.once.drop(e)
		} else {
			p.again.drop(p.again.order.Back())
		}
	}
}
