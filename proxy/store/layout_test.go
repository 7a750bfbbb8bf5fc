package store

import (
	"math/rand/v2"
	"testing"
)

// layoutPlay is a lead and parts that bring a blob in any order, break off anywhere and are taken by
// others.
type layoutPlay struct {
	*rand.Rand
	layout
	written []int // how many times each byte is
	lead    *piece
	parts   []*piece
}

func (l *layoutPlay) bring(p *piece) {
	if p.lost && !p.begun || p.at == p.end { // who has begun to write does not look again
		return
	}
	if !p.begun && p != l.lead { // it is written later
		p.begun = true
		return
	}
	n := 1 + l.Int64N(min(p.end-p.at, l.size/30+1))
	for i := range n {
		l.written[p.at+i]++
	}
	l.came(p, n)
}

func (l *layoutPlay) step() {
	at := 0
	if len(l.parts) > 0 {
		at = l.IntN(len(l.parts))
	}
	switch n := l.IntN(7); {
	case n == 0 && l.size > 2:
		l.split(l.lead, l.lead.at+1+l.Int64N(l.size))
	case n == 1 || n == 2:
		if p := l.take(1 + l.Int64N(l.size/4+1)); p != nil {
			l.parts = append(l.parts, p)
		}
	case n == 3 && len(l.parts) > 0:
		if p := l.parts[at]; !p.lost && p.at < p.end {
			l.release(p)
		}
		l.parts = append(l.parts[:at], l.parts[at+1:]...)
	case n == 4 && len(l.parts) > 0:
		l.bring(l.parts[at])
	case n > 4:
		l.stepLead()
	}
}

func (l *layoutPlay) stepLead() {
	if l.lead.at == l.lead.end {
		reach := l.size
		if l.IntN(2) == 0 {
			reach = min(l.size, l.lead.end+l.Int64N(100))
		}
		p, _ := l.extend(l.lead, reach, 1+l.Int64N(50))
		if p == nil {
			p = l.take(1 + l.Int64N(50))
		}
		if p != nil {
			l.lead = p
		}
	}
	l.bring(l.lead)
}

// FuzzLayout has each byte written once, and the prefix never say more than is there.
func FuzzLayout(f *testing.F) {
	for seed := range uint64(200) {
		f.Add(seed, uint16(3000))
	}
	f.Add(uint64(1), uint16(0))
	f.Add(uint64(1), uint16(1))
	f.Fuzz(func(t *testing.T, seed uint64, length uint16) {
		size := int64(length)
		l := &layoutPlay{Rand: rand.New(rand.NewPCG(seed, 3)), written: make([]int, size)}
		l.lead = l.whole(unbounded)
		l.resize(l.lead, size)
		for step := 0; l.prefix() < size; step++ {
			if step > 100*int(size)+1000 {
				t.Fatalf("it does not end: %d of %d", l.prefix(), size)
			}
			l.step()
			for i := range l.prefix() {
				if l.written[i] != 1 {
					t.Fatalf("byte %d of the prefix %d is written %d times", i, l.prefix(), l.written[i])
				}
			}
		}
		for i, n := range l.written {
			if n != 1 {
				t.Fatalf("byte %d of %d is written %d times", i, size, n)
			}
		}
	})
}

// The parts of what is left are neither small nor large, and all of it.
func TestPartsAreOfAUsefulSize(t *testing.T) {
	for left := int64(1); left < 1<<40; left = left*3/2 + 1 {
		for bodies := 1; bodies <= maxBodies; bodies++ {
			l := layout{size: left}
			if n := l.partOf(bodies); n > maxPart || n < minPart && n != left || left-n > 0 && left-n < minPart && n < maxPart {
				t.Errorf("%d of %d for %d bodies", n, left, bodies)
			}
		}
	}
}
