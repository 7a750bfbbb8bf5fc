package state

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// changes are what is to be written to the file.
type changes struct {
	values map[string]map[string][]byte // by bucket and key; nil is to be removed
	bytes  int64                        // that they take in memory
	// lost are the buckets of which a removal could not be kept: all of such a bucket is
	// forgotten, so that nothing is remembered that was removed.
	lost map[string]bool
}

func noChanges() changes {
	c := changes{values: map[string]map[string][]byte{}, lost: map[string]bool{}}
	for _, name := range buckets() {
		c.values[name] = map[string][]byte{}
	}
	return c
}

// set notes a change; nil is a removal. It reports whether there was room for it.
func (c *changes) set(bucket, key string, value []byte) bool {
	before, known := c.values[bucket][key]
	more := int64(len(value) - len(before))
	if !known {
		more += int64(len(key)) + keyCost
	}
	if c.bytes+more > maxWaiting && more > 0 {
		return false
	}
	c.bytes += more
	c.values[bucket][key] = value
	return true
}

// put is set, and what has no room leaves nothing older behind: it is a removal then, or all of
// the bucket is lost.
func (c *changes) put(bucket, key string, value []byte) {
	if !c.set(bucket, key, value) && (value == nil || !c.set(bucket, key, nil)) {
		c.lose(bucket)
	}
}

// lose notes that what a bucket has on disk may not be remembered any more.
func (c *changes) lose(bucket string) {
	for key, value := range c.values[bucket] {
		c.bytes -= int64(len(key)+len(value)) + keyCost
	}
	c.values[bucket], c.lost[bucket] = map[string][]byte{}, true
}

// over returns these changes with later ones over them.
func (c changes) over(later changes) changes {
	all := noChanges()
	for _, part := range []changes{c, later} {
		for name := range part.lost {
			all.lose(name)
		}
		for name, keys := range part.values {
			for key, value := range keys {
				all.put(name, key, value)
			}
		}
	}
	return all
}

// Save writes what has changed, for who is told nothing before it is on disk. Its error says
// that the disk has not taken it yet.
func (s *DB) Save() error {
	if s == nil {
		return nil
	}
	return s.writes.Call(putPatience, s.flush)
}

// flush saves what has changed. What the disk does not take is kept for the next
// time, so that a removal is not lost.
func (s *DB) flush() error {
	s.saving.Lock()
	defer s.saving.Unlock()
	s.mu.Lock()
	s.writing, s.pending = s.pending, noChanges()
	writing := s.writing // nobody changes it any more
	s.mu.Unlock()
	err := s.save(writing)
	s.mu.Lock()
	if err != nil {
		s.pending = writing.over(s.pending)
	}
	s.writing = noChanges()
	s.mu.Unlock()
	if (err != nil) != s.failed {
		s.failed = err != nil
		if s.failed {
			s.log.Warn("the state file cannot be written; a restart will forget what is new", "err", err.Error())
		}
	}
	return err
}

// save writes changes, and keeps the buckets to their bounds.
func (s *DB) save(c changes) error {
	for _, name := range buckets() {
		if c.lost[name] {
			if err := s.clear(name); err != nil {
				return err
			}
		}
		for keys := range slices.Chunk(slices.Sorted(maps.Keys(c.values[name])), maxBatch) {
			if err := s.saveBatch(name, keys, c.values[name]); err != nil {
				return err
			}
		}
		if err := s.bound(name); err != nil {
			return err
		}
	}
	return nil
}

// clear forgets all of a bucket.
func (s *DB) clear(name string) error {
	err := s.db.Update(func(tx *bolt.Tx) error { return empty(tx, []byte(name)) })
	if err == nil {
		s.size[name] = 0
	}
	return err
}

// empty removes all that a bucket has.
func empty(tx *bolt.Tx, name []byte) error {
	if err := tx.DeleteBucket(name); err != nil {
		return err
	}
	_, err := tx.CreateBucket(name)
	return err
}

// saveBatch writes some keys' values; those without one are removed.
func (s *DB) saveBatch(name string, keys []string, values map[string][]byte) error {
	if len(keys) == 0 {
		return nil
	}
	grown := int64(0)
	err := s.db.Update(func(tx *bolt.Tx) error {
		bucket := tx.Bucket([]byte(name))
		for _, text := range keys {
			key, value := []byte(text), values[text]
			if before := bucket.Get(key); before != nil {
				grown -= sizeOf(key, before)
			}
			if value == nil {
				if err := bucket.Delete(key); err != nil {
					return err
				}
				continue
			}
			grown += sizeOf(key, value)
			if err := bucket.Put(key, value); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		s.size[name] += grown
	}
	return err
}

func (s *DB) put(bucket, key string, value *record) {
	var text []byte
	if value != nil {
		text, _ = json.Marshal(value) // strings and numbers: no error
	}
	s.mu.Lock()
	if len(text) > maxRecord { // what is there is not right any more
		text = nil
	}
	s.pending.put(bucket, key, text)
	s.mu.Unlock()
	s.poke()
}

// poke wakes the writer.
func (s *DB) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *DB) get(bucket, key string) (r record, ok bool) {
	s.mu.Lock()
	text, waits := s.pending.values[bucket][key]
	lost := s.pending.lost[bucket]
	if !waits && !lost {
		text, waits = s.writing.values[bucket][key]
		lost = s.writing.lost[bucket]
	}
	s.mu.Unlock()
	if !waits && !lost {
		text, _ = view(s, patience, func(tx *bolt.Tx) []byte { return bytes.Clone(tx.Bucket([]byte(bucket)).Get([]byte(key))) })
	}
	return r, len(text) > 0 && json.Unmarshal(text, &r) == nil
}
