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

// direct streams a blob from its source to one reader, past a disk that keeps
// nothing. Read from its beginning, or from where a fill ended, it is verified
// like a fill, and its last bytes are held back until it is; from elsewhere it
// cannot be.
type direct struct {
	store   *Store
	ctx     context.Context
	digest  digest.Digest
	sources []Source
	at      int // whose turn it is
	size    int64
	offset  int64  // of the next byte for the reader
	limit   int64  // of a window: where it ends; 0: at the end of the blob
	proof   *proof // of a held blob that is its own source; nil: a source elsewhere

	body     io.ReadCloser // nil until the first read
	arrived  int64         // offset behind the last byte from the source
	held     []byte        // arrived, and not given away yet
	hash     hash.Hash     // of all that arrived; nil: not verified
	verified bool          // the end has come, and the digest is right
	failures int
}

// Stream returns a reader of the blob past the store: of what the sources send to
// it alone, whatever is held.
func (s *Store) Stream(ctx context.Context, d digest.Digest, sources ...Source) (*Reader, error) {
	if err := checkDigest(d); err != nil {
		return nil, err
	}
	return s.passThrough(ctx, d, sources)
}

// passThrough opens a blob past the store.
func (s *Store) passThrough(ctx context.Context, d digest.Digest, sources []Source) (*Reader, error) {
	stream := &direct{store: s, ctx: ctx, digest: d, sources: s.inOrder(d, sources), size: -1, hash: d.Algorithm().Hash()}
	var refusals []error
	for range sources {
		err := stream.open()
		if err == nil {
			return &Reader{direct: stream, ctx: ctx, told: -1, expects: -1}, nil
		}
		refusals = append(refusals, err)
		stream.at++
	}
	return nil, errors.Join(refusals...)
}

// errNoRange is what a window hears of a source that sends the whole instead.
var errNoRange = errors.New("the source ignores ranges")

// cloneHash gives the stream a hash of its own, as the fill left it.
func (d *direct) cloneHash() error {
	state, err := d.hash.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		return err
	}
	d.hash = d.digest.Algorithm().Hash()
	return d.hash.(encoding.BinaryUnmarshaler).UnmarshalBinary(state)
}

func (d *direct) open() error {
	from := d.offset + int64(len(d.held))
	length := int64(-1)
	if d.limit > 0 {
		length = d.limit - from
	}
	body, err := d.store.openSource(d.ctx, d.sources[d.at%len(d.sources)], from, length)
	if err != nil {
		return err
	}
	if d.limit > 0 && body.Offset != from { // the way there is what a window saves
		body.Close()
		return errNoRange
	}
	passed := d.hash != nil && body.Size < from // by what has left already, and not by a reader that begins there
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
	d.body, d.arrived = body, from
	return nil
}

// seek goes elsewhere, from where nothing can be verified unless it is the beginning.
func (d *direct) seek(offset int64) {
	if offset == d.offset {
		return
	}
	d.close()
	d.offset, d.held, d.verified, d.hash = offset, nil, false, nil
	if offset == 0 {
		d.hash = d.digest.Algorithm().Hash()
	}
}

func (d *direct) close() {
	if d.body != nil {
		d.body.Close()
		d.body = nil
	}
}

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

// receive takes more from the source, and asks it again where it breaks off.
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
		d.failures = 0
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
	case d.limit > 0 && d.body == nil: // a window is refused; the transfer brings the bytes too
		return err
	}
	d.close()
	d.at++
	if d.failures++; d.failures > maxResumes*len(d.sources) {
		return fmt.Errorf("stream broke off at byte %d: %w", d.arrived, err)
	}
	if d.failures%len(d.sources) == 0 {
		pause(d.ctx)
	}
	return nil
}

func (d *direct) finish() error {
	if d.hash != nil {
		right := digest.NewDigest(d.digest.Algorithm(), d.hash) == d.digest
		if d.proof != nil {
			d.proof.note(right)
		}
		if !right {
			if d.proof == nil && len(d.sources) == 1 {
				d.store.quarantineSource(d.digest, d.sources[0])
			}
			return ErrWrongContent
		}
		if tell := d.sources[d.at%len(d.sources)].Verified; tell != nil {
			tell()
		}
	}
	d.verified = true
	return nil
}
