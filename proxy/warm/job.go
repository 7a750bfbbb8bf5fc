package warm

import (
	"context"
	"errors"
	"slices"
	"time"

	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/proxy/store"
)

// The states of a job.
const (
	queued  = "queued"
	running = "running"
	done    = "done"
	failed  = "failed"
)

// job is one image that is to be warmed. All but kind, image and added is guarded by Warmer.mu.
type job struct {
	kind   string
	image  Image
	added  time.Time
	wanted []string // the datacenters whose edges agree on who fetches; none: this one alone
	leads  bool     // another edge waits for this one to fetch it

	state string
	due   time.Time
	again bool // it was pushed or asked for anew while it was under way
	tries int
	ended time.Time
	err   error  // why it is tried again, or failed
	note  string // what was left out of one that is done

	from          string   // the datacenter whose edge gives it; "": its sources do
	signs         []string // references of what signs it, as they were found
	manifests     int      // that are known to belong to it
	manifestsHere int      // that are in the store
	bytes         int64    // of blobs that were not in the store when it began
	bytesHere     int64

	lead lead
}

// lead is how far another edge was seen to be with its queue.
type lead struct {
	datacenter string
	moves      uint64
	since      time.Time
}

const (
	maxTries         = 5
	maxTriesOperator = 2 // somebody waits
)

var (
	errStalled = errors.New("nothing of it has come for a while")
	errWaits   = errors.New("another edge is at it")
)

// Run warms what is queued, and what schedules say, until ctx ends.
func (w *Warmer) Run(ctx context.Context) {
	for range workers {
		go w.work(ctx)
	}
	w.clock(ctx)
}

func (w *Warmer) work(ctx context.Context) {
	for ctx.Err() == nil {
		j, wait := w.next()
		if j != nil {
			w.rouse() // the other worker may have something to do, too
			w.do(ctx, j)
			continue
		}
		timer := time.NewTimer(min(wait, time.Minute))
		select {
		case <-ctx.Done():
		case <-w.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// next takes the job that is due; nil: none is for so long.
func (w *Warmer) next() (*job, time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	j, wait, ok := w.order.Next(w.cfg.Now(), func(j *job, due time.Time) bool { return j.state == queued && j.due.Equal(due) })
	if !ok {
		return nil, wait
	}
	j.state, j.again = running, false
	return j, 0
}

// do tries once. An image whose sources say nothing is given up, so that those behind it are
// warmed.
func (w *Warmer) do(ctx context.Context, j *job) {
	trying, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(w.cfg.Patience, func() { cancel(errStalled) })
	defer timer.Stop()
	begun := w.cfg.Now()
	err := w.attempt(trying, &load{w: w, j: j, moved: func() { timer.Reset(w.cfg.Patience) }})
	if cause := context.Cause(trying); cause != nil && err != nil {
		err = cause
	}
	if ctx.Err() == nil {
		w.end(j, begun, err)
	}
}

// end notes what came of a try.
func (w *Warmer) end(j *job, begun time.Time, err error) {
	now := w.cfg.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	switch most := maxTries; {
	case errors.Is(err, errWaits):
		j.state = queued
		w.queue(j, now.Add(min(30*w.cfg.Pace, 2*w.cfg.Pace+now.Sub(j.added)/4)))
		return
	case j.again: // what came of this try is no word on what is there now
		j.state, j.tries, j.err = queued, 0, err
		w.queue(j, now)
		return
	case err != nil:
		if j.kind == Operator {
			most = maxTriesOperator
		}
		j.err = err
		if j.tries++; j.tries < most && !final(j.kind, err) {
			j.state = queued
			w.queue(j, now.Add(5*w.cfg.Pace<<(j.tries-1)))
			return
		}
		j.state = failed
	default:
		j.state, j.err = done, nil
	}
	j.ended = now
	w.keep(j)
	w.report(j, now.Sub(begun))
}

// final reports whether another try would find the same. What was pushed may be on its way.
func final(kind string, err error) bool {
	return errors.Is(err, store.ErrNoRoom) || errors.Is(err, errPlatforms) || outcome.IsPolicy(err) || kind != Push && outcome.IsNo(err)
}

// keep moves a job to those that have ended. w.mu is locked.
func (w *Warmer) keep(j *job) {
	key := j.image.key()
	delete(w.jobs, key)
	if w.ended[key] == nil {
		w.endings = append(w.endings, key)
	} else {
		at := slices.Index(w.endings, key)
		w.endings = append(slices.Delete(w.endings, at, at+1), key)
	}
	w.ended[key] = j
	if len(w.endings) > maxEnded {
		delete(w.ended, w.endings[0])
		w.endings = w.endings[1:]
	}
}

// report logs and counts what came of an image. w.mu is locked.
func (w *Warmer) report(j *job, took time.Duration) {
	attrs := []any{"image", j.image.String(), "platforms", j.image.Platforms, "kind", j.kind, "from", j.from, "manifests", j.manifestsHere,
		"bytes", j.bytesHere, "seconds", took.Seconds()}
	if j.state == done {
		w.metrics.images.WithLabelValues(j.kind, resultWarmed).Inc()
		w.cfg.Log.Info("warmed", append(attrs, "note", j.note)...)
		return
	}
	result := resultFailed
	if errors.Is(j.err, store.ErrNoRoom) {
		result = resultNoRoom
	}
	w.metrics.images.WithLabelValues(j.kind, result).Inc()
	w.cfg.Log.Warn("not warmed", append(attrs, "tries", j.tries, "err", j.err.Error())...)
}

// union of two lists of datacenters. None is this one alone.
func union(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}
