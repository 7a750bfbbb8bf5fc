package store

import "github.com/opencontainers/go-digest"

// pin keeps a held blob from being evicted while its file is being read. Where the blob is
// removed all the same, the pin reserves the room that its file takes until the last
// reader lets go.
type pin struct {
	readers int
	room    reservation
}

// pin pins a held blob. The caller must call unpin once. s.mu is locked.
func (s *Store) pin(d digest.Digest) (unpin func()) {
	p := s.pins[d]
	if p == nil {
		p = &pin{}
		s.pins[d] = p
	}
	p.readers++
	return func() {
		s.mu.Lock()
		defer s.unlock()
		if p.readers--; p.readers > 0 {
			return
		}
		if s.pins[d] == p {
			delete(s.pins, d)
		}
		s.setReservation(&p.room, reservation{})
		s.makeRoom(0) // the blob may have to be evicted now
	}
}

// forget takes a blob out of the index, because its file is being removed or replaced.
// Later readers of the blob have another file, and so another pin. s.mu is locked.
func (s *Store) forget(b *entry) {
	d := s.blobs.digest(b)
	if p := s.pins[d]; p != nil {
		s.setReservation(&p.room, reservation{b.size, true})
		delete(s.pins, d)
	}
	s.blobs.remove(b)
}
