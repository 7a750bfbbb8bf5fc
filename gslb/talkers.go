package gslb

import (
	"cmp"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	talkerSamples = 1000 // a second, about: of more queries one in some is looked at
	talkerMinutes = 5    // that are remembered
	talkerPlaces  = 256  // networks, or what they got, of one minute
	talkersShown  = 10
)

// Talkers are the networks that ask most, and what they get. Numbers are estimates from
// samples, and rather too low: what may be another network's is not counted.
type Talkers struct {
	Since    time.Time `json:"since"`
	Queries  int64     `json:"queries"`  // of all clients
	Networks []Talker  `json:"networks"` // who ask most, ten at most
	Answers  []Talker  `json:"answers"`  // what is answered most to a network, ten at most
}

// Talker is a client's network, and in Answers what it gets.
type Talker struct {
	Network    netip.Prefix `json:"network"` // /24 or /56: of the client subnet where it decides, else of who asks
	Queries    int64        `json:"queries"`
	Datacenter string       `json:"datacenter,omitempty"`
	Tier       string       `json:"tier,omitempty"`
	Rcode      string       `json:"rcode,omitempty"`
	Limited    string       `json:"limited,omitempty"` // by the rate limit: slipped, dropped
}

// talk is a network and what it got.
type talk struct {
	network          netip.Prefix
	datacenter, tier string
	rcode            int
	how              ruling
}

// talkers remember who asks, in memory that is fixed and with work that is: beyond so many a
// second only samples are looked at.
type talkers struct {
	now   func() time.Time
	oneIn atomic.Uint32 // of how many queries one is looked at

	mu      sync.Mutex
	began   time.Time // when what is taken was begun to be counted
	taken   int
	minutes [talkerMinutes]talkerMinute
}

// talkerMinute is who asked in one minute.
type talkerMinute struct {
	at       int64 // minutes since 1970
	queries  int64
	networks sketch[netip.Prefix]
	answers  sketch[talk]
}

func newTalkers(now func() time.Time) *talkers {
	t := &talkers{now: now, began: now()}
	t.oneIn.Store(1)
	return t
}

// samples says for how many the next query stands; 0: it is not looked at.
func (t *talkers) samples() uint32 {
	n := t.oneIn.Load()
	if n > 1 && rand.Uint32N(n) != 0 {
		return 0
	}
	return n
}

// add counts a query that stands for n.
func (t *talkers) add(of talk, n uint32) {
	now := t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.adapt(now)
	m := &t.minutes[now.Unix()/60%talkerMinutes]
	if at := now.Unix() / 60; m.at != at {
		*m = talkerMinute{at: at}
	}
	m.queries += int64(n)
	m.networks.add(of.network, int64(n))
	m.answers.add(of, int64(n))
}

// adapt chooses the samples by how many queries there were. The lock is held.
func (t *talkers) adapt(now time.Time) {
	t.taken++
	n := t.oneIn.Load()
	switch since := now.Sub(t.began); {
	case since >= time.Second || since < 0:
		each := float64(t.taken) * float64(n) / max(1, since.Seconds()) / talkerSamples
		t.oneIn.Store(uint32(min(max(1, each), 1<<20)))
		t.taken, t.began = 0, now
	case t.taken >= talkerSamples && n < 1<<20: // there are more of a sudden
		t.oneIn.Store(2 * n)
		t.taken /= 2
	}
}

// report says who asked most in the last minutes.
func (t *talkers) report() Talkers {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now().Unix() / 60
	r := Talkers{Since: time.Unix((now-talkerMinutes+1)*60, 0), Networks: []Talker{}, Answers: []Talker{}}
	networks, answers := map[netip.Prefix]int64{}, map[talk]int64{}
	for i := range t.minutes {
		if m := &t.minutes[i]; m.at > now-talkerMinutes && m.at <= now {
			r.Queries += m.queries
			m.networks.into(networks)
			m.answers.into(answers)
		}
	}
	for network, queries := range networks {
		r.Networks = append(r.Networks, Talker{Network: network, Queries: queries})
	}
	for of, queries := range answers {
		r.Answers = append(r.Answers, Talker{of.network, queries, of.datacenter, of.tier, rcodeName(of.rcode), of.how.text()})
	}
	r.Networks, r.Answers = most(r.Networks), most(r.Answers)
	return r
}

// most are those with the most queries; of equal ones always the same.
func most(all []Talker) []Talker {
	slices.SortFunc(all, func(a, b Talker) int {
		return cmp.Or(cmp.Compare(b.Queries, a.Queries), a.Network.Addr().Compare(b.Network.Addr()), cmp.Compare(a.Network.Bits(), b.Network.Bits()),
			cmp.Compare(a.Datacenter+a.Tier+a.Rcode+a.Limited, b.Datacenter+b.Tier+b.Rcode+b.Limited))
	})
	return all[:min(len(all), talkersShown)]
}

// sketch counts keys in a fixed number of places: one that has none takes the place of the
// least, and its count as what may be too much. Whoever has a larger share than one of the
// places has one (Space-Saving: Metwally, Agrawal and El Abbadi, "Efficient computation of
// frequent and top-k elements in data streams", 2005).
type sketch[K comparable] struct {
	at     map[K]int
	places []place[K]
}

type place[K comparable] struct {
	key   K
	count int64
	over  int64 // of count: what may be others'
}

func (s *sketch[K]) add(key K, n int64) {
	if i, ok := s.at[key]; ok {
		s.places[i].count += n
		return
	}
	if s.at == nil {
		s.at = map[K]int{}
	}
	if len(s.places) < talkerPlaces {
		s.at[key] = len(s.places)
		s.places = append(s.places, place[K]{key: key, count: n})
		return
	}
	least := 0
	for i := range s.places {
		if s.places[i].count < s.places[least].count {
			least = i
		}
	}
	p := &s.places[least]
	delete(s.at, p.key)
	s.at[key] = least
	*p = place[K]{key: key, count: p.count + n, over: p.count}
}

// into adds what is surely each key's.
func (s *sketch[K]) into(all map[K]int64) {
	for _, p := range s.places {
		all[p.key] += p.count - p.over
	}
}
