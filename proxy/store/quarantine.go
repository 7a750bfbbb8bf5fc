package store

import (
	"time"

	"github.com/opencontainers/go-digest"
)

// A source that sent wrong content of a blob is in quarantine for that blob: it is
// asked after all others. The quarantine ends, because the fault may have been a
// passing one, and because the source may be the only one.
const (
	quarantineFor = 10 * time.Minute
	maxQuarantine = 10_000 // pairs of source and blob
)

// quarantineKey names a source that sent wrong content, and the blob that it was asked
// for.
type quarantineKey struct {
	source string
	digest digest.Digest
}

// inOrder returns the sources in the order in which they are asked: those in
// quarantine come last.
func (s *Store) inOrder(d digest.Digest, sources []Source) []Source {
	var good, bad []Source
	for _, src := range sources {
		if since, ok := s.quarantine.Get(quarantineKey{src.Name, d}); ok && time.Since(since) < quarantineFor {
			bad = append(bad, src)
		} else {
			good = append(good, src)
		}
	}
	return append(good, bad...)
}

// quarantineSource puts a source into quarantine for a blob.
func (s *Store) quarantineSource(d digest.Digest, src Source) {
	s.quarantine.Add(quarantineKey{src.Name, d}, time.Now())
	s.cfg.Log.Warn("a source sent wrong content and is in quarantine for this blob: it is asked after all others", "source", src.Name, "digest", d.String(), "for", quarantineFor.String())
}
