package lab

import (
	"context"
	"sync"
	"time"
)

// jobs is what runs behind the requests: replications and webhooks.
type jobs struct {
	mu     sync.Mutex
	idle   *sync.Cond // busy or held has changed
	busy   int
	held   bool
	ctx    context.Context // of those that have been set off
	cancel context.CancelFunc
}

func newJobs() *jobs {
	j := &jobs{}
	j.ctx, j.cancel = context.WithCancel(context.Background())
	j.idle = sync.NewCond(&j.mu)
	return j
}

// after runs do when the time has passed; the context ends with Close.
func (j *jobs) after(delay time.Duration, do func(ctx context.Context)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.busy++
	ctx := j.ctx
	go func() {
		defer func() {
			j.mu.Lock()
			defer j.mu.Unlock()
			j.busy--
			j.idle.Broadcast()
		}()
		if pause(ctx, delay) && j.released(ctx) {
			do(ctx)
		}
	}()
}

// pause waits, and reports whether the context lasted.
func pause(ctx context.Context, delay time.Duration) bool {
	if delay <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// released waits until nothing is held back, and reports whether it may go on.
func (j *jobs) released(ctx context.Context) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.held && ctx.Err() == nil {
		j.idle.Wait()
	}
	return ctx.Err() == nil
}

// context is that of what is set off now.
func (j *jobs) context() context.Context {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.ctx
}

func (j *jobs) hold(held bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.held = held
	j.idle.Broadcast()
}

// close stops everything and waits for it.
func (j *jobs) close() {
	j.mu.Lock()
	j.cancel()
	j.idle.Broadcast()
	j.mu.Unlock()
	j.wait()
}

// forget is close for a Harbor that goes on, without what was to be done.
func (j *jobs) forget() {
	j.close()
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ctx, j.cancel = context.WithCancel(context.Background())
}

func (j *jobs) wait() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.busy > 0 {
		j.idle.Wait()
	}
}

// Idle waits until every replication and webhook that was set off here has ended.
func (h *Harbor) Idle() { h.jobs.wait() }

// Hold keeps replications and webhooks from beginning until release is called, so
// that a test may find them waiting.
func (h *Harbor) Hold() (release func()) {
	h.jobs.hold(true)
	return func() { h.jobs.hold(false) }
}
