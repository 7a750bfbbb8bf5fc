package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
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
	store  *Store
	digest digest.Digest
	rota   rota
	others []Source // whom the successor asks
	wary   bool     // nothing is given to readers before the whole is verified
	cause  error    // why there was a fill before this one
	file   *os.File
	hash   hasher
	purged bool          // not to be kept; store.mu
	kept   int64         // bytes reserved in the store; store.mu
	ended  chan struct{} // closed when all is done, the file committed or removed

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
		if errors.Is(err, errUnkept) {
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
		s.trouble(err)
		return nil, errUnkept
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
	s.reserved -= f.kept
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

// transfer copies the body into the file, and asks for the rest of a body that
// broke off.
func (f *fill) transfer() error {
	var refusals []error
	for {
		before := f.written
		err := f.attempt(f.rota.current())
		var final finalError
		switch {
		case err == nil:
			f.rota.takePart()
			return nil
		case f.store.ctx.Err() != nil:
			return f.store.ctx.Err()
		case errors.As(err, &final):
			f.rota.takePart()
			return final.error
		case !f.started: // each is asked once
			refusals = append(refusals, err)
			if f.rota.at++; f.rota.at == len(f.rota.sources) {
				return errors.Join(refusals...)
			}
			continue
		}
		f.rota.progress(f.written - before)
		wait, ok := f.rota.next(f.written - before)
		if !ok {
			return fmt.Errorf("fill broke off at byte %d: %w", f.written, err)
		}
		if wait {
			pause(f.store.ctx)
		}
	}
}

// errUnkept ends a fill whose file takes no more. Its readers go on without it.
var errUnkept = errors.New("the store cannot keep what is pulled")

// errBehind ends a fill whose source answered after another's.
var errBehind = errors.New("another fill of the blob is ahead")

// finalError marks what another attempt would not cure.
type finalError struct{ error }

// attempt asks a source once, and copies what it sends. nil means that the
// whole body is in the file; it is not verified yet.
func (f *fill) attempt(src Source) error {
	body, err := f.store.openSource(f.store.ctx, src, f.written, -1)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := f.begin(src, body); err != nil {
		return err
	}
	return f.copy(body)
}

// begin takes what the source says of the blob, and skips what is there already.
func (f *fill) begin(src Source, body Body) error {
	known := f.size >= 0 && f.written > 0 // a length that no byte followed binds nobody
	if body.Offset > f.written || body.Size >= 0 && (body.Size < f.written || known && body.Size != f.size) {
		return fmt.Errorf("%w: it names another size or place than before", ErrWrongContent)
	}
	if err := f.start(src, body.Size); err != nil {
		return err
	}
	_, err := io.CopyN(io.Discard, body, f.written-body.Offset)
	return err
}

// start makes the fill the one that its digest's readers share, unless another
// one's source has answered sooner.
func (f *fill) start(src Source, size int64) error {
	s := f.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if !f.started {
		other := s.fills[f.digest]
		if s.blobs.get(f.digest) != nil || other != nil && other != f && other.hasStarted() {
			return finalError{errBehind}
		}
		if !f.purged {
			s.fills[f.digest] = f
		}
	}
	f.update(func() {
		f.started, f.asked = true, src
		if size >= 0 || f.written == 0 {
			f.size = size
		}
	})
	if size < 0 {
		return nil
	}
	return f.reserve(size)
}

// reserve sees that the store has room for the file's first n bytes; store.mu is held.
func (f *fill) reserve(n int64) error {
	if n <= f.kept {
		return nil
	}
	if !f.store.reserve(n-f.kept, f.store.admits(n)) {
		return finalError{errUnkept}
	}
	f.kept = n
	return nil
}

func (f *fill) copy(body io.Reader) error {
	for {
		buf := f.store.chunks.get()
		n, err := body.Read(buf)
		if f.size >= 0 && f.written+int64(n) > f.size {
			f.store.chunks.put(buf)
			return finalError{fmt.Errorf("%w: more than the %d bytes that it named", ErrWrongContent, f.size)}
		}
		if failed := f.write(buf[:n]); failed != nil {
			return failed
		}
		switch {
		case err == io.EOF && f.size >= 0 && f.written < f.size:
			return io.ErrUnexpectedEOF
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

// write takes a chunk over.
func (f *fill) write(b []byte) error {
	if len(b) == 0 {
		f.store.chunks.put(b)
		return nil
	}
	if end := f.written + int64(len(b)); end > f.kept { // nobody has said how much comes
		f.store.mu.Lock()
		err := f.reserve(end + farAhead - end%farAhead)
		f.store.mu.Unlock()
		if err != nil {
			return err
		}
	}
	if _, err := f.file.Write(b); err != nil {
		f.store.trouble(err)
		return finalError{errUnkept}
	}
	before := f.written
	f.update(func() { f.written += int64(len(b)) })
	f.hash.add(b)
	if from := before - before%writeback; f.written-from >= writeback {
		startWriteback(f.file, from, writeback)
	}
	return nil
}

func (f *fill) verify() error {
	if got := digest.NewDigest(f.digest.Algorithm(), f.hash.wait()); got != f.digest {
		return fmt.Errorf("%w: its digest is %s", ErrWrongContent, got)
	}
	return nil
}

// successor puts aside whoever sent wrong content, and returns a fill that asks
// the others; nil where nobody is left. Where several sent parts of it nobody
// knows whose was wrong: then one after the other is asked for the whole.
func (f *fill) successor(err error) *fill {
	wrong, brought, sources, others := errors.Is(err, ErrWrongContent), f.rota.brought, f.rota.sources, f.others
	switch {
	case wrong && len(brought) == 1:
		liar := brought[0]
		f.store.putAside(f.digest, sources[liar])
		sources = slices.Delete(slices.Clone(sources), liar, liar+1)
	case wrong && len(brought) > 1:
		sources, others = nil, sources
	case f.cause == nil || errors.Is(err, errUnkept) || errors.Is(err, errBehind):
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
	next, failed := f.store.newFill(f.digest, sources)
	if failed != nil {
		return nil
	}
	next.users++ // f's, whose readers may come over
	next.others, next.cause, next.purged = others, err, f.purged
	next.wary = f.wary || wrong && len(brought) > 1
	return next
}

// keep commits the file, unless it is not admitted: then it is left to the
// readers that have it open.
func (f *fill) keep() {
	s := f.store
	s.mu.Lock()
	wanted := !f.purged && s.admits(f.written)
	s.mu.Unlock()
	if wanted {
		err := s.commit(f.digest, f.file, f.written, f.kept)
		if err == nil {
			f.committed()
			return
		}
		s.trouble(err)
	}
	if err := os.Remove(f.file.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.trouble(err)
	}
}

// committed notes that the store has the file's bytes on its own account now,
// and removes what was purged meanwhile.
func (f *fill) committed() {
	s := f.store
	s.mu.Lock()
	defer s.mu.Unlock()
	f.kept = 0
	if b := s.blobs.get(f.digest); f.purged && b != nil {
		s.drop(b)
	}
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
