package store

import "math"

// MaxBlob is the largest length that a source is believed: 16 TiB, which is also the
// largest file of ext4. No registry holds such a blob.
const MaxBlob = 16 << 40

// admits reports whether the store may keep a blob of this size. A blob that is
// larger than half of the budget is not kept, because it would evict too many others.
func (s *Store) admits(size int64) bool { return s.cfg.Size <= 0 || size <= s.cfg.Size/2 }

// makeRoom evicts blobs, in the order of index.victim, until the held blobs, the
// reservations of what is to be kept and n more bytes fit into the budget. It does not
// evict a pinned blob, so there may be too little room at the end. Reservations never
// take more than half of the budget from held blobs. s.mu is locked.
func (s *Store) makeRoom(n int64) {
	if s.cfg.Size <= 0 {
		return
	}
	taken, coming := s.cfg.Size/2, s.reserved-s.beside
	if n < taken-coming { // otherwise the sum is more than half, and could overflow
		taken = coming + n
	}
	room := s.cfg.Size - taken
	pinned := func(b *entry) bool { return s.pins[s.blobs.digest(b)] != nil }
	for s.blobs.bytes > room {
		b := s.blobs.victim(pinned)
		if b == nil {
			return
		}
		s.drop(b)
		s.metrics.evictions.Inc()
	}
}

// reservation is the room of one file that is no held blob: of a fill or an upload, or a
// removed file that readers still have open, which takes room until the last lets go.
type reservation struct {
	bytes  int64 // that the file has, or will have
	beside bool  // the file is not to be kept, so nothing is evicted for it
}

// reserve makes a reservation one of n bytes, unless it has as many. It returns false
// where there is no room. All files together may have one and a half times the
// budget: the half more lets readers share the fill of a blob that is too large to
// be kept. keep says that the blob is to be kept, so others are evicted for it.
// s.mu is locked.
func (s *Store) reserve(r *reservation, n int64, keep bool) bool {
	more := n - r.bytes
	if more <= 0 {
		return true
	}
	if keep {
		s.makeRoom(more)
	}
	most := int64(math.MaxInt64)
	if s.cfg.Size > 0 {
		most = s.cfg.Size + min(s.cfg.Size/2, most-s.cfg.Size)
	}
	if left := most - s.reserved; s.blobs.bytes > left || more > left-s.blobs.bytes { // a sum could overflow
		return false
	}
	s.setReservation(r, reservation{n, !keep})
	return true
}

// setReservation changes a reservation, whether there is room or not. The zero
// reservation ends it. s.mu is locked.
func (s *Store) setReservation(r *reservation, to reservation) {
	s.reserved += to.bytes - r.bytes
	if r.beside {
		s.beside -= r.bytes
	}
	if to.beside {
		s.beside += to.bytes
	}
	*r = to
}
