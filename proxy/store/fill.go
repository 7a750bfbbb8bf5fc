package store

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

// Source answers with a blob's bytes from offset on, length of them (negative:
// to the end), or with the error that the reader's client is to hear. The fill
// calls it with a context of its own, never a client's, and again after a body
// that broke off; windows and streams past the disk call it at the same time. It
// may send more than it was asked for.
type Source func(ctx context.Context, offset, length int64) (Body, error)

// Body is a source's answer.
type Body struct {
	io.ReadCloser
	Size   int64 // of the whole blob; -1: the source does not say
	Offset int64 // where these bytes begin: 0 from a source that ignores ranges
}

// ErrWrongContent is what readers get instead of the last bytes of a body that
// is not what its digest says. Nothing of it is kept.
var ErrWrongContent = errors.New("the source sent wrong content")

const (
	chunk = 256 << 10
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
)

// fill is one transfer of one blob into one file, and its readers.
type fill struct {
	store  *Store
	digest digest.Digest
	src    Source
	file   *os.File
	hash   hash.Hash

	mu      sync.Mutex
	changed chan struct{} // closed and replaced whenever something below changes
	started bool          // the source has answered
	written int64
	size    int64 // -1: not known yet
	done    bool
	err     error
	users   int   // readers, and the transfer itself: the last one closes the file
	windows int64 // bytes that were asked for ahead of the transfer
}

// Fetch returns a reader of the blob: of what is held, of the fill that is under
// way, or of one that it starts with src. It returns as soon as the source has
// answered, with the source's own error where that is a refusal. ctx bounds this
// caller's waits alone: the fill goes on when its first reader leaves.
func (s *Store) Fetch(ctx context.Context, d digest.Digest, src Source) (*Reader, error) {
	if err := checkDigest(d); err != nil {
		return nil, err
	}
	for first := true; ; first = false {
		r, f, own, err := s.attach(ctx, d, src, first)
		if errors.Is(err, errDisk) {
			return s.passThrough(ctx, d, src)
		}
		if f == nil {
			return r, err
		}
		if err = f.waitStarted(ctx); err == nil {
			return r, nil
		}
		r.Close()
		if own && !errors.Is(err, errBehind) || ctx.Err() != nil {
			return nil, err
		}
		// Another caller's source refused: that is no answer to this one, whose
		// source may be another repo. It asks its own now, and does not queue
		// behind the next one that may refuse.
	}
}

// attach returns a reader of what is held, or of a fill: of the one under way,
// or of one of its own. One that no source has answered yet is joined only if
// asked for.
func (s *Store) attach(ctx context.Context, d digest.Digest, src Source, joinUnanswered bool) (r *Reader, f *fill, own bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, err := s.openHeld(ctx, d); err == nil {
		return r, nil, false, nil
	}
	if f := s.fills[d]; f != nil && (joinUnanswered || f.hasStarted()) {
		return f.reader(ctx), f, false, nil
	}
	if err := s.ctx.Err(); err != nil {
		return nil, nil, false, fmt.Errorf("the store is closed: %w", err)
	}
	file, err := s.newTemp()
	if err != nil {
		s.trouble(err)
		return nil, nil, true, errDisk
	}
	f = &fill{store: s, digest: d, src: src, file: file, hash: d.Algorithm().Hash(), size: -1, users: 1, changed: make(chan struct{})}
	if s.fills[d] == nil {
		s.fills[d] = f
	}
	s.metrics.open.Inc()
	s.running.Go(f.run)
	return f.reader(ctx), f, true, nil
}

func (f *fill) hasStarted() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.started && f.err == nil
}

// kept is how many bytes of the budget the fill will need, as far as is known.
func (f *fill) kept() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.done {
		return 0
	}
	if n := max(f.size, f.written); f.store.admits(n) {
		return n
	}
	return 0
}

// update changes the fill's state and wakes all who wait for it.
func (f *fill) update(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fill) waitStarted(ctx context.Context) error {
	for {
		f.mu.Lock()
		started, err, changed := f.started, f.err, f.changed
		f.mu.Unlock()
		if errors.Is(err, errDisk) { // the reader goes on without the fill
			return nil
		}
		if started || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// run is the transfer. It belongs to the store, not to a request.
func (f *fill) run() {
	defer f.leave()
	err := f.transfer()
	if err == nil {
		err = f.finish()
	}
	s := f.store
	s.mu.Lock()
	if s.fills[f.digest] == f {
		delete(s.fills, f.digest)
	}
	s.mu.Unlock()
	s.metrics.open.Dec()
	s.metrics.count(err)
	if err != nil {
		os.Remove(f.file.Name())
	}
	f.update(func() { f.done, f.err = err == nil, err })
}

// transfer copies the body into the file, and asks again for the rest of a body
// that broke off.
func (f *fill) transfer() error {
	for failures := 0; ; {
		before := f.written
		err := f.attempt()
		var final finalError
		switch {
		case err == nil:
			return nil
		case errors.As(err, &final):
			return final.error
		case f.store.ctx.Err() != nil:
			return f.store.ctx.Err()
		}
		if f.written > before {
			failures = 0
		}
		if failures++; failures > maxResumes || !f.started {
			return fmt.Errorf("fill broke off at byte %d: %w", f.written, err)
		}
		pause(f.store.ctx)
	}
}

// pause lets a moment pass before a source is asked again.
func pause(ctx context.Context) {
	timer := time.NewTimer(resumeWait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// errDisk ends a fill whose file takes no more. Its readers go on without it.
var errDisk = errors.New("the store cannot keep what is pulled")

// errBehind ends a fill whose source answered after another's.
var errBehind = errors.New("another fill of the blob is ahead")

// finalError marks what another attempt would not cure.
type finalError struct{ error }

// attempt asks the source once, and copies what it sends. nil means that the
// whole body is in the file; it is not verified yet.
func (f *fill) attempt() error {
	body, err := f.store.openSource(f.store.ctx, f.src, f.written, -1)
	if err != nil {
		if !f.started {
			return finalError{err}
		}
		return err
	}
	defer body.Close()
	if err := f.begin(body); err != nil {
		return err
	}
	return f.copy(body)
}

// begin takes what the source says of the blob, and skips what is there already.
func (f *fill) begin(body Body) error {
	if body.Offset > f.written || f.size >= 0 && body.Size >= 0 && body.Size != f.size {
		return finalError{fmt.Errorf("%w: it names another size or place than before", ErrWrongContent)}
	}
	if err := f.start(body.Size); err != nil {
		return err
	}
	_, err := io.CopyN(io.Discard, body, f.written-body.Offset)
	return err
}

// start makes the fill the one that its digest's readers share, unless another
// one's source has answered sooner.
func (f *fill) start(size int64) error {
	s := f.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if !f.started {
		other := s.fills[f.digest]
		if _, held := s.blobs[f.digest]; held || other != nil && other != f && other.hasStarted() {
			return finalError{errBehind}
		}
		s.fills[f.digest] = f
	}
	f.update(func() {
		f.started = true
		if size >= 0 {
			f.size = size
		}
	})
	s.makeRoom()
	return nil
}

func (f *fill) copy(body io.Reader) error {
	buf := make([]byte, chunk)
	for {
		n, err := body.Read(buf)
		if f.size >= 0 && f.written+int64(n) > f.size {
			return finalError{fmt.Errorf("%w: more than the %d bytes that it named", ErrWrongContent, f.size)}
		}
		if n > 0 {
			if _, err := f.file.Write(buf[:n]); err != nil {
				f.store.trouble(err)
				return finalError{errDisk}
			}
			f.hash.Write(buf[:n])
			f.update(func() { f.written += int64(n) })
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

// finish verifies the body and commits it; one that is not admitted is left to
// the readers that have it open.
func (f *fill) finish() error {
	if got := digest.NewDigest(f.digest.Algorithm(), f.hash); got != f.digest {
		return fmt.Errorf("%w: its digest is %s", ErrWrongContent, got)
	}
	// From here on the readers have it, whatever the disk says.
	if f.store.admits(f.written) {
		err := f.store.commit(f.digest, f.file, f.written)
		if err == nil {
			return nil
		}
		f.store.trouble(err)
	}
	if err := os.Remove(f.file.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.store.trouble(err)
	}
	return nil
}

// readable is how far readers may read now; f.mu is held.
func (f *fill) readable() int64 {
	if f.done {
		return f.written
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
	if f.done || f.err != nil || f.size < 0 || offset-f.written < farAhead {
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
	if f.users--; f.users == 0 {
		f.file.Close()
	}
}
