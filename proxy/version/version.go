// Package version knows which state of a reference is newer. Every push and delete that
// an edge acknowledges gets a version: a hybrid logical clock's time and the datacenter.
// The ledger keeps the newest version of each reference, what this edge acknowledged and
// what other edges announced, and writes it to disk before anybody hears of it. What a
// Harbor merely has is no version.
package version

import (
	"fmt"
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

// At is when it happened, by the clock of the edge that acknowledged it, or a little later.
func (v Version) At() time.Time { return time.UnixMilli(v.Time >> counterBits) }

// valid bounds what another edge may say.
func (v Version) valid() bool { return v.Time > 0 && v.Time < maxTime && v.Datacenter != "" }

// maxTime leaves room for what follows: a version from the year 6000 is a fault.
const maxTime = int64(1) << 62

// Parse is the inverse of String.
func Parse(s string) (Version, error) {
	text, datacenter, _ := strings.Cut(s, "@")
	t, err := strconv.ParseInt(text, 16, 64)
	v := Version{t, datacenter}
	if err != nil || !v.valid() {
		return Version{}, fmt.Errorf("%.80q is no version", s)
	}
	return v, nil
}

// clock is a hybrid logical clock (Kulkarni and others, 2014): it runs with the wall
// clock, and never behind what it has seen, so that skewed clocks cannot make a later
// write an earlier version.
type clock struct {
	datacenter string
	now        func() time.Time

	mu   sync.Mutex
	last int64
}

// next returns a version that is newer than all that this edge has seen.
func (c *clock) next() Version {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = max(c.now().UnixMilli()<<counterBits, c.last+1)
	return Version{c.last, c.datacenter}
}

// saw takes note of another edge's version.
func (c *clock) saw(v Version) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = max(c.last, v.Time)
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

// Record is what a reference is since a version.
type Record struct {
	Digest    digest.Digest `json:"d"` // "": it was deleted (a tombstone)
	MediaType string        `json:"m,omitempty"`
	Version   Version       `json:"v"`

	// Clocks may be wrong by minutes, so what the edge knew that made the version says more
	// than the version's time. Over is, of a tag, the version that it replaced, and of a
	// deleted digest the newest version of a tag that was it: that is what was deleted.
	// After is the last delete of the digest before it was pushed. Blind is of a delete of
	// what had no version there.
	// Root is of a version that only confirmed an earlier one: that one.
	Over  Version `json:"o,omitzero"`
	Root  Version `json:"r,omitzero"`
	After Version `json:"a,omitzero"`
	Blind bool    `json:"bl,omitempty"`
}

// Mark is the record as the header of an answer has it, without its digest and type:
// "time@datacenter;over=…;after=…;root=…;blind".
func (r Record) Mark() string {
	text := r.Version.String()
	for _, part := range r.parts() {
		if *part.version != (Version{}) {
			text += ";" + part.name + "=" + part.version.String()
		}
	}
	if r.Blind {
		text += ";blind"
	}
	return text
}

type part struct {
	name    string
	version *Version
}

func (r *Record) parts() []part { return []part{{"over", &r.Over}, {"after", &r.After}, {"root", &r.Root}} }

// ParseMark is the inverse of Mark.
func ParseMark(s string) (r Record, err error) {
	text, rest, _ := strings.Cut(s, ";")
	if r.Version, err = Parse(text); err != nil {
		return Record{}, err
	}
	for field := range strings.SplitSeq(rest, ";") {
		name, value, _ := strings.Cut(field, "=")
		r.Blind = r.Blind || name == "blind"
		for _, part := range r.parts() {
			if part.name != name {
				continue
			}
			if *part.version, err = Parse(value); err != nil {
				return Record{}, err
			}
		}
	}
	return r, nil
}

// root is the version of the push or delete itself.
func (r Record) root() Version {
	if r.Root != (Version{}) {
		return r.Root
	}
	return r.Version
}

// Deleted reports whether the record is a tombstone.
func (r Record) Deleted() bool { return r.Digest == "" }

// Known reports whether there is a record at all.
func (r Record) Known() bool { return r.Version != (Version{}) }
