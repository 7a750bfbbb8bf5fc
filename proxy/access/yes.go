package access

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"example.org/breakwater/registry"
)

const (
	yesFor   = 15 * time.Second       // how long Harbor's yes is used before it is asked again
	yesAgain = 5 * time.Second        // how long Harbor is not asked again after it did not answer
	yesWait  = 500 * time.Millisecond // how long requests wait for Harbor's answer
)

// yes is what Harbor has said of a credential, a repo and an action.
type yes struct {
	at     time.Time // when the question began that it answered
	until  time.Time // when it counts no longer, though Harbor does not answer
	failed time.Time // when a question began that it did not answer since; zero: none
}

// yeses are Harbor's, by yesKey. Safe for concurrent use.
type yeses struct {
	mu    sync.Mutex
	said  *lru.Cache[grantKey, yes]
	again map[grantKey]*again // that are under way
}

// again is a question whether a yes still counts. Any number of requests wait for it.
type again struct {
	done chan struct{}
	over chan struct{} // closed when nobody is to wait any longer
	err  error
}

func newYeses() (*yeses, error) {
	said, err := lru.New[grantKey, yes](maxRemembered)
	return &yeses{said: said, again: map[grantKey]*again{}}, err
}

// yesKey stands for Harbor's yes, which is for one project.
func (c *Checker) yesKey(q Query) grantKey {
	return c.inMemory(strconv.FormatInt(c.Project(q.Repos[0]), 10), q.Repos[0], q.Action, q.Authorization)
}

// saidYes returns Harbor's yes, where it is remembered and counts.
func (c *Checker) saidYes(q Query, now time.Time) (key grantKey, y yes, ok bool) {
	key = c.yesKey(q)
	y, ok = c.yeses.said.Get(key)
	return key, y, ok && now.Before(y.until)
}

// stillYes reports what Harbor says now of what it said yes to: a robot that was disabled or
// got another password is refused as soon as Harbor is asked again. One question is asked for
// all who come. A Harbor that does not answer takes nothing back. A token is good until its
// end at Harbor, too.
func (c *Checker) stillYes(ctx context.Context, q Query, key grantKey, y yes) error {
	now := c.cfg.Now()
	scheme, _, _ := strings.Cut(q.Authorization, " ")
	if scheme != "" && !strings.EqualFold(scheme, "Basic") || now.Sub(y.at) < yesFor || now.Sub(y.failed) < yesAgain {
		return nil
	}
	c.yeses.mu.Lock()
	a := c.yeses.again[key]
	if a == nil {
		a = &again{done: make(chan struct{}), over: make(chan struct{})}
		c.yeses.again[key] = a
		time.AfterFunc(yesWait, func() { close(a.over) })
		go c.askAgain(context.WithoutCancel(ctx), q, key, y, a)
	}
	c.yeses.mu.Unlock()
	select {
	case <-a.done:
		return a.err
	case <-a.over:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Checker) askAgain(ctx context.Context, q Query, key grantKey, y yes, a *again) {
	began := c.cfg.Now()
	err := c.askNow(ctx, q, began)
	switch {
	case err == nil:
	case errors.Is(err, &registry.Error{Code: registry.CodeUnavailable}):
		y.failed = began
		c.yeses.said.Add(key, y)
	default:
		c.yeses.said.Remove(key)
		a.err = err
	}
	c.yeses.mu.Lock()
	defer c.yeses.mu.Unlock()
	delete(c.yeses.again, key)
	close(a.done)
}

// askNow asks Harbor, and remembers a yes.
func (c *Checker) askNow(ctx context.Context, q Query, began time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, askDeadline)
	defer cancel()
	if err := c.askHarbor(ctx, q, http.MethodHead); err != nil {
		return err
	}
	c.lookAfter(ctx, q.Repos[0], began, projectDoubt) // it may be a user of another project than before
	c.yeses.said.Add(c.yesKey(q), yes{at: began, until: began.Add(min(rememberFor, lifetime(q.Authorization, began)))})
	return nil
}
