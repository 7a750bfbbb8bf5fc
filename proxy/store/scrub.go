package store

import (
	"io"
	"time"

	"github.com/opencontainers/go-digest"
)

const (
	defaultScrub = time.Minute
	scrubChunk   = 1 << 20
	scrubRate    = 16 << 20 // bytes per second: low, so that the scrub does not slow requests down
)

// scrub checks held blobs, one at a time, in no particular order.
func (s *Store) scrub() {
	every := s.cfg.Scrub
	if every == 0 {
		every = defaultScrub
	}
	if every < 0 {
		return
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-ticker.C:
			s.scrubOne()
		}
	}
}

// scrubOne checks one blob.
func (s *Store) scrubOne() {
	d, unpin := s.sample()
	if unpin == nil {
		return
	}
	defer unpin()
	file, info, err := openFile(s.path(d))
	if err != nil {
		return // it was evicted meanwhile
	}
	defer file.Close()
	checked, h := &proof{store: s, digest: d, file: file, time: info.ModTime()}, d.Algorithm().Hash()
	pause := time.NewTicker(time.Second * scrubChunk / scrubRate)
	defer pause.Stop()
	for {
		_, err := io.CopyN(h, file, scrubChunk)
		if err == io.EOF {
			break
		}
		if err != nil {
			checked.unreadable(err)
			return
		}
		select {
		case <-pause.C:
		case <-s.ctx.Done():
			return
		}
	}
	checked.note(digest.NewDigest(d.Algorithm(), h) == d)
}

// sample pins any held blob. The order of a map's iteration makes the choice. unpin is
// nil where no blob is held.
func (s *Store) sample() (d digest.Digest, unpin func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, slot := range s.blobs.slots {
		d := s.blobs.digest(s.blobs.at(slot))
		return d, s.pin(d)
	}
	return "", nil
}
