package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

// ErrWrongContent is what readers get instead of the last bytes of a body that
// is not what its digest says. Nothing of it is kept.
var ErrWrongContent = errors.New("the source sent wrong content")

const (
	chunk = 128 << 10
	// holdBack is how much of an unverified body its readers do not get: with
	// the last bytes missing no client takes a wrong body for a right one.
	holdBack   = 64 << 10
	maxResumes = 3 // without a byte of progress between them
	// A reader so far ahead of the fill does not wait for it: it gets windows of
	// its own, as long as all of them are a small part of the blob.
	farAhead    = 8 << 20
	windowSize  = 2 << 20
	windowShare = 10
	resumeWait  = 200 * time.Millisecond
	// The last bytes of a right body wait for its commit, so that what a client
	// has seen whole is held; but not long for a slow disk.
	commitWait = 250 * time.Millisecond
	writeback  = 8 << 20 // what the disk is told to begin with at once
)

// fill is one transfer of one blob into one file, and its readers.
type fill struct {
	store    *Store
	digest   digest.Digest
	rota     rota
	others   []Source // whom the successor asks
	wary     bool     // nothing is given to readers before the whole is verified
	cause    error    // why there was a fill before this one
	file     *os.File
	hash     hasher
	purged   bool          // not to be kept; store.mu
	reserved int64         // bytes reserved in the store; store.mu
	ended    chan struct{} // closed when all is done, the file committed or removed

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced whenever something below changes
	started  bool          // a source has answered
	asked    Source        // the one that answered last, which windows ask too
	written  int64
	size     int64 // -1: not known yet
	done     bool  // all is there, and right
	err      error
	next     *fill // after wrong content: the one that asks the other sources
	users    int   // readers, and the transfer itself: the last one closes the file
	windows  int64 // bytes that were asked for ahead of the transfer
	noWindow bool  // the source ignores ranges
}

// Fetch returns a reader of the blob: of what is held, of the fill that is under
// way, or of one that it starts, which asks the sources in order. It returns when
// there is something to read, or with the sources' own error where all refuse. ctx
// bounds this caller's waits alone: the fill goes on when its first reader leaves.
func (s *Store) Fetch(ctx context.Context, d digest.Digest, sources ...Source) (*Reader, error) {
	if err := checkDigest(d); err != nil {
		return nil, err
	}
	for first := true; ; first = false {
		r, own, err := s.attach(ctx, d, sources, first)
		if errors.Is(err, errNotKept) {
			return s.passThrough(ctx, d, sources)
		}
		if err != nil || r.fill == nil {
			return r, err
		}
		if err = r.waitReadable(); err == nil {
			return r, nil
		}
		r.Close()
		if own && !errors.Is(err, errBehind) || ctx.Err() != nil {
			return nil, err
		}
		// Another caller's sources refused: that is no answer to this one, whose
		// source may be another repo. It asks its own now, and does not queue
		// behind the next one that may refuse.
	}
}

// attach returns a reader of what is held, or of a fill: of the one under way,
// or of one of its own. One that no source has answered yet is joined only if
// asked for.
func (s *Store) attach(ctx context.Context, d digest.Digest, sources []Source, joinUnanswered bool) (r *Reader, own bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, err := s.openHeld(ctx, d); err == nil {
		return r, false, nil
	}
	if f := s.fills[d]; f != nil && (joinUnanswered || f.hasStarted()) {
		return f.join(ctx), false, nil
	}
	if err := s.ctx.Err(); err != nil {
		return nil, false, fmt.Errorf("the store is closed: %w", err)
	}
	f, err := s.newFill(d, s.inOrder(d, sources))
	if err != nil {
		return nil, true, err
	}
	if s.fills[d] == nil {
		s.fills[d] = f
	}
	r = f.join(ctx)
	s.running.Go(f.run)
	return r, true, nil
}

// newFill makes a fill that is not running yet, with an empty file.
func (s *Store) newFill(d digest.Digest, sources []Source) (*fill, error) {
	file, err := s.newTemp()
	if err != nil {
		s.degrade(err)
		return nil, errNotKept
	}
	s.metrics.open.Inc()
	return &fill{
		store: s, digest: d, rota: rota{sources: sources}, file: file, hash: hasher{hash: d.Algorithm().Hash(), pool: &s.chunks}, ended: make(chan struct{}),
		size: -1, users: 1, changed: make(chan struct{}),
	}, nil
}

func (f *fill) join(ctx context.Context) *Reader {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reader(ctx)
}

func (f *fill) hasStarted() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.started && f.err == nil
}

// update changes the fill's state and wakes all who wait for it.
func (f *fill) update(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
	close(f.changed)
	f.changed = make(chan struct{})
}

// run is the transfer. It belongs to the store, not to a request.
func (f *fill) run() {
	defer f.leave()
	err := f.transfer()
	f.hash.wait()
	if err == nil {
		err = f.verify()
	}
	if err != nil && !f.started && f.cause != nil {
		err = f.cause // "not there" is no news after a wrong body
	}
	s := f.store
	var next *fill
	if err == nil { // the readers have it, whatever the disk says
		f.rota.verified()
		release := func() { f.update(func() { f.done = true }) }
		slowDisk := time.AfterFunc(commitWait, release)
		f.keep()
		if slowDisk.Stop() {
			release()
		}
	} else {
		os.Remove(f.file.Name())
		next = f.successor(err)
	}
	s.mu.Lock()
	s.reserved -= f.reserved
	switch {
	case s.fills[f.digest] != f:
	case next != nil:
		s.fills[f.digest] = next
	default:
		delete(s.fills, f.digest)
	}
	s.mu.Unlock()
	s.metrics.open.Dec()
	s.metrics.count(err)
	if next != nil {
		s.running.Go(next.run)
	}
	f.update(func() { f.err, f.next = err, next })
	close(f.ended)
}

// readable is how far readers may read now; f.mu is held.
func (f *fill) readable() int64 {
	switch {
	case f.done:
		return f.written
	case f.wary:
		return 0
	}
	end := f.written
	if f.size >= 0 {
		end = f.size
	}
	return max(0, min(f.written, end-holdBack))
}

// claim grants a reader at the offset a window ahead of the transfer: how many
// bytes, 0 for none. f.mu is held.
func (f *fill) claim(offset int64) int64 {
	if f.done || f.err != nil || f.wary || f.noWindow || f.size < 0 || offset-f.written < farAhead {
		return 0
	}
	n := min(windowSize, f.size-offset)
	if n <= 0 || f.windows+n > f.size/windowShare {
		return 0
	}
	f.windows += n
	f.store.metrics.windows.Inc()
	return n
}

func (f *fill) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.users--; f.users > 0 {
		return
	}
	f.file.Close()
	if f.next != nil {
		f.next.leave()
	}
}
