package push

import (
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/version"
)

const (
	maxDoubts  = 1 << 12
	doubtedFor = 10 * time.Minute
)

// Doubts are pushes of which nobody knows whether Harbor took them: its answer was lost. Safe
// for concurrent use.
type Doubts struct {
	now func() time.Time
	all *lru.Cache[doubt, doubted]
}

// doubt is a push to a tag.
type doubt struct {
	version.Key
	digest digest.Digest
}

type doubted struct {
	mediaType string
	begun     version.Begun
	until     time.Time
}

// NewDoubts returns none.
func NewDoubts(now func() time.Time) *Doubts {
	all, _ := lru.New[doubt, doubted](maxDoubts) // the size is positive: no error
	return &Doubts{now, all}
}

// Note remembers a push for a while.
func (d *Doubts) Note(p Pushed, mediaType string) {
	d.all.Add(doubt{version.Key{Repo: p.Repo, Reference: p.Reference}, p.Digest}, doubted{mediaType, p.Begun, d.now().Add(doubtedFor)})
}

// Of is what was pushed as a digest to a tag; ok is false where no such push is in doubt.
func (d *Doubts) Of(key version.Key, has digest.Digest) (mediaType string, b version.Begun, ok bool) {
	of, ok := d.all.Get(doubt{key, has})
	return of.mediaType, of.begun, ok && d.now().Before(of.until)
}
