package store

import (
	"context"
	"encoding"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/opencontainers/go-digest"
)

// direct streams a blob from its sources to one reader, without the store. A stream
// that is read from the beginning, or from where a fill ended, is verified as a fill
// is: its last bytes are held back until its digest is verified. A stream that is read
// from elsewhere cannot be verified.
//
// The windows of a fill are direct streams, and so is the reader of a held blob that
// has to be verified.
type direct struct {
	store  *Store
	ctx    context.Context
	digest digest.Digest
	rota   rota
	size   int64  // -1: not known
	offset int64  // of the next byte for the reader
	limit  int64  // the offset at which a window ends; 0: no window, the stream ends with the blob
	any    bool   // doubtful bodies are read too: no other source has the blob
	proof  *proof // the check of a held blob, whose file is the only source; nil: no held blob

	body     io.ReadCloser // nil: no source is sending
	from     int64         // the offset of the body's first byte
	arrived  int64         // the offset after the last byte from the source
	held     []byte        // bytes that arrived and that the reader does not have yet
	hash     hash.Hash     // of all bytes that arrived; nil: the stream cannot be verified
	verified bool          // the end has arrived, and the digest matches where there is a hash
}

// Stream returns a reader that reads a blob from the sources directly, whether the store
// holds the blob or not. There must be at least one source.
func (s *Store) Stream(ctx context.Context, d digest.Digest, sources ...Source) (*Reader, error) {
	if err := checkDigest(d); err != nil {
		return nil, err
	}
	return s.passThrough(ctx, d, sources)
}

// passThrough returns a reader with a direct stream, from the first source that answers.
func (s *Store) passThrough(ctx context.Context, d digest.Digest, sources []Source) (*Reader, error) {
	stream := &direct{store: s, ctx: ctx, digest: d, rota: rota{sources: s.inOrder(d, sources)}, size: -1, hash: d.Algorithm().Hash()}
	for {
		err := stream.begin()
		if err == nil {
			return &Reader{direct: stream, ctx: ctx, told: -1, expects: -1}, nil
		}
		if stream.any || !errors.Is(err, errDoubtful) {
			return nil, err
		}
		stream.any = true
	}
}

// begin has the stream read from the first source that answers. Its error is the refusals of
// all, joined.
func (d *direct) begin() error {
	race := d.store.race(d.ctx, d.rota.sources, 0, -1)
	for {
		at, body, err := race.first()
		if err != nil {
			race.end(-1)
			return err
		}
		d.rota.at = at
		if err = d.take(body, 0); err == nil {
			race.end(at)
			return nil
		}
		race.refuse(err)
	}
}

// errDoubtful ends an attempt at a source whose bytes may well be no blob's.
var errDoubtful = errors.New("it is doubtful whether the source sends the blob")

// errNoRange ends a window whose source sends the whole blob in place of the range.
var errNoRange = errors.New("the source ignores ranges")

// cloneHash replaces the hash, which belongs to a fill, with a copy in the same state.
func (d *direct) cloneHash() error {
	state, err := d.hash.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		return err
	}
	d.hash = d.digest.Algorithm().Hash()
	return d.hash.(encoding.BinaryUnmarshaler).UnmarshalBinary(state)
}

// open asks the source whose turn it is for the rest of the stream.
func (d *direct) open() error {
	from := d.offset + int64(len(d.held))
	length := int64(-1)
	if d.limit > 0 {
		length = d.limit - from
	}
	body, err := d.store.openSource(d.ctx, d.rota.current(), from, length)
	if err != nil {
		return err
	}
	return d.take(body, from)
}

// take has the stream read on from a body that a source sends, from an offset on.
func (d *direct) take(body Body, from int64) error {
	if body.Doubtful && !d.any {
		body.Close()
		return errDoubtful
	}
	if d.limit > 0 && body.Offset != from { // a window is there to save the bytes before it
		body.Close()
		return errNoRange
	}
	// A stream with a hash began at byte 0 or where a fill ended, so its reader has all
	// bytes before from: a length below that is wrong. Without a hash the reader has just
	// moved to from, which may lie behind the blob's end.
	passed := d.hash != nil && body.Size < from
	if body.Offset > from || body.Size >= 0 && (passed || d.size >= 0 && body.Size != d.size) {
		body.Close()
		return fmt.Errorf("%w: it names another size or offset than before", ErrWrongContent)
	}
	if d.proof == nil && d.limit == 0 {
		d.store.metrics.passed.Inc()
	}
	if body.Size >= 0 {
		d.size = body.Size
	}
	if _, err := io.CopyN(io.Discard, body, from-body.Offset); err != nil {
		body.Close()
		return err
	}
	d.body, d.from, d.arrived = body, from, from
	return nil
}

// seek moves the stream to another offset. From there it cannot be verified, unless the
// offset is 0.
func (d *direct) seek(offset int64) {
	if offset == d.offset {
		return
	}
	d.close()
	d.offset, d.held, d.verified, d.hash, d.rota.brought = offset, nil, false, nil, nil
	if offset == 0 {
		d.hash = d.digest.Algorithm().Hash()
	}
}

// close closes the source's body.
func (d *direct) close() {
	if d.body != nil {
		d.body.Close()
		d.body = nil
	}
}

// read reads the stream's next bytes.
func (d *direct) read(p []byte) (int, error) {
	if d.proof != nil && d.hash == nil {
		if err := d.proof.whole(); err != nil {
			return 0, err
		}
	}
	for {
		back := holdBack
		if d.hash == nil || d.verified {
			back = 0
		}
		if n := len(d.held) - back; n > 0 {
			n = copy(p, d.held[:n])
			d.held = d.held[n:]
			d.offset += int64(n)
			return n, nil
		}
		if d.verified || d.size >= 0 && d.offset >= d.size && len(d.held) == 0 && d.size > 0 {
			return 0, io.EOF
		}
		if err := d.receive(); err != nil {
			return 0, err
		}
	}
}

// receive receives more bytes. Where the source breaks off, the next call asks the next
// source.
func (d *direct) receive() error {
	var err error
	if d.body == nil {
		err = d.open()
	}
	var n int
	buf := make([]byte, holdBack)
	if err == nil {
		n, err = d.body.Read(buf)
	}
	if n > 0 {
		d.arrived += int64(n)
		d.held = append(d.held, buf[:n]...)
		if d.hash != nil {
			d.hash.Write(buf[:n])
		}
	}
	if over := d.arrived - d.limit; d.limit > 0 && over >= 0 {
		d.held = d.held[:len(d.held)-int(over)]
		d.arrived = d.limit
		d.close()
		return d.finish()
	}
	switch {
	case d.size >= 0 && d.arrived > d.size:
		return fmt.Errorf("%w: more than the %d bytes that it named", ErrWrongContent, d.size)
	case err == nil:
		return nil
	case d.body != nil && errors.Is(err, io.EOF) && (d.size < 0 || d.arrived == d.size):
		return d.finish()
	case d.ctx.Err() != nil:
		return d.ctx.Err()
	case d.limit > 0 && d.body == nil: // a window that is refused is not asked for again: the fill brings its bytes
		return err
	}
	if d.proof != nil && err != nil {
		d.proof.unreadable(err)
	}
	came := int64(0)
	if d.body != nil {
		came = d.arrived - d.from
	}
	d.close()
	wait, ok := d.rota.brokeOff(came)
	if !ok {
		return fmt.Errorf("stream broke off at byte %d: %w", d.arrived, err)
	}
	pause(d.ctx, wait)
	return nil
}

// finish verifies the stream at its end, where it can be verified.
func (d *direct) finish() error {
	if d.hash != nil {
		right := digest.NewDigest(d.digest.Algorithm(), d.hash) == d.digest
		if d.proof != nil {
			d.proof.note(right)
		}
		if !right {
			if d.proof == nil && len(d.rota.sources) == 1 {
				d.store.quarantineSource(d.digest, d.rota.sources[0])
			}
			return ErrWrongContent
		}
		d.rota.takePart()
		d.rota.verified()
	}
	d.verified = true
	return nil
}
