package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// Source is one place that may have a blob.
type Source struct {
	// Name is the place's, the same for every blob: "harbor", "peer mad1".
	Name string
	// Owner is in whose name the place is asked: a Reader tells whose sources its
	// bytes come from. All sources of one call have the same.
	Owner string
	// Verified is called when a whole blob, of which this source brought some, has
	// proven right, and before it is held; nil: nothing.
	Verified func()
	// Open answers with the blob's bytes from offset on, length of them (negative:
	// to the end), or with the error that the reader's client is to hear. A fill
	// calls it with a context of its own, never a client's, and again after a body
	// that broke off; windows and streams past the disk call it at the same time.
	// It may send more than it was asked for.
	Open func(ctx context.Context, offset, length int64) (Body, error)
}

// Body is a source's answer.
type Body struct {
	io.ReadCloser
	Size   int64 // of the whole blob; -1: the source does not say
	Offset int64 // where these bytes begin: 0 from a source that ignores ranges
}

// leastProgress is how many bytes a source must send within Config.Idle. One that
// sends fewer counts as silent.
const leastProgress = 32 << 10

// openSource asks src for the bytes from offset on. The answer gives up when too
// little comes within the store's Idle.
func (s *Store) openSource(ctx context.Context, src Source, offset, length int64) (Body, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	idle := time.AfterFunc(s.cfg.Idle, func() { cancel(fmt.Errorf("%s sent too little for %v", src.Name, s.cfg.Idle)) })
	body, err := src.Open(ctx, offset, length)
	idle.Stop()
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		cancel(nil)
		return Body{}, err
	}
	inner := body.ReadCloser
	stop := context.AfterFunc(ctx, func() { inner.Close() })
	body.ReadCloser = &guarded{ReadCloser: inner, ctx: ctx, timer: idle, patience: s.cfg.Idle, release: func() {
		idle.Stop()
		stop()
		cancel(nil)
	}}
	return body, nil
}

// guarded is a body whose reads may wait for patience together, until enough has
// come: then anew. The time between reads is the reader's own.
type guarded struct {
	io.ReadCloser
	ctx      context.Context
	timer    *time.Timer
	patience time.Duration
	waited   time.Duration
	came     int
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

// pause lets a moment pass before a source is asked again.
func pause(ctx context.Context) {
	timer := time.NewTimer(resumeWait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
