package state

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"

	bolt "go.etcd.io/bbolt"

	"example.org/breakwater/proxy/version"
)

// The ledger of versions: what an edge has acknowledged is on disk before the client
// hears of it, so these buckets are not written with the others. Questions for one version
// and writes do not wait for a disk that hangs; who needs the whole log does, since a part
// of it would be taken for all.
var (
	versionBucket = []byte("versions") // repo NUL reference → position, 8 bytes, and the record
	logBucket     = []byte("log")      // position, 8 bytes → repo NUL reference
	heardBucket   = []byte("heard")    // datacenter → version.Heard as JSON
	epochKey      = []byte("epoch")    // of metaBucket: the log's name
	kindsKey      = []byte("kinds")    // of metaBucket: as JSON, the kinds of projects with names of their own
)

// prepareVersions makes what the ledger needs, in the caller's transaction.
func prepareVersions(tx *bolt.Tx) error {
	for _, name := range [][]byte{versionBucket, logBucket, heardBucket, metaBucket} {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return err
		}
	}
	if meta := tx.Bucket(metaBucket); meta.Get(epochKey) == nil {
		return meta.Put(epochKey, []byte(rand.Text()))
	}
	return nil
}

// Epoch implements version.State.
func (s *DB) Epoch() (epoch string) {
	s.db.View(func(tx *bolt.Tx) error { //nolint:errcheck // reading fails on a closed file alone
		epoch = string(tx.Bucket(metaBucket).Get(epochKey))
		return nil
	})
	return epoch
}

// Versioned implements version.State.
func (s *DB) Versioned(key string) (value []byte, ok bool) {
	return view(s, patience, func(tx *bolt.Tx) []byte {
		_, value := split(tx.Bucket(versionBucket).Get([]byte(key)))
		return value
	})
}

// split parts what is under a key, and copies it: bolt's memory is its own.
func split(raw []byte) (position, value []byte) {
	if len(raw) < 8 {
		return nil, nil
	}
	raw = bytes.Clone(raw)
	return raw[:8], raw[8:]
}

const eachTime = 1000 // records that are read in one transaction: an open one keeps the file growing

// EachVersioned implements version.State.
func (s *DB) EachVersioned(prefix string, do func(key string, value []byte)) {
	type pair struct {
		key   string
		value []byte
	}
	next := []byte(prefix)
	for next != nil {
		var found []pair
		err := s.db.View(func(tx *bolt.Tx) error {
			c := tx.Bucket(versionBucket).Cursor()
			key, raw := c.Seek(next)
			for next = nil; bytes.HasPrefix(key, []byte(prefix)) && key != nil; key, raw = c.Next() {
				if len(found) == eachTime {
					next = bytes.Clone(key)
					return nil
				}
				_, value := split(raw)
				found = append(found, pair{string(key), value})
			}
			return nil
		})
		if err != nil {
			return
		}
		for _, p := range found {
			do(p.key, p.value)
		}
	}
}

// PutVersioned implements version.State.
func (s *DB) PutVersioned(values map[string][]byte, heard *version.Heard) error {
	if heard != nil { // the caller's may change when this has returned
		own := *heard
		heard = &own
	}
	return s.update(func(tx *bolt.Tx) error { return putVersioned(tx, values, heard) })
}

func putVersioned(tx *bolt.Tx, values map[string][]byte, heard *version.Heard) error {
	versions, log := tx.Bucket(versionBucket), tx.Bucket(logBucket)
	for key, value := range values {
		if at, _ := split(versions.Get([]byte(key))); at != nil {
			if err := log.Delete(at); err != nil {
				return err
			}
		}
		if value == nil {
			if err := versions.Delete([]byte(key)); err != nil {
				return err
			}
			continue
		}
		n, err := log.NextSequence()
		if err != nil {
			return err
		}
		at := binary.BigEndian.AppendUint64(nil, n)
		if err := log.Put(at, []byte(key)); err != nil {
			return err
		}
		if err := versions.Put([]byte(key), append(bytes.Clone(at), value...)); err != nil {
			return err
		}
	}
	if heard == nil {
		return nil
	}
	text, err := json.Marshal(heard)
	if err != nil {
		return err
	}
	return tx.Bucket(heardBucket).Put([]byte(heard.Datacenter), text)
}

// TouchVersioned implements version.State.
func (s *DB) TouchVersioned(key string, value []byte) error {
	return s.update(func(tx *bolt.Tx) error {
		versions := tx.Bucket(versionBucket)
		at, _ := split(versions.Get([]byte(key)))
		if at == nil {
			return nil
		}
		return versions.Put([]byte(key), append(at, value...))
	})
}

// Since implements version.State. do is called when the file is let go: what it asks may be
// read from there too.
func (s *DB) Since(position uint64, most int, do func(position uint64, key string, value []byte)) (last uint64) {
	type written struct {
		at    uint64
		key   string
		value []byte
	}
	var all []written
	s.db.View(func(tx *bolt.Tx) error { //nolint:errcheck // reading fails on a closed file alone
		versions, log := tx.Bucket(versionBucket), tx.Bucket(logBucket)
		last = log.Sequence()
		c := log.Cursor()
		for at, key := c.Seek(binary.BigEndian.AppendUint64(nil, position+1)); at != nil && len(all) < most; at, key = c.Next() {
			_, value := split(versions.Get(key))
			all = append(all, written{binary.BigEndian.Uint64(at), string(key), value})
		}
		return nil
	})
	for _, w := range all {
		do(w.at, w.key, w.value)
	}
	return last
}

// ForgetHeard implements version.State.
func (s *DB) ForgetHeard() error {
	return s.update(func(tx *bolt.Tx) error { return empty(tx, heardBucket) })
}

// HeardOf implements version.State.
func (s *DB) HeardOf(datacenter string) (h version.Heard) {
	s.db.View(func(tx *bolt.Tx) error { //nolint:errcheck // as above
		if text := tx.Bucket(heardBucket).Get([]byte(datacenter)); text != nil && json.Unmarshal(text, &h) != nil {
			h = version.Heard{}
		}
		return nil
	})
	return h
}
