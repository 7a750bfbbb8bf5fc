package store

// admits reports whether a blob of this size may be kept: one that is larger
// than half of the budget would flush what many others need.
func (s *Store) admits(size int64) bool { return s.cfg.Size <= 0 || size <= s.cfg.Size/2 }

// makeRoom evicts the least recently used blobs that nobody reads until what is
// held, what is coming and n bytes more fit into the budget, or nothing is left
// to evict. What is coming never takes more than half of the budget from what is
// held; s.mu is held.
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

// reserve sets n bytes aside for a fill's file; false means that the disk has no
// room for them. What comes may take half of the budget beside what is held, so
// that also the readers of what is too large to be kept share one transfer;
// s.mu is held.
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
