package lab

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// ReplicationStep is what a replication is about to do.
type ReplicationStep struct {
	// Put: it has read a manifest and copied what that names, and writes it now, whatever
	// has happened at either side meanwhile. Else: an execution begins its work.
	Put                     bool
	Repo, Reference, Digest string // of what is put: the repo and reference at the destination
}

// Busy returns a Replicating of a Harbor that has much to do: each step waits as long as
// chance says, between the two times. Runs with one seed wait the same times, in the
// order in which they come.
func Busy(seed uint64, least, most time.Duration) func(context.Context, ReplicationStep) error {
	var mu sync.Mutex
	chance := rand.New(rand.NewPCG(seed, 0))
	return func(ctx context.Context, _ ReplicationStep) error {
		mu.Lock()
		wait := least + time.Duration(chance.Int64N(int64(most-least)+1))
		mu.Unlock()
		pause(ctx, wait)
		return ctx.Err()
	}
}

// queue waits for a worker, and does the execution.
func (r *replication) queue(ctx context.Context) error {
	if r.h.workers != nil {
		select {
		case r.h.workers <- struct{}{}:
			defer func() { <-r.h.workers }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := r.step(ctx, ReplicationStep{}); err != nil {
		return err
	}
	return r.run(ctx)
}

// step waits until the step may be taken.
func (r *replication) step(ctx context.Context, s ReplicationStep) error {
	if r.h.cfg.Replicating != nil {
		if err := r.h.cfg.Replicating(ctx, s); err != nil {
			return err
		}
	}
	return ctx.Err()
}
