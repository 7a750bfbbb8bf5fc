package state

import (
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	bolt "go.etcd.io/bbolt"

	"example.org/breakwater/registry"
)

// PutKept remembers what stays under a reference, however long nobody asks for it. gone is
// when its upstream was first heard to have deleted it, zero where it has not.
func (s *DB) PutKept(repo, reference string, d digest.Digest, mediaType string, gone time.Time) {
	if s == nil {
		return
	}
	r := &record{Project: s.projectOf(repo), Digest: d.String(), MediaType: mediaType, Checked: time.Now().Unix()}
	if !gone.IsZero() {
		r.Gone = gone.UnixMilli()
	}
	s.put(keptBucket, key(repo, reference), r)
}

// Kept returns that.
func (s *DB) Kept(repo, reference string) (d digest.Digest, mediaType string, gone time.Time, ok bool) {
	if s == nil {
		return "", "", gone, false
	}
	r, ok := s.getOf(repo, keptBucket, key(repo, reference))
	if !ok {
		return "", "", gone, false
	}
	d, err := registry.ParseDigest(r.Digest)
	return d, r.MediaType, r.gone(), err == nil
}

// DropKept lets a reference go.
func (s *DB) DropKept(repo, reference string) {
	if s != nil {
		s.put(keptBucket, key(repo, reference), nil)
	}
}

// Gone returns the references of a repo that its upstream has deleted, and since when.
func (s *DB) Gone(repo string) map[string]time.Time {
	if s == nil {
		return nil
	}
	all := map[string]time.Time{}
	keys, _ := s.keys(keptBucket, key(repo, ""))
	for k := range keys {
		if r, ok := s.getOf(repo, keptBucket, k); ok && r.Gone != 0 {
			all[strings.TrimPrefix(k, key(repo, ""))] = r.gone()
		}
	}
	return all
}

// LetGo forgets every reference of every repo that stays at the digest.
func (s *DB) LetGo(d digest.Digest) {
	if s == nil {
		return
	}
	keys, ok := s.keys(keptBucket, "")
	if !ok { // the disk does not say what there is to forget
		s.losesAll(keptBucket)
	}
	for k := range keys {
		if r, ok := s.get(keptBucket, k); ok && r.Digest == d.String() {
			s.put(keptBucket, k, nil)
			s.put(tagBucket, k, nil)
		}
	}
}

// gone is when the upstream was first heard to have deleted it.
func (r record) gone() (t time.Time) {
	if r.Gone == 0 {
		return t
	}
	return time.UnixMilli(r.Gone)
}

// keys are those of a bucket that begin with the prefix, on disk and on their way there. ok
// is false where the disk does not say.
func (s *DB) keys(bucket, prefix string) (keys map[string]bool, ok bool) {
	keys = map[string]bool{}
	s.mu.Lock() // first what waits: by the time that the disk is read it may be there
	for _, waits := range []changes{s.pending, s.writing} {
		for key := range waits.values[bucket] {
			if strings.HasPrefix(key, prefix) {
				keys[key] = true
			}
		}
	}
	s.mu.Unlock()
	saved, ok := view(s, putPatience, func(tx *bolt.Tx) (saved []string) {
		c := tx.Bucket([]byte(bucket)).Cursor()
		for key, _ := c.Seek([]byte(prefix)); key != nil && strings.HasPrefix(string(key), prefix); key, _ = c.Next() {
			saved = append(saved, string(key))
		}
		return saved
	})
	for _, key := range saved {
		keys[key] = true
	}
	return keys, ok
}

// losesAll forgets all of a bucket.
func (s *DB) losesAll(bucket string) {
	s.mu.Lock()
	s.pending.lose(bucket)
	s.mu.Unlock()
	s.poke()
}
