package access

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const (
	maxGrants    = 1 << 16
	maxGrantsOne = 1 << 10 // of one credential: who asks for ever more repos forgets its own
)

// recent has the grants of this process, by key. It is safe for concurrent use.
type recent struct {
	forgotten func(key string) // is told of what a credential has too many of

	mu  sync.Mutex
	all *simplelru.LRU[string, granted]
	of  map[string]*simplelru.LRU[string, struct{}] // the keys of each credential
}

// granted is when Harbor granted something, and to whom.
type granted struct {
	at     time.Time
	client string
}

func newRecent(forgotten func(key string)) *recent {
	r := &recent{forgotten: forgotten, of: map[string]*simplelru.LRU[string, struct{}]{}}
	r.all, _ = simplelru.NewLRU(maxGrants, func(key string, g granted) { // the sizes are positive: no error
		keys := r.of[g.client]
		if keys.Remove(key); keys.Len() == 0 {
			delete(r.of, g.client)
		}
	})
	return r
}

func (r *recent) get(key string) (time.Time, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	g, ok := r.all.Get(key)
	return g.at, ok
}

// add remembers a grant. Of a credential that has too many, the one that was added first goes.
func (r *recent) add(client, key string, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	keys := r.of[client]
	if keys == nil {
		keys, _ = simplelru.NewLRU[string, struct{}](maxGrantsOne, nil)
		r.of[client] = keys
	}
	if !keys.Contains(key) && keys.Len() == maxGrantsOne {
		oldest, _, _ := keys.GetOldest()
		r.all.Remove(oldest)
		r.forgotten(oldest)
	}
	keys.Add(key, struct{}{})
	r.all.Add(key, granted{at, client})
}

func (r *recent) remove(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all.Remove(key)
}
