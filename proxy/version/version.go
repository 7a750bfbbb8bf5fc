// Package version knows which state of a reference is newer. Every push and delete that
// an edge acknowledges gets a version: a hybrid logical clock's time and the datacenter.
// The ledger keeps the newest version of each reference, what this edge acknowledged and
// what other edges announced, and writes it to disk before anybody hears of it. What a
// Harbor merely has is no version.
package version

import (
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

// Version orders what happened to a reference anywhere in the fleet. The zero Version is
// older than every other.
type Version struct {
	Time       int64  `json:"t"` // of a hybrid logical clock: ms since 1970, shifted left by counterBits, and a counter
	Datacenter string `json:"dc"`
}

const counterBits = 16

// Newer reports whether v is newer than the other. At equal times the datacenter's name
// decides, so that every edge decides alike.
func (v Version) Newer(other Version) bool {
	if v.Time != other.Time {
		return v.Time > other.Time
	}
	return v.Datacenter > other.Datacenter
}

// String is the version as headers and logs have it: time@datacenter.
func (v Version) String() string { return strconv.FormatInt(v.Time, 16) + "@" + v.Datacenter }

// At is when that was, by the clock of the edge that made the version.
func (v Version) At() time.Time { return time.UnixMilli(v.Time >> counterBits) }

// valid bounds what another edge may say.
func (v Version) valid() bool { return v.Time > 0 && v.Time < maxTime && v.Datacenter != "" }

// before reports whether it is from before a time of the wall clock.
func (v Version) before(t time.Time) bool { return v.Time>>counterBits < t.UnixMilli() }

// maxAhead bounds, in ms, how far a clock is followed: what is more is broken.
const maxAhead = 15 * 60_000

// lateAfter is, in ms, longer than an edge waits for the answer to an announcement.
const lateAfter = 7_000

// maxTime leaves room for what follows: a version from the year 6000 is a fault.
const maxTime = int64(1) << 62

// clock is a hybrid logical clock (Kulkarni and others, 2014): never behind what it has
// seen, so that skewed clocks cannot make a later write an earlier version. It runs with
// the wall clock that is ahead most of those of the edges that it has heard of: where
// edges reach each other, what is later is newer also where they have not heard of it yet.
type clock struct {
	datacenter string
	now        func() time.Time

	mu    sync.Mutex
	last  int64
	ahead int64 // ms that another edge's clock is ahead of the wall clock here
}

// next returns a version that is newer than all that this edge has seen.
func (c *clock) next() Version {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = max((c.now().UnixMilli()+c.ahead)<<counterBits, c.last+1)
	return Version{c.last, c.datacenter}
}

// saw takes note of another edge's version.
func (c *clock) saw(v Version) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = max(c.last, v.Time)
}

// hear takes note of what another edge's clock says now.
func (c *clock) hear(t int64) {
	c.saw(Version{Time: t})
	c.mu.Lock()
	defer c.mu.Unlock()
	if ahead := t>>counterBits - c.now().UnixMilli(); ahead < maxAhead {
		c.ahead = max(c.ahead, ahead)
	}
}

// Key is what has versions: a tag, a digest that was deleted, or one that was pushed again.
type Key struct{ Repo, Reference string }

// Buried is the key of the last delete of a digest, Revived that of the last push that
// came after one. Each has versions of its own, so that neither order of hearing of them
// loses one.
func Buried(repo string, d digest.Digest) Key { return Key{repo, d.String()} }

// Revived is the key of the last push of a digest that had been deleted.
func Revived(repo string, d digest.Digest) Key { return Key{repo, revived + d.String()} }

const revived = "@"

// String is the key in state.
func (k Key) String() string { return k.Repo + "\x00" + k.Reference }

// IsTag reports whether the key is a tag. A tag has no colon in it.
func (k Key) IsTag() bool { return !strings.Contains(k.Reference, ":") }

// Digest is the digest that the key is about, "" for a tag.
func (k Key) Digest() digest.Digest {
	if k.IsTag() {
		return ""
	}
	return digest.Digest(strings.TrimPrefix(k.Reference, revived))
}

// valid bounds what another edge may say.
func (k Key) valid() bool { return k.IsTag() || k.Digest().Validate() == nil }

// Knew is what an edge knew of a reference: the newest version from each datacenter.
// Clocks may be wrong by minutes: of two versions the one whose edge knew the other is
// newer, whatever their times.
type Knew map[string]int64

// Has reports whether a version was known.
func (k Knew) Has(v Version) bool { return v == (Version{}) || k[v.Datacenter] >= v.Time }

// covers reports whether all of the other was known.
func (k Knew) covers(other Knew) bool {
	for datacenter, t := range other {
		if !k.Has(Version{t, datacenter}) {
			return false
		}
	}
	return true
}

// And returns what is known by knowing all of them.
func (k Knew) And(others ...Knew) Knew {
	all := maps.Clone(k)
	if all == nil {
		all = Knew{}
	}
	for _, other := range others {
		for datacenter, t := range other {
			all[datacenter] = max(all[datacenter], t)
		}
	}
	return all
}

// Record is what a reference is since a version.
type Record struct {
	Digest    digest.Digest `json:"d,omitempty"` // "": it was deleted (a tombstone)
	MediaType string        `json:"m,omitempty"`
	Version   Version       `json:"v"`

	// Knew is what the edge that made the version knew of the tag before; of a deleted
	// digest, which pushes of it: those were deleted.
	Knew Knew `json:"k,omitempty"`
	// Root is of a version that only confirms an earlier one: that one.
	Root Version `json:"r,omitzero"`
	// After is the last delete of the digest that was known when it was pushed. Blind is
	// of a delete of what had no version where it was deleted.
	After Version `json:"a,omitzero"`
	Blind bool    `json:"bl,omitempty"`
	// Adopted is of a push that went past the edges: the edge found it at its Harbor.
	Adopted bool `json:"ad,omitempty"`
	// Claimed, of an edge's answer: it has only heard of it.
	Claimed bool `json:"cl,omitempty"`
	// Heard is when this edge wrote it down, in ms since 1970 by its own wall clock.
	Heard int64 `json:"h,omitempty"`
}

// At is when this edge heard of it, by its own clock.
func (r Record) At() time.Time { return time.UnixMilli(r.Heard) }

// Age is how long ago that was.
func (r Record) Age(now time.Time) time.Duration { return now.Sub(r.At()) }

// Deleted reports whether the record is a tombstone.
func (r Record) Deleted() bool { return r.Digest == "" }

// Known reports whether there is a record at all.
func (r Record) Known() bool { return r.Version != (Version{}) }

// root is the version of the push or delete itself.
func (r Record) root() Version {
	if r.Root != (Version{}) {
		return r.Root
	}
	return r.Version
}

// all is what is known by knowing the record.
func (r Record) all() Knew {
	k := r.Knew.And()
	for _, v := range []Version{r.Version, r.root()} {
		if v.Datacenter != "" {
			k[v.Datacenter] = max(k[v.Datacenter], v.Time)
		}
	}
	return k
}

// follows reports whether the edge that made r knew the other.
func (r Record) follows(other Record) bool {
	return r.root() != other.root() && r.Knew.Has(other.root())
}

// Mark is the record as edges have it in headers (JSON), and ParseMark its inverse.
func (r Record) Mark() string {
	text, _ := json.Marshal(r) // strings and numbers: no error
	return string(text)
}

// ParseMark reads a Mark. Its error says that it is none.
func ParseMark(s string) (r Record, err error) {
	if err = json.Unmarshal([]byte(s), &r); err == nil && !r.Version.valid() {
		err = fmt.Errorf("%.80q is no version", s)
	}
	if err != nil {
		return Record{}, err
	}
	return r, nil
}
