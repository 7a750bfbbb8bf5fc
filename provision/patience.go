package provision

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// noticeAfter is how long somebody is waited for before it is said: what says nothing for
// longer looks as if it hung.
const noticeAfter = 5 * time.Second

// silent is why a Harbor is away for the rest of a run.
type silent struct {
	at, call string
	after    time.Duration
}

func (s silent) Error() string {
	return fmt.Sprintf("the Harbor at %s took %s and gave no answer in %v, so it is left alone for the rest of this run: look at its health and its load, and run this again", s.at, s.call, s.after)
}

// watch says that an answer is waited for, until done is called.
func (h *harbor) watch(req *http.Request, timeout time.Duration) (done func()) {
	if h.waiting == nil || timeout <= h.notice {
		return func() {}
	}
	timer := time.AfterFunc(h.notice, func() {
		if last := h.noticed.Load(); time.Now().UnixNano()-last < int64(timeout) || !h.noticed.CompareAndSwap(last, time.Now().UnixNano()) {
			return // it was said of another call of these moments
		}
		whom := ""
		if leadsToPeer(req) {
			whom = ", for which it asks another registry"
		}
		h.waiting(fmt.Sprintf("waiting for %s: the Harbor at %s has not answered %s for %v%s; it is waited for until %v are over", h.name, h.base, callOf(req), h.notice, whom, timeout))
	})
	return func() { timer.Stop() }
}

// greet logs in to Harbors, all at once: whoever gives no answer is then waited for once, and
// not one after the other. What fails is said where it is met again.
func (p *Provisioner) greet(ctx context.Context, datacenters []string) {
	names := map[string]bool{}
	for _, name := range datacenters {
		names[name] = true
	}
	p.each(func(name string, h *harbor) error {
		if names[name] {
			return h.login(ctx)
		}
		return nil
	})
}

// spare keeps Harbors from being sent to those that are known to give no answer: it would
// take each of them a minute to find that out.
func (p *Provisioner) spare() {
	for name, away := range p.harbors {
		if away.awake.Err() == nil {
			continue
		}
		for _, h := range p.harbors {
			h.deaf.Store(away.base, name+" does not answer")
		}
	}
}

// watch says that a replication is waited for, until done is called.
func (v *verifier) watch(format string, args ...any) (done func()) {
	if v.options.Waiting == nil {
		return func() {}
	}
	timer := time.AfterFunc(noticeAfter, func() { v.options.Waiting(fmt.Sprintf(format, args...)) })
	return func() { timer.Stop() }
}
