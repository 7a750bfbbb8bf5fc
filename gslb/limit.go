package gslb

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// kind is what a response is to the rate limit: a flood of one kind does not
// take away the others.
type kind byte

const (
	kindAnswer kind = iota
	kindNodata
	kindNXDOMAIN
	kindError
)

// ruling is what the rate limit says of a response.
type ruling int

const (
	send    ruling = iota
	slip           // say only that it is to be asked over TCP: who is real gets its answer there
	discard        // say nothing: who asked may not be who it says
)

const (
	limitSets = 4096
	limitWays = 4
)

// limiter bounds the responses over UDP to a client's network (/24, /56), where
// the sender of a flood may not be who it says. Its memory is fixed: of those that
// share a place, who was sent least is forgotten first, so a flood from many
// networks makes it forget the quiet ones, and never answer less.
type limiter struct {
	rate int // responses a second for a network and kind, and as many at once
	now  func() time.Time
	seed maphash.Seed
	sets [limitSets]limitSet
}

type limitSet struct {
	mu   sync.Mutex
	ways [limitWays]flow
}

// flow is one network's responses of one kind.
type flow struct {
	key  uint64
	due  int64 // when all that was sent would have been sent at the rate, in Unix nanoseconds
	held uint64
}

func newLimiter(rate int, now func() time.Time) *limiter {
	return &limiter{rate: rate, now: now, seed: maphash.MakeSeed()}
}

// rule counts a response. Every second one over the rate slips.
func (l *limiter) rule(from netip.Addr, k kind) ruling {
	key := l.key(from, k)
	now := l.now().UnixNano()
	each := int64(time.Second) / int64(l.rate)

	set := &l.sets[key%limitSets]
	set.mu.Lock()
	defer set.mu.Unlock()
	f := set.find(key)
	if f.due = max(f.due, now); f.due-now > int64(time.Second)-each {
		f.held++
		if f.held%2 == 0 {
			return slip
		}
		return discard
	}
	f.due += each
	return send
}

// find is the key's flow; a new one in the place of who was sent least.
func (s *limitSet) find(key uint64) *flow {
	least := &s.ways[0]
	for i := range s.ways {
		f := &s.ways[i]
		if f.key == key {
			return f
		}
		if f.due < least.due {
			least = f
		}
	}
	*least = flow{key: key}
	return least
}

func (l *limiter) key(from netip.Addr, k kind) uint64 {
	of, key := network(from).As16(), [17]byte{16: byte(k)}
	copy(key[:], of[:])
	return maphash.Bytes(l.seed, key[:])
}

// network is what stands for a client: its /24 or /56.
func network(from netip.Addr) netip.Addr {
	bits := 56
	if from.Is4() {
		bits = 24
	}
	p, _ := from.Prefix(bits) // fails only for an address of neither family
	return p.Addr()
}
