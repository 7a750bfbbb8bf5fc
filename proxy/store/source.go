package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// Source is a registry, or another edge, that may have a blob.
type Source struct {
	// Name names the source, for example "harbor" or "peer mad1". It is the same
	// for every blob.
	Name string
	// Owner names on whose behalf the source is asked: the edge sets the project.
	// Reader.Owner returns it, so that a caller sees for whom the fill that it
	// shares was started. All sources of one call have the same Owner.
	Owner string
	// Verified is called when a blob's digest has been verified and this source
	// sent at least a part of the blob. It is called before the store holds the
	// blob. nil: nothing is called.
	Verified func()
	// Hedge is how long the source has for itself when a transfer begins: then the next
	// is asked beside it. 0: as long as it takes.
	Hedge time.Duration
	// Open returns the blob's bytes from offset on: length of them, or all where
	// length is negative. Its error is what the reader's client is told. The body
	// may have more bytes than were asked for. How long the source is waited for until
	// its first byte is Open's to know.
	//
	// A fill calls Open with its own context, never with a client's. It calls Open
	// again after a body that broke off. Windows and direct streams may call Open
	// at the same time.
	Open func(ctx context.Context, offset, length int64) (Body, error)
}

// Body is what a source sends of a blob.
type Body struct {
	io.ReadCloser
	Size   int64 // the length of the whole blob; negative: the source does not say it
	Offset int64 // the offset of the first byte; 0 from a source that ignores ranges
	// Doubtful says that the bytes may well be no blob's. A fill gives readers nothing of
	// them before the whole is verified.
	Doubtful bool
	// Otherwise is the same source, read in another way, which is asked next where these
	// bytes are wrong; nil: there is none.
	Otherwise *Source
	// Parts is how many bodies at once the source gives of this blob, this one too: it is known
	// to hold the blob, and to honour ranges. 0 or 1: no more are asked for.
	Parts int
	// Trip is how long the way to the source and back takes at most; 0: that is not known.
	Trip time.Duration
}

// leastProgress is how many bytes a source must send within Config.Idle, and before it
// breaks off. One that sends fewer counts as silent.
const leastProgress = 32 << 10

// openSource asks src for the bytes from offset on. The body fails when the source sends
// fewer than leastProgress bytes within Config.Idle.
func (s *Store) openSource(ctx context.Context, src Source, offset, length int64) (Body, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	body, err := src.Open(ctx, offset, length)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		cancel(nil)
		return Body{}, err
	}
	if err := checkClaims(src, body); err != nil {
		body.Close()
		cancel(nil)
		return Body{}, err
	}
	inner := body.ReadCloser
	idle := time.AfterFunc(s.cfg.Idle, func() { cancel(fmt.Errorf("%s sent too little for %v", src.Name, s.cfg.Idle)) })
	idle.Stop()
	stop := context.AfterFunc(ctx, func() { inner.Close() })
	body.ReadCloser = &guarded{ReadCloser: inner, ctx: ctx, timer: idle, patience: s.cfg.Idle, release: func() {
		idle.Stop()
		stop()
		cancel(nil)
	}}
	return body, nil
}

// checkClaims refuses what no blob can be. Every length and offset that a source names
// passes here before anything is computed with it.
func checkClaims(src Source, body Body) error {
	switch {
	case body.Size > MaxBlob:
		return fmt.Errorf("%s says that the blob has %d bytes; more than %d are not believed", src.Name, body.Size, int64(MaxBlob))
	case body.Offset < 0:
		return fmt.Errorf("%s says that its bytes begin at %d", src.Name, body.Offset)
	}
	return nil
}

// guarded is a body that fails when its reads together have waited for patience without
// leastProgress bytes. After so many bytes the count begins again. Time between reads
// does not count, because the reader spends it.
type guarded struct {
	io.ReadCloser
	ctx      context.Context
	timer    *time.Timer
	patience time.Duration
	waited   time.Duration // by all reads since the last leastProgress bytes
	came     int           // bytes since then
	release  func()
}

// Read implements io.Reader.
func (g *guarded) Read(p []byte) (int, error) {
	begun := time.Now()
	g.timer.Reset(max(0, g.patience-g.waited))
	n, err := g.ReadCloser.Read(p)
	g.timer.Stop()
	g.waited += time.Since(begun)
	if g.came += n; g.came >= leastProgress {
		g.came, g.waited = 0, 0
	}
	if cause := context.Cause(g.ctx); err != nil && !errors.Is(err, io.EOF) && cause != nil {
		err = cause
	}
	return n, err
}

// Close implements io.Closer.
func (g *guarded) Close() error {
	g.release()
	return g.ReadCloser.Close()
}

// pause waits for a time, or until ctx ends.
func pause(ctx context.Context, wait time.Duration) {
	if wait <= 0 {
		return
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
