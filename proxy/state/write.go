package state

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"math"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

const (
	tagBucket     = "tags"     // repo NUL reference → record
	memberBucket  = "members"  // repo NUL digest → when it was last seen, in s, and in which project
	grantBucket   = "grants"   // a keyed hash → when Harbor last granted it, in s
	listBucket    = "lists"    // repo NUL → its tags; repo NUL digest → the manifest's referrers
	keptBucket    = "kept"     // repo NUL reference → record of what stays, whatever its age
	projectBucket = "projects" // a project's name → its id, and when Harbor last said it, in s
	touchBucket   = "touches"  // a pull → what package touch knows of it

	flushEvery  = time.Second
	forgetAfter = 90 * 24 * time.Hour // what nobody has asked about for so long
)

// most is how many bytes of keys and values a bucket may have on disk. Beyond that the
// oldest tenth goes: clients choose what is remembered.
var most = map[string]int64{tagBucket: 64 << 20, memberBucket: 256 << 20, grantBucket: 8 << 20, listBucket: 64 << 20, projectBucket: 2 << 20, touchBucket: 64 << 20, keptBucket: 16 << 20}

const (
	maxRecord  = 1 << 20  // bytes of one value; a larger one is not remembered
	maxWaiting = 64 << 20 // bytes of all that waits for a disk that does not take it
	maxBatch   = 4096     // changes that are written at once: a push waits meanwhile
	keyCost    = 64       // bytes that a change takes in memory beside its key and its value
)

func buckets() []string {
	return []string{tagBucket, memberBucket, grantBucket, listBucket, projectBucket, touchBucket, keptBucket}
}

// record is a value on disk, as JSON.
type record struct {
	Digest    string `json:"d,omitempty"`
	MediaType string `json:"t,omitempty"`
	Source    string `json:"s,omitempty"`
	Checked   int64  `json:"c"` // s

	Project   int64             `json:"p,omitempty"` // the id of the repo's; of projectBucket, the project's
	Created   int64             `json:"m,omitempty"` // of projectBucket: when it was made, in ms
	Since     int64             `json:"n,omitempty"` // of projectBucket: when it was made again, in ms
	Gone      int64             `json:"g,omitempty"` // of keptBucket: when its upstream was first heard to have deleted it, in ms
	Tags      []string          `json:"l,omitempty"` // of listBucket: the repo's
	Referrers []json.RawMessage `json:"r,omitempty"` // of listBucket: the manifest's
	Touch     json.RawMessage   `json:"u,omitempty"` // of touchBucket
}

// write saves what has changed, once a second at most.
func (s *DB) write(ctx context.Context) {
	defer close(s.done)
	s.forget()
	for {
		select {
		case <-s.wake:
		case <-ctx.Done():
			s.flush() //nolint:errcheck // it is logged
			return
		}
		timer := time.NewTimer(flushEvery)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
		s.flush() //nolint:errcheck // it is logged, and tried again
	}
}

// forget removes what is old: the file does not grow for ever.
func (s *DB) forget() {
	s.saving.Lock()
	defer s.saving.Unlock()
	oldest, keeps := time.Now().Add(-forgetAfter).Unix(), map[string]bool{}
	s.each(keptBucket, nil, func(key, _ []byte) bool {
		keeps[repoOf(string(key))] = true
		return true
	})
	for _, name := range buckets() {
		stays := func([]byte) bool { return name == keptBucket }
		if name == memberBucket { // what stays has blobs
			stays = func(key []byte) bool { return keeps[repoOf(string(key))] }
		}
		if err := s.forgetBefore(name, oldest, stays); err != nil {
			s.log.Warn("old records could not be removed from the state file", "err", err.Error())
			return
		}
	}
}

// forgetBefore removes the records of a bucket that were last seen before a time, in s, but for
// those that stay, and counts how many bytes are left.
func (s *DB) forgetBefore(name string, oldest int64, stays func(key []byte) bool) error {
	left := int64(0)
	for next := []byte{}; next != nil; {
		var old []string
		next = s.each(name, next, func(key, value []byte) bool {
			if seenAt(value) < oldest && !stays(key) {
				old = append(old, string(key))
			} else {
				left += sizeOf(key, value)
			}
			return len(old) < maxBatch
		})
		if err := s.saveBatch(name, old, nil); err != nil {
			return err
		}
	}
	s.size[name] = left
	return nil
}

// each calls do with the records of a bucket from a key on, as long as it returns true, and
// returns the key that comes next; nil: there is none.
func (s *DB) each(name string, from []byte, do func(key, value []byte) bool) (next []byte) {
	s.db.View(func(tx *bolt.Tx) error { //nolint:errcheck // reading fails on a closed file alone
		c, goes := tx.Bucket([]byte(name)).Cursor(), true
		for key, value := c.Seek(from); key != nil; key, value = c.Next() {
			if !goes {
				next = bytes.Clone(key)
				break
			}
			goes = do(key, value)
		}
		return nil
	})
	return next
}

// bound removes the oldest tenth of a bucket that has grown too large.
func (s *DB) bound(name string) error {
	goes := s.size[name] - most[name]
	if goes <= 0 {
		return nil
	}
	type seen struct{ at, bytes int64 }
	var all []seen
	s.each(name, nil, func(key, value []byte) bool {
		all = append(all, seen{seenAt(value), sizeOf(key, value)})
		return true
	})
	slices.SortFunc(all, func(a, b seen) int { return cmp.Compare(a.at, b.at) })
	oldest := int64(math.MinInt64)
	goes += most[name] / 10
	for _, r := range all {
		if goes <= 0 {
			break
		}
		oldest, goes = r.at+1, goes-r.bytes
	}
	return s.forgetBefore(name, oldest, func([]byte) bool { return false })
}

// seenAt is when a record was last seen, in s; what is no record is older than all.
func seenAt(value []byte) int64 {
	var r struct {
		Checked int64 `json:"c"`
	}
	if json.Unmarshal(value, &r) != nil {
		return math.MinInt64
	}
	return r.Checked
}

func sizeOf(key, value []byte) int64 { return int64(len(key) + len(value)) }
