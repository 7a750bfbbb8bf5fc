package store

import (
	"context"
	"errors"
	"time"

	"github.com/opencontainers/go-digest"
)

// SpareAfter is how long a blob must not have been used for to give its room to one that
// nobody has asked for yet. The order of use is known by the hour (markEvery).
const SpareAfter = 24 * time.Hour

// ErrNoRoom says that there is no room to spare for a blob.
var ErrNoRoom = errors.New("the store has no room to spare: all that it holds was used within a day, or the blob is too large")

// FetchSpare is Fetch for a blob that nobody has asked for yet. It takes room that is free, or
// of blobs that were not used for SpareAfter; else the error is ErrNoRoom. A fill that
// somebody else joins before it has its room is like any other.
func (s *Store) FetchSpare(ctx context.Context, d digest.Digest, sources ...Source) (*Reader, error) {
	return s.fetch(ctx, d, sources, how{joinUnanswered: true, spare: true})
}

// Has reports whether the store lists a blob, and does not count as its use.
func (s *Store) Has(d digest.Digest) bool {
	if checkDigest(d) != nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.blobs.get(d) != nil
}

// Coming is how many bytes of a blob have come in the fill that is under way, readable or not; 0:
// there is none.
func (s *Store) Coming(d digest.Digest) int64 {
	s.mu.Lock()
	f := s.fills[d]
	s.mu.Unlock()
	if f == nil {
		return 0
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.parts.came
}

// Filling is how many fills are under way that somebody waits for: none that are spare.
func (s *Store) Filling() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.fills {
		if !f.spare {
			n++
		}
	}
	return n
}

// reserveSpare is reserve for a blob that nobody has asked for yet. s.mu is locked.
func (s *Store) reserveSpare(r *reservation, n int64) bool {
	more := n - r.bytes
	if more <= 0 || s.cfg.Size <= 0 {
		return s.reserve(r, n, true)
	}
	if !s.admits(n) {
		return false
	}
	short := s.blobs.bytes - (s.cfg.Size - min(s.cfg.Size, s.reserved-s.beside+more))
	unused, ok := s.unused(short)
	if !ok {
		return false
	}
	for _, b := range unused {
		s.drop(b)
		s.metrics.evictions.Inc()
	}
	return s.reserve(r, n, true)
}

// unused are blobs of n bytes together that were not used for SpareAfter and are not pinned; false
// where all such blobs have fewer, and then none is to go in vain. The list is in the order in which
// blobs came, not in that of their use, so all of it may have to be gone through. s.mu is locked.
func (s *Store) unused(n int64) (some []*entry, ok bool) {
	since := time.Now().Add(-SpareAfter)
	for slot := s.blobs.oldest; slot != none && n > 0; slot = s.blobs.at(slot).next {
		if b := s.blobs.at(slot); time.Unix(int64(b.marked), 0).Before(since) && s.pins[s.blobs.digest(b)] == nil {
			some, n = append(some, b), n-b.size
		}
	}
	return some, n <= 0
}
