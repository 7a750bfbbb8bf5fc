package console

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	believed   = time.Second     // an answer is everybody's
	kept       = 5 * time.Minute // an answer may stand in for one that is late
	maxAnswers = 128             // that are kept
)

// answer is what a page's data was.
type answer struct {
	data  any
	err   error
	at    time.Time     // when the data was had
	tried time.Time     // when it was asked for last
	age   time.Duration // of data that stands in for what is late or failed; 0: it does not
}

// answers are those of the last minutes. Who asks what somebody is asking already waits with
// them, so that a hundred readers cost what one does.
type answers struct {
	mu  sync.Mutex
	now func() time.Time
	all map[string]*asked
}

type asked struct {
	last answer        // at zero: there is none
	wait chan struct{} // closed when the question that is under way is answered; nil: none is
}

func newAnswers(now func() time.Time) *answers {
	return &answers{now: now, all: map[string]*asked{}}
}

// get returns what was answered within a second, or asks. It waits for 850 ms: what comes
// later is for the next one, and the last answer stands in.
func (a *answers) get(ctx context.Context, key string, ask func(context.Context) (any, error)) answer {
	a.mu.Lock()
	q := a.of(key)
	if q == nil {
		a.mu.Unlock()
		return answer{err: fmt.Errorf("%d different questions are being asked already: try again", maxAnswers), at: a.now()}
	}
	if q.wait == nil && !q.last.tried.IsZero() && a.now().Sub(q.last.tried) < believed {
		defer a.mu.Unlock()
		return a.aged(q)
	}
	if q.wait == nil {
		q.wait = make(chan struct{})
		go a.ask(q, ask)
	}
	wait := q.wait
	a.mu.Unlock()
	late := time.NewTimer(deadline)
	defer late.Stop()
	select {
	case <-wait:
	case <-late.C:
	case <-ctx.Done():
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if q.wait == wait && q.last.tried.IsZero() {
		return answer{err: fmt.Errorf("there is no answer yet, after %v. It is waited for: look again", deadline), at: a.now()}
	}
	return a.aged(q)
}

// aged is the last answer, with its age where it should be a newer one; a.mu is held.
func (a *answers) aged(q *asked) answer {
	got := q.last
	if q.wait != nil || got.at != got.tried {
		got.age = a.now().Sub(got.at)
	}
	return got
}

// ask has one question answered, for all who wait. Where it fails, what was answered before
// stays beside the error.
func (a *answers) ask(q *asked, ask func(context.Context) (any, error)) {
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	data, err := guarded(ctx, ask)
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	if data != nil || errors.Is(err, ErrInput) {
		q.last.data, q.last.at = data, now
	} else if q.last.data == nil {
		q.last.at = now
	}
	q.last.err, q.last.tried = err, now
	close(q.wait)
	q.wait = nil
}

// guarded has a page that breaks break alone.
func guarded(ctx context.Context, ask func(context.Context) (any, error)) (data any, err error) {
	defer func() {
		if broken := recover(); broken != nil {
			data, err = nil, fmt.Errorf("the page is broken: %v", broken)
		}
	}()
	return ask(ctx)
}

// of is what is known of a question; a.mu is held. What is oldest makes room; nil: all are
// being asked.
func (a *answers) of(key string) *asked {
	if q := a.all[key]; q != nil {
		if q.wait == nil && a.now().Sub(q.last.tried) > kept {
			q.last = answer{}
		}
		return q
	}
	if len(a.all) >= maxAnswers {
		oldest := ""
		for k, q := range a.all {
			if q.wait == nil && (oldest == "" || q.last.tried.Before(a.all[oldest].last.tried)) {
				oldest = k
			}
		}
		if oldest == "" {
			return nil
		}
		delete(a.all, oldest)
	}
	a.all[key] = &asked{}
	return a.all[key]
}
