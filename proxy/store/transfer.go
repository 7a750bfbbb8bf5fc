package store

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
)

// transfer copies the blob from its sources into the file. Where a body breaks off, it
// asks for the rest.
func (f *fill) transfer() error {
	if len(f.rota.sources) == 0 {
		return errors.New("nobody can be asked for the blob")
	}
	file, err := f.store.newTemp()
	if err != nil {
		f.store.degrade(err)
		return errNotKept
	}
	f.file = file
	began := int64(0)
	for err = f.firstAttempt(); ; err = f.attempt(f.rota.current()) {
		var final finalError
		switch {
		case err == nil:
			f.rota.takePart()
			return nil
		case f.ctx.Err() != nil:
			return f.ctx.Err()
		case errors.As(err, &final):
			f.rota.takePart()
			return final.error
		case !f.started:
			return err
		}
		wait, ok := f.rota.brokeOff(f.written - began)
		if !ok {
			return fmt.Errorf("fill broke off at byte %d: %w", f.written, err)
		}
		pause(f.ctx, wait)
		began = f.written
	}
}

// errNotKept ends a fill whose file the disk or the budget has no room for. Its
// readers go on with direct streams.
var errNotKept = errors.New("the store cannot keep the blob")

// errBehind ends a fill whose source answered later than the source of another fill
// of the same blob.
var errBehind = errors.New("another fill of the blob is ahead")

// finalError marks an error that another attempt would not cure.
type finalError struct{ error }

// firstAttempt asks the sources until one answers, each once, and copies what that one
// sends. Its error is the refusals of all, joined, where no source has started the fill.
func (f *fill) firstAttempt() error {
	race := f.store.race(f.ctx, f.rota.sources, 0, -1)
	for {
		at, body, err := race.first()
		if err != nil {
			race.end(-1)
			return err
		}
		f.rota.at = at
		err = f.begin(f.rota.current(), body)
		var final finalError
		if refused := err != nil && !f.started && !errors.As(err, &final); refused {
			body.Close()
			race.refuse(err)
			continue
		}
		race.end(at)
		if err == nil {
			err = f.copy(body)
		}
		body.Close()
		return err
	}
}

// attempt asks a source once, and copies what it sends. It returns nil when the whole
// body is in the file. The body is not verified yet then.
func (f *fill) attempt(src Source) error {
	body, err := f.store.openSource(f.ctx, src, f.written, -1)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := f.begin(src, body); err != nil {
		return err
	}
	return f.copy(body)
}

// begin checks what the source says of the blob against what is known, and skips the
// bytes that the file has already.
func (f *fill) begin(src Source, body Body) error {
	known := f.size >= 0 && f.written > 0 // a length without a byte after it proves nothing
	if body.Offset > f.written || body.Size >= 0 && (body.Size < f.written || known && body.Size != f.size) {
		return fmt.Errorf("%w: it names another size or offset than before", ErrWrongContent)
	}
	if err := f.start(src, body); err != nil {
		return err
	}
	_, err := io.CopyN(io.Discard, body, f.written-body.Offset)
	return err
}

// start makes this fill the one that new readers of the blob join. Where the source of
// another fill has answered sooner, it returns errBehind.
func (f *fill) start(src Source, body Body) error {
	s := f.store
	s.mu.Lock()
	defer s.unlock()
	if !f.started {
		other := s.fills[f.digest]
		if s.blobs.get(f.digest) != nil && !f.again || other != nil && other != f && other.hasStarted() {
			return finalError{errBehind}
		}
		if !f.purged {
			s.fills[f.digest] = f
		}
	}
	f.update(func() {
		f.started, f.asked, f.otherwise = true, src, body.Otherwise
		f.verifyFirst = f.verifyFirst || body.Doubtful
		if body.Size >= 0 || f.written == 0 {
			f.size = body.Size
		}
	})
	if body.Size < 0 {
		return nil
	}
	return f.reserve(body.Size)
}

// reserve reserves room in the store for the file's first n bytes. store.mu is locked.
func (f *fill) reserve(n int64) error {
	if f.spare {
		if !f.store.reserveSpare(&f.room, n) {
			return finalError{ErrNoRoom}
		}
		return nil
	}
	if !f.store.reserve(&f.room, n, f.store.admits(n)) {
		return finalError{errNotKept}
	}
	return nil
}

// copy writes the body to the file, to the body's end.
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

// write appends a chunk to the file. The chunk's buffer belongs to write then.
func (f *fill) write(b []byte) error {
	if len(b) == 0 {
		f.store.chunks.put(b)
		return nil
	}
	if end := f.written + int64(len(b)); end > f.room.bytes { // the source has not said how much it sends
		f.store.mu.Lock()
		err := f.reserve(end + farAhead - end%farAhead)
		f.store.unlock()
		if err != nil {
			return err
		}
	}
	if err := f.store.write(f.file, f.written, b); err != nil {
		f.store.degrade(err)
		return finalError{errNotKept}
	}
	f.update(func() { f.written += int64(len(b)) })
	f.hash.add(b)
	return nil
}

// write appends a chunk to a file that has so many bytes. Where it fails, the chunk's
// buffer may still be in use.
func (s *Store) write(file *os.File, written int64, b []byte) error {
	return s.disk.Call(writePatience, func() error {
		n, err := file.Write(b)
		if from := written - written%writeback; err == nil && written+int64(n)-from >= writeback {
			startWriteback(file, from, writeback)
		}
		return err
	})
}

// verify compares the digest of all received bytes with the blob's.
func (f *fill) verify() error {
	if got := digest.NewDigest(f.digest.Algorithm(), f.hash.wait()); got != f.digest {
		return fmt.Errorf("%w: its digest is %s", ErrWrongContent, got)
	}
	return nil
}
