package state

import (
	"encoding/json"

	bolt "go.etcd.io/bbolt"
)

// PutKinds remembers of which kinds projects are declared that have names of their own.
func (s *DB) PutKinds(all map[string]string) {
	text, err := json.Marshal(all)
	if err == nil {
		err = s.update(func(tx *bolt.Tx) error { return tx.Bucket(metaBucket).Put(kindsKey, text) })
	}
	if err != nil {
		s.log.Error("which projects have names of their own is not on disk", "err", err.Error())
	}
}

// Kinds returns that. ok is false where the disk does not answer.
func (s *DB) Kinds() (all map[string]string, ok bool) {
	text, ok := view(s, patience, func(tx *bolt.Tx) []byte { return append([]byte{}, tx.Bucket(metaBucket).Get(kindsKey)...) })
	if ok && len(text) > 0 {
		ok = json.Unmarshal(text, &all) == nil
	}
	return all, ok
}
