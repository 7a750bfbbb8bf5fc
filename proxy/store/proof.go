package store

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/disk"
)

// proof is one check of a held blob's bytes against its digest. A blob is proven when it
// arrives, again on its first use after a start, and again when its file's modification
// time has changed. The scrub proves the other blobs over time.
type proof struct {
	store  *Store
	digest digest.Digest
	size   int64
	ctx    context.Context // of the reader
	file   *os.File
	time   time.Time // the file's modification time
	turn   *turn
	done   bool
}

// turn lets one of a blob's readers at a time prove the whole blob.
type turn struct {
	taken chan struct{}
	users int
}

// proving returns a reader that proves the held blob while it reads it: the last bytes
// are held back until the digest is verified. s.mu is locked.
func (s *Store) proving(ctx context.Context, held *Reader, d digest.Digest, fileTime time.Time) *Reader {
	file, size := held.file, held.size
	src := Source{Open: func(_ context.Context, offset, _ int64) (Body, error) {
		return Body{ReadCloser: io.NopCloser(s.part(file, offset, size-offset)), Size: size, Offset: offset}, nil
	}}
	t := s.turns[d]
	if t == nil {
		t = &turn{taken: make(chan struct{}, 1)}
		s.turns[d] = t
	}
	t.users++
	stream := &direct{store: s, ctx: ctx, digest: d, rota: rota{sources: []Source{src}}, size: size, hash: d.Algorithm().Hash(),
		proof: &proof{store: s, digest: d, size: size, ctx: ctx, file: file, time: fileTime, turn: t}}
	return &Reader{direct: stream, ctx: ctx, release: func() {
		s.close(file)
		s.mu.Lock()
		defer s.mu.Unlock()
		if t.users--; t.users == 0 {
			delete(s.turns, d)
		}
	}}
}

// whole proves the whole blob before a range of it is read. One of the blob's readers
// does it; the others wait for its result.
func (p *proof) whole() error {
	if p.done {
		return nil
	}
	select {
	case p.turn.taken <- struct{}{}:
		defer func() { <-p.turn.taken }()
	case <-p.ctx.Done():
		return p.ctx.Err()
	}
	if p.isProven() {
		return nil
	}
	h := p.digest.Algorithm().Hash()
	for at := int64(0); at < p.size; at += scrubChunk {
		if err := p.ctx.Err(); err != nil {
			return err
		}
		if _, err := io.Copy(h, p.store.part(p.file, at, min(scrubChunk, p.size-at))); err != nil {
			p.unreadable(err)
			return err
		}
	}
	if right := digest.NewDigest(p.digest.Algorithm(), h) == p.digest; !p.note(right) {
		return ErrWrongContent
	}
	return nil
}

// isProven reports whether another reader has proven the blob.
func (p *proof) isProven() bool {
	p.store.mu.Lock()
	defer p.store.mu.Unlock()
	b := p.store.blobs.get(p.digest)
	p.done = b != nil && b.isProven(p.time.UnixNano())
	return p.done
}

// note records the result of a proof. A blob that does not match its digest is dropped,
// so that the next request fetches it again. note returns right.
func (p *proof) note(right bool) bool {
	if !right {
		p.drop("a held blob no longer matches its digest; it is dropped")
		return false
	}
	s, is := p.store, p.isBlobsFile()
	s.mu.Lock()
	defer s.unlock()
	p.done = true
	if b := s.blobs.get(p.digest); b != nil && is {
		b.proven = p.time.UnixNano()
	}
	return true
}

// unreadable drops a blob that the disk cannot read to its end: a part of the disk is broken, and
// every request would break off there. A disk that does not answer says nothing of the blob.
func (p *proof) unreadable(err error) {
	if !disk.Silent(err) && !errors.Is(err, os.ErrClosed) {
		p.drop("a held blob cannot be read to its end; it is dropped", "err", err.Error())
	}
}

// drop drops the blob, unless it was dropped or fetched again meanwhile.
func (p *proof) drop(why string, more ...any) {
	s, is := p.store, p.isBlobsFile()
	s.mu.Lock()
	defer s.unlock()
	p.done = false
	if b := s.blobs.get(p.digest); b != nil && is {
		s.metrics.rotten.Inc()
		s.cfg.Log.Error(why, append([]any{"digest", p.digest.String()}, more...)...)
		s.drop(b)
	}
}

// isBlobsFile reports whether the file that was checked is still the blob's file.
func (p *proof) isBlobsFile() bool {
	is, err := disk.Do(p.store.disk, patience, func() (bool, error) {
		checked, err := p.file.Stat()
		if err != nil {
			return false, err
		}
		now, err := os.Stat(p.store.path(p.digest))
		return err == nil && os.SameFile(checked, now), err
	}, nil)
	return is && err == nil
}
