package state

import (
	"context"
	"encoding/json"
	"maps"
	"time"

	bolt "go.etcd.io/bbolt"
)

const (
	tagBucket    = "tags"    // repo NUL reference → record
	memberBucket = "members" // repo NUL digest → when it was last seen, in s, and in which project
	grantBucket  = "grants"  // a keyed hash → when Harbor last granted it, in s
	listBucket   = "lists"   // repo NUL → its tags; repo NUL digest → the manifest's referrers

	flushEvery  = time.Second
	forgetAfter = 90 * 24 * time.Hour // what nobody has asked about for so long
)

// maxChanges bounds what waits, by bucket, for a disk that does not take it.
const maxChanges = 1 << 17

func buckets() []string { return []string{tagBucket, memberBucket, grantBucket, listBucket} }

// changes are values by bucket and key; nil is to be removed.
type changes map[string]map[string][]byte

func noChanges() changes {
	all := changes{}
	for _, name := range buckets() {
		all[name] = map[string][]byte{}
	}
	return all
}

// record is a value on disk, as JSON.
type record struct {
	Digest    string `json:"d"`
	MediaType string `json:"t"`
	Source    string `json:"s"`
	Checked   int64  `json:"c"` // s

	Project   int64             `json:"p,omitempty"` // of memberBucket
	Tags      []string          `json:"l,omitempty"` // of listBucket: the repo's
	Referrers []json.RawMessage `json:"r,omitempty"` // of listBucket: the manifest's
}

// write saves what has changed, once a second at most.
func (s *DB) write(ctx context.Context) {
	defer close(s.done)
	s.forget()
	for {
		select {
		case <-s.wake:
		case <-ctx.Done():
			s.flush()
			return
		}
		timer := time.NewTimer(flushEvery)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
		s.flush()
	}
}

// flush saves what has changed. What the disk does not take is kept for the next
// time, so that a removal is not lost.
func (s *DB) flush() {
	s.mu.Lock()
	s.writing, s.pending = s.pending, noChanges()
	s.mu.Unlock()
	err := s.db.Update(func(tx *bolt.Tx) error {
		for name, keys := range s.writing { // nobody else changes it
			bucket := tx.Bucket([]byte(name))
			for key, value := range keys {
				if err := change(bucket, key, value); err != nil {
					return err
				}
			}
		}
		return nil
	})
	s.mu.Lock()
	if err != nil {
		for name, keys := range s.pending {
			maps.Copy(s.writing[name], keys)
		}
		s.pending = s.writing
	}
	s.writing = noChanges()
	s.mu.Unlock()
	if (err != nil) != s.failed {
		s.failed = err != nil
		if s.failed {
			s.log.Warn("the state file cannot be written; a restart will forget what is new", "err", err.Error())
		}
	}
}

func change(bucket *bolt.Bucket, key string, value []byte) error {
	if value == nil {
		return bucket.Delete([]byte(key))
	}
	return bucket.Put([]byte(key), value)
}

// forget removes what is old: the file does not grow for ever.
func (s *DB) forget() {
	oldest := time.Now().Add(-forgetAfter).Unix()
	err := s.db.Update(func(tx *bolt.Tx) error {
		for _, name := range buckets() {
			c := tx.Bucket([]byte(name)).Cursor()
			for key, value := c.First(); key != nil; key, value = c.Next() {
				var r record
				if json.Unmarshal(value, &r) != nil || r.Checked < oldest {
					if err := c.Delete(); err != nil {
						return err
					}
				}
			}
		}
		return nil
	})
	if err != nil {
		s.log.Warn("old records could not be removed from the state file", "err", err.Error())
	}
}

func (s *DB) put(bucket, key string, value *record) {
	var text []byte
	if value != nil {
		text, _ = json.Marshal(value) // strings and numbers: no error
	}
	s.mu.Lock()
	if text == nil || len(s.pending[bucket]) < maxChanges {
		s.pending[bucket][key] = text
	}
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *DB) get(bucket, key string) (r record, ok bool) {
	s.mu.Lock()
	text, waits := s.pending[bucket][key]
	if !waits {
		text, waits = s.writing[bucket][key]
	}
	s.mu.Unlock()
	if !waits {
		err := s.db.View(func(tx *bolt.Tx) error {
			text = append([]byte(nil), tx.Bucket([]byte(bucket)).Get([]byte(key))...)
			return nil
		})
		if err != nil {
			return r, false
		}
	}
	return r, len(text) > 0 && json.Unmarshal(text, &r) == nil
}
