package store

import (
	"errors"
	"slices"
)

// keep commits the file. Where the blob is purged or too large to be kept, keep
// removes the file's name instead; readers that have the file open read on.
func (f *fill) keep() {
	s := f.store
	s.mu.Lock()
	wanted := !f.purged && s.admits(f.written)
	s.mu.Unlock()
	if wanted {
		err := s.commit(f.digest, f.file, f.written, commitPatience, &f.room, f.listed)
		if err == nil {
			return
		}
		s.degrade(err)
	}
	s.removeTemp(f.file)
}

// listed pins the blob for the fill's readers, who have its file open. It removes the
// blob where Purge was called during the commit. store.mu is locked.
func (f *fill) listed() {
	s := f.store
	f.unpin = s.pin(f.digest)
	f.mu.Lock()
	several := f.joined > 1
	f.mu.Unlock()
	switch b := s.blobs.get(f.digest); {
	case b == nil:
	case f.purged:
		s.drop(b)
	case several: // it is no sweep that reads it
		b.used = true
	}
}

// successor puts the source of wrong content into quarantine, unless it can be read
// otherwise, and returns a fill that asks the other sources. It returns nil where no source is left. Where
// several sources sent parts of the body, it cannot tell which part was wrong:
// then the successors ask one source after the other for the whole blob.
func (f *fill) successor(err error) *fill {
	wrong, brought, sources, others := errors.Is(err, ErrWrongContent), f.rota.brought, f.rota.sources, f.others
	switch {
	case wrong && len(brought) == 1 && brought[0] == f.askedAt && f.otherwise != nil:
		sources = slices.Clone(sources)
		sources[brought[0]] = *f.otherwise
		sources[0], sources[brought[0]] = sources[brought[0]], sources[0]
	case wrong && len(brought) == 1:
		at := brought[0]
		f.store.quarantineSource(f.digest, sources[at])
		sources = slices.Delete(slices.Clone(sources), at, at+1)
	case wrong && len(brought) > 1:
		sources, others = nil, sources
	case f.cause == nil || errors.Is(err, errNotKept) || errors.Is(err, errBehind) || errors.Is(err, ErrNoRoom):
		return nil
	default:
		sources = nil
	}
	if len(sources) == 0 && len(others) > 0 {
		sources, others = others[:1], others[1:]
	}
	if len(sources) == 0 || f.store.ctx.Err() != nil {
		return nil
	}
	next := f.store.newFill(f.digest, sources)
	next.users++ // f itself uses its successor, so that f's readers can move to it
	next.others, next.cause, next.purged, next.again = others, err, f.purged, f.again
	next.verifyFirst = f.verifyFirst || wrong && len(brought) > 1
	return next
}
