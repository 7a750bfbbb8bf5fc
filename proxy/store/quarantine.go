package store

import (
	"time"

	"github.com/opencontainers/go-digest"
)

// suspect is a source that sent something else as the blob.
type suspect struct {
	source string
	digest digest.Digest
}

// inOrder returns the sources as they are to be asked: those put aside last.
func (s *Store) inOrder(d digest.Digest, sources []Source) []Source {
	var good, bad []Source
	for _, src := range sources {
		if since, ok := s.aside.Get(suspect{src.Name, d}); ok && time.Since(since) < asideFor {
			bad = append(bad, src)
		} else {
			good = append(good, src)
		}
	}
	return append(good, bad...)
}

func (s *Store) putAside(d digest.Digest, src Source) {
	s.aside.Add(suspect{src.Name, d}, time.Now())
	s.cfg.Log.Warn("a source sent wrong content; it is asked last for this blob", "source", src.Name, "digest", d.String(), "for", asideFor.String())
}
