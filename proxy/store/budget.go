package store

// admits reports whether the store may keep a blob of this size. A blob that is
// larger than half of the budget is not kept, because it would evict too many others.
func (s *Store) admits(size int64) bool { return s.cfg.Size <= 0 || size <= s.cfg.Size/2 }

// makeRoom evicts blobs, the least recently used first, until the held blobs, the
// reservations and n more bytes fit into the budget. It does not evict a pinned
// blob, so there may be too little room at the end. Reservations never take more
// than half of the budget from held blobs. s.mu is locked.
func (s *Store) makeRoom(n int64) {
	if s.cfg.Size <= 0 {
		return
	}
	room := s.cfg.Size - min(s.reserved+n, s.cfg.Size/2)
	for slot := s.blobs.oldest; slot != none && s.blobs.bytes > room; {
		b := s.blobs.at(slot)
		slot = b.next
		if s.pins[s.blobs.digest(b)] == 0 {
			s.drop(b)
			s.metrics.evictions.Inc()
		}
	}
}

// reserve reserves n bytes for the file of a fill or an upload. It returns false
// where there is no room. All files together may have one and a half times the
// budget: the half more lets readers share the fill of a blob that is too large to
// be kept. keep says that the blob is to be kept, so others are evicted for it.
// s.mu is locked.
func (s *Store) reserve(n int64, keep bool) bool {
	if keep {
		s.makeRoom(n)
	}
	if s.cfg.Size > 0 && s.blobs.bytes+s.reserved+n > s.cfg.Size+s.cfg.Size/2 {
		return false
	}
	s.reserved += n
	return true
}
