package login

import (
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"
)

const (
	maxAddresses = 4096 // whose attempts are counted; who tried longest ago is forgotten
	retryAfter   = "30"
	tooMany      = "there were too many attempts: try again in half a minute"
)

// The rates of attempts that cost something: to guess a password, or to have the provider asked.
const (
	ofOne, burstOfOne = rate.Limit(10.0 / 60), 10 // of an address, or of a network of IPv6 (/64)
	ofAll, burstOfAll = rate.Limit(4), 40         // of all together
)

// attempts bounds how often logins are tried.
type attempts struct {
	now func() time.Time

	mu  sync.Mutex
	all *rate.Limiter
	of  *simplelru.LRU[netip.Prefix, *rate.Limiter]
}

func newAttempts(now func() time.Time) *attempts {
	of, err := simplelru.NewLRU[netip.Prefix, *rate.Limiter](maxAddresses, nil)
	if err != nil {
		panic(err) // the size is positive
	}
	return &attempts{now: now, all: rate.NewLimiter(ofAll, burstOfAll), of: of}
}

// allow counts an attempt of a client, as host:port. Who is over its own rate takes nothing
// of what all have.
func (a *attempts) allow(client string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	key, now := network(client), a.now()
	one, ok := a.of.Get(key)
	if !ok {
		one = rate.NewLimiter(ofOne, burstOfOne)
		a.of.Add(key, one)
	}
	return one.AllowN(now, 1) && a.all.AllowN(now, 1)
}

// may reports whether a client is not over its own rate, and counts nothing.
func (a *attempts) may(client string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	one, ok := a.of.Peek(network(client))
	return !ok || one.TokensAt(a.now()) >= 1
}

// network is what counts as one client, an address or host:port; the zero Prefix is for who has
// no address.
func network(client string) netip.Prefix {
	ip, err := netip.ParseAddr(client)
	if err != nil {
		at, err := netip.ParseAddrPort(client)
		if err != nil {
			return netip.Prefix{}
		}
		ip = at.Addr()
	}
	bits := 32
	ip = ip.Unmap().WithZone("")
	if ip.Is6() {
		bits = 64
	}
	p, _ := ip.Prefix(bits)
	return p
}
