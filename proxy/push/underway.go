package push

import (
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/opencontainers/go-digest"
)

// Underway are the pushes of manifests that clients wait for, and when those that came
// through this edge ended last: Harbor's word of them is late. Safe for concurrent use.
type Underway struct {
	now   func() time.Time
	ended *lru.Cache[named, time.Time]

	mu  sync.Mutex
	all map[named]int
}

// named is a manifest under a tag, or under none.
type named struct {
	repo, tag string
	digest    digest.Digest
}

const maxEnded = 1 << 12

// NewUnderway returns one with no push.
func NewUnderway(now func() time.Time) *Underway {
	ended, _ := lru.New[named, time.Time](maxEnded) // the size is positive: no error
	return &Underway{now: now, ended: ended, all: map[named]int{}}
}

// Begin notes a push, under its tag and under none, until end is called.
func (u *Underway) Begin(repo, tag string, d digest.Digest) (end func()) {
	names := []named{{repo, "", d}}
	if tag != "" {
		names = append(names, named{repo, tag, d})
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, n := range names {
		u.all[n]++
	}
	return func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		for _, n := range names {
			if u.all[n]--; u.all[n] == 0 {
				delete(u.all, n)
			}
			u.ended.Add(n, u.now())
		}
	}
}

// Has reports whether a client waits for such a push; tag "": under whatever tag.
func (u *Underway) Has(repo, tag string, d digest.Digest) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.all[named{repo, tag, d}] > 0
}

// Had reports whether what Harbor took at a time is a push that came through this edge.
func (u *Underway) Had(repo, tag string, d digest.Digest, at time.Time) bool {
	ended, ok := u.ended.Peek(named{repo, tag, d})
	return ok && !at.After(ended)
}
