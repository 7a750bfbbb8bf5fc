package store

import (
	"context"
	"io"
	"os"
	"time"

	"github.com/opencontainers/go-digest"
)

// proof is the check of one held blob's bytes against its digest. A blob is
// proven when it comes, and again on its first use after a start and whenever
// its file's time is not what it was; the scrub proves the others by and by.
type proof struct {
	store *Store
	blob  *blob
	ctx   context.Context // of the reader
	file  *os.File
	time  time.Time // the file's
	done  bool
}

// proving turns the reader of a held blob into one that checks the blob as it
// reads: its last bytes are held back until the digest matches.
func (s *Store) proving(ctx context.Context, held *Reader, b *blob, fileTime time.Time) *Reader {
	file := held.file
	src := func(_ context.Context, offset, _ int64) (Body, error) {
		return Body{io.NopCloser(io.NewSectionReader(file, offset, b.size-offset)), b.size, offset}, nil
	}
	if b.turn == nil {
		b.turn = make(chan struct{}, 1)
	}
	stream := &direct{store: s, ctx: ctx, digest: b.digest, src: src, size: b.size, hash: b.digest.Algorithm().Hash(),
		proof: &proof{store: s, blob: b, ctx: ctx, file: file, time: fileTime}}
	return &Reader{direct: stream, ctx: ctx, release: func() {
		file.Close()
		held.release()
	}}
}

// whole proves the blob before a part of it is read. Of the readers of one blob
// one does, and the others wait.
func (p *proof) whole() error {
	if p.done {
		return nil
	}
	select {
	case p.blob.turn <- struct{}{}:
		defer func() { <-p.blob.turn }()
	case <-p.ctx.Done():
		return p.ctx.Err()
	}
	if p.isProven() {
		return nil
	}
	h := p.blob.digest.Algorithm().Hash()
	for at := int64(0); at < p.blob.size; at += scrubChunk {
		if err := p.ctx.Err(); err != nil {
			return err
		}
		if _, err := io.Copy(h, io.NewSectionReader(p.file, at, min(scrubChunk, p.blob.size-at))); err != nil {
			return err
		}
	}
	if right := digest.NewDigest(p.blob.digest.Algorithm(), h) == p.blob.digest; !p.note(right) {
		return ErrWrongContent
	}
	return nil
}

func (p *proof) isProven() bool {
	p.store.mu.Lock()
	defer p.store.mu.Unlock()
	p.done = p.blob.proven.Equal(p.time)
	return p.done
}

// note keeps the result: a blob that is something else now is dropped, so that
// the next request fetches it again.
func (p *proof) note(right bool) bool {
	s := p.store
	s.mu.Lock()
	defer s.mu.Unlock()
	p.done = right
	if right {
		p.blob.proven = p.time
		return true
	}
	if element, ok := s.blobs[p.blob.digest]; ok && element.Value.(*blob) == p.blob {
		s.metrics.rotten.Inc()
		s.cfg.Log.Error("a blob on disk is not what it was; dropped", "digest", p.blob.digest.String())
		s.drop(element)
	}
	return false
}

const (
	defaultScrub = time.Minute
	scrubChunk   = 1 << 20
	scrubRate    = 16 << 20 // bytes per second: it is to be nobody's rival for the disk
)

// scrub reads blobs again, one at a time, in no order.
func (s *Store) scrub() {
	every := s.cfg.Scrub
	if every == 0 {
		every = defaultScrub
	}
	if every < 0 {
		return
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-ticker.C:
			s.scrubOne()
		}
	}
}

func (s *Store) scrubOne() {
	s.mu.Lock()
	var b *blob
	for _, element := range s.blobs { // a map's order is the sample's
		b = element.Value.(*blob)
		break
	}
	s.mu.Unlock()
	if b == nil {
		return
	}
	file, err := os.Open(s.path(b.digest))
	if err != nil {
		return // evicted meanwhile
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return
	}
	h := b.digest.Algorithm().Hash()
	pause := time.NewTicker(time.Second * scrubChunk / scrubRate)
	defer pause.Stop()
	for {
		_, err := io.CopyN(h, file, scrubChunk)
		if err == io.EOF {
			break
		}
		if err != nil {
			s.cfg.Log.Warn("blob not read by the scrub", "digest", b.digest.String(), "err", err.Error())
			return
		}
		select {
		case <-pause.C:
		case <-s.ctx.Done():
			return
		}
	}
	(&proof{store: s, blob: b, time: info.ModTime()}).note(digest.NewDigest(b.digest.Algorithm(), h) == b.digest)
}
