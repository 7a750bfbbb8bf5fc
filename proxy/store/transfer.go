package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
)

// lead is the body that a fill begins with, or what takes its place: it is resumed by the
// rules of the rota. It brings all bytes but those that are parts.
type lead struct {
	*piece
	came  int64 // bytes that it has brought
	reach int64 // the offset up to which the body that is read brings bytes
	plain bool  // a body with its bytes alone has broken off: what follows is asked for too
}

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
	ctx, cancel := context.WithCancelCause(f.ctx)
	f.parts.ctx, f.parts.fail = ctx, cancel
	defer f.endParts()
	began := int64(0)
	for err = f.firstAttempt(); ; err = f.attempt(f.rota.current()) {
		if err == nil && f.goOn() {
			if f.lead.came > began {
				f.rota.takePart()
			}
			began = f.lead.came
			continue
		}
		var final finalError
		switch cause := context.Cause(ctx); {
		case f.ctx.Err() != nil:
			return f.ctx.Err()
		case errors.As(cause, &final): // of a part
			return final.error
		case err == nil:
			f.rota.takePart()
			return nil
		case errors.As(err, &final):
			f.rota.takePart()
			return final.error
		case !f.started:
			return err
		}
		wait, ok := f.rota.brokeOff(f.lead.came - began)
		if !ok {
			return fmt.Errorf("fill broke off at byte %d: %w", f.lead.at, err)
		}
		pause(ctx, wait)
		began, f.lead.plain = f.lead.came, true
	}
}

// goOn has the lead bring what nobody brings, and waits for that where the parts bring all.
// It returns false when all bytes are there, or the transfer is to end.
func (f *fill) goOn() bool {
	for {
		f.mu.Lock()
		whole, changed := f.layout.size == unbounded || f.layout.prefix() == f.layout.size, f.changed
		if p := f.lead.piece; !whole && p.at == p.end {
			p = f.layout.take(f.leadPart())
			if p != nil {
				f.lead.piece, f.lead.plain = p, false
			}
			f.mu.Unlock()
			if p != nil {
				return true
			}
			select {
			case <-changed:
				continue
			case <-f.parts.ctx.Done():
				return false
			}
		}
		f.mu.Unlock()
		return !whole
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
	race := f.store.race(f.parts.ctx, f.rota.sources, 0, -1)
	for {
		at, body, err := race.first()
		if err != nil {
			race.end(-1)
			return err
		}
		f.rota.at = at
		err = f.begin(f.rota.current(), body, -1)
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

// attempt asks a source once for what the lead lacks, and copies what it sends. It returns
// nil when the body has brought all that it is needed for. What it brought is not verified yet
// then.
func (f *fill) attempt(src Source) error {
	f.mu.Lock()
	at, length := f.lead.at, int64(-1)
	if f.lead.end != f.layout.size && !f.lead.plain && !f.parts.refused[f.rota.at%len(f.rota.sources)] {
		length = f.lead.end - at
	}
	f.mu.Unlock()
	body, err := f.store.openSource(f.parts.ctx, src, at, length)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := f.begin(src, body, length); err != nil {
		return err
	}
	return f.copy(body)
}

// begin checks what the source says of the blob against what is known, and skips the
// bytes that the file has already. length is how many bytes were asked for; -1: all.
func (f *fill) begin(src Source, body Body, length int64) error {
	at := f.lead.at
	known := f.size >= 0 && at > 0 // a length without a byte after it proves nothing
	if body.Offset > at || body.Size >= 0 && (body.Size < at || known && body.Size != f.size) {
		return fmt.Errorf("%w: it names another size or offset than before", ErrWrongContent)
	}
	if err := f.start(src, body); err != nil {
		return err
	}
	f.lead.reach = unbounded
	if length >= 0 && body.Offset == at {
		f.lead.reach = at + length
	}
	_, err := io.CopyN(io.Discard, body, at-body.Offset)
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
		f.started, f.asked, f.askedAt, f.otherwise = true, src, f.rota.at%len(f.rota.sources), body.Otherwise
		f.verifyFirst = f.verifyFirst || body.Doubtful
		if body.Size >= 0 || f.written == 0 {
			f.size = body.Size
			f.layout.resize(f.lead.piece, body.Size)
		}
		f.allowParts(body)
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

// copy writes the body to the file, to the body's end, or to where others bring the rest.
func (f *fill) copy(body io.Reader) error {
	for {
		room, more := f.leadRoom()
		if !more {
			return nil
		}
		buf := f.store.chunks.get()
		n, err := body.Read(buf[:max(1, room)])
		if int64(n) > room {
			f.store.chunks.put(buf)
			return finalError{fmt.Errorf("%w: more than the %d bytes that it named", ErrWrongContent, f.size)}
		}
		if failed := f.append(buf[:n]); failed != nil {
			return failed
		}
		switch {
		case err == io.EOF && f.size >= 0 && f.lacks():
			return io.ErrUnexpectedEOF
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

// leadRoom is how many bytes the lead's body is to bring next. At the blob's end it is 0: the
// body's end is to be seen. more is false where the body is of no more use.
func (f *fill) leadRoom() (n int64, more bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p := f.lead.piece; p.at == p.end && p.end != f.layout.size {
		if p = f.extendLead(); p == nil {
			return 0, false
		}
	}
	return min(chunk, f.lead.end-f.lead.at), true
}

// lacks reports whether the lead is to bring more.
func (f *fill) lacks() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lead.at < f.lead.end
}

// append writes a chunk of the lead to the file. The chunk's buffer belongs to append then.
func (f *fill) append(b []byte) error {
	if len(b) == 0 {
		f.store.chunks.put(b)
		return nil
	}
	if end := f.lead.at + int64(len(b)); end > f.room.bytes { // the source has not said how much it sends
		f.store.mu.Lock()
		err := f.reserve(end + farAhead - end%farAhead)
		f.store.unlock()
		if err != nil {
			return err
		}
	}
	if err := f.write(f.lead.piece, b); err != nil {
		return err
	}
	f.lead.came += int64(len(b))
	f.hashNext(b)
	return nil
}

// write writes a chunk of a piece to the file.
func (f *fill) write(p *piece, b []byte) error {
	if err := f.store.write(f.file, p.at, b); err != nil {
		f.store.degrade(err)
		return finalError{errNotKept}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.layout.came(p, int64(len(b)))
	f.parts.came += int64(len(b))
	if up := f.layout.prefix(); up != f.written || p.at == p.end {
		f.written = up
		close(f.changed)
		f.changed = make(chan struct{})
	}
	return nil
}

// write writes a chunk to a file at an offset. Where it fails, the chunk's buffer may still be
// in use.
func (s *Store) write(file *os.File, at int64, b []byte) error {
	return s.disk.Call(writePatience, func() error {
		n, err := file.WriteAt(b, at)
		if from := at - at%writeback; err == nil && at+int64(n)-from >= writeback {
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
