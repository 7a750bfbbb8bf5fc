package store

import (
	"math/rand/v2"
	"testing"
)

// FuzzLayout has a lead and parts bring a blob in any order, break off anywhere and be taken by
// others: each byte is written once, and the prefix never says more than is there.
func FuzzLayout(f *testing.F) {
	for seed := range uint64(200) {
		f.Add(seed, uint16(3000))
	}
	f.Add(uint64(1), uint16(0))
	f.Add(uint64(1), uint16(1))
	f.Fuzz(func(t *testing.T, seed uint64, length uint16) {
		random := rand.New(rand.NewPCG(seed, 3))
		size := int64(length)
		written := make([]int, size)
		var l layout
		lead := l.whole(unbounded)
		l.resize(lead, size)
		var parts []*piece
		bring := func(p *piece) { bringSome(&l, p, p == lead, written, random) }
		for step := 0; l.prefix() < size; step++ {
			if step > 100*int(size)+1000 {
				t.Fatalf("it does not end: %d of %d", l.prefix(), size)
			}
			switch random.IntN(7) {
			case 0:
				if size > 2 {
					l.split(lead, lead.at+1+random.Int64N(size))
				}
			case 1, 2:
				if p := l.take(1 + random.Int64N(size/4+1)); p != nil {
					parts = append(parts, p)
				}
			case 3:
				if len(parts) > 0 {
					at := random.IntN(len(parts))
					if p := parts[at]; !p.lost && p.at < p.end {
						l.release(p)
					}
					parts = append(parts[:at], parts[at+1:]...)
				}
			case 4:
				if len(parts) > 0 {
					bring(parts[random.IntN(len(parts))])
				}
			default:
				lead = goOnWith(&l, lead, random)
				bring(lead)
			}
			for i := range l.prefix() {
				if written[i] != 1 {
					t.Fatalf("byte %d of the prefix %d is written %d times", i, l.prefix(), written[i])
				}
			}
		}
		for i, n := range written {
			if n != 1 {
				t.Fatalf("byte %d of %d is written %d times", i, size, n)
			}
		}
	})
}

// bringSome has who brings a piece write some of it. A part begins to write before it has.
func bringSome(l *layout, p *piece, isLead bool, written []int, random *rand.Rand) {
	if p.lost && !p.begun || p.at == p.end { // who has begun to write does not look again
		return
	}
	if !p.begun && !isLead { // it is written later
		p.begun = true
		return
	}
	n := 1 + random.Int64N(min(p.end-p.at, l.size/30+1))
	p.begun = true
	for i := range n {
		written[p.at+i]++
	}
	l.came(p, n)
}

// goOnWith is what the lead brings next.
func goOnWith(l *layout, lead *piece, random *rand.Rand) *piece {
	if lead.at < lead.end {
		return lead
	}
	reach := l.size
	if random.IntN(2) == 0 {
		reach = min(l.size, lead.end+random.Int64N(100))
	}
	p, _ := l.extend(lead, reach, 1+random.Int64N(50))
	if p == nil {
		p = l.take(1 + random.Int64N(50))
	}
	if p == nil {
		return lead
	}
	return p
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
