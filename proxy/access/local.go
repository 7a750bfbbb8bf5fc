package access

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"example.org/breakwater/registry"
)

// kind is what the registry behind the edge is to somebody without credentials.
type kind int

const (
	harbors kind = iota // a Harbor, or it has not said otherwise: the edge speaks for it
	open                // it answers everybody
	guarded             // it has a login of its own, or asks some for one and some not
)

// local knows what kind of registry is behind the edge, by its answer to a question for the
// API's root. The last answer holds until there is a new one.
type local struct {
	harbor *registry.Source
	now    func() time.Time

	plain  atomic.Bool                  // for those who do not wait: it has answered, and is no Harbor
	realms *lru.Cache[string, *url.URL] // where its challenges say that a token service is

	mu      sync.Mutex
	is      kind
	refuses bool      // it has refused somebody without credentials though its root is open
	decided bool      // the registry has answered once
	probing bool      // a probe is under way
	until   time.Time // when the next probe is due
}

const (
	openFor       = time.Minute
	closedFor     = 10 * time.Minute
	undecidedFor  = 5 * time.Second
	maxRealms     = 16
	probeDeadline = 2 * time.Second
)

// Plain reports whether the registry behind the edge is no Harbor. Then it challenges clients
// itself, and says of everybody what they may do. It is waited for until it has answered once.
func (c *Checker) Plain(ctx context.Context) bool { return c.kind(ctx) != harbors }

// KnownPlain is Plain for those who wait for nobody: false before the registry has answered.
func (c *Checker) KnownPlain() bool {
	return c.local.plain.Load() && c.keys.Load() == nil
}

// TokenService reports whether a path is that of a plain registry's own token service, for a client
// who uses an address (scheme and host). It waits as Plain does.
func (c *Checker) TokenService(ctx context.Context, path, client string) bool {
	if !c.Plain(ctx) {
		return false
	}
	front := c.cfg.Harbor.Front(client)
	return slices.ContainsFunc(c.local.realms.Values(), func(realm *url.URL) bool { return realm.Path == path && front.HasService(realm) })
}

// Challenged takes note of the challenges of the registry behind the edge.
func (c *Checker) Challenged(values []string) { c.local.challenged(registry.ParseChallenges(values)) }

func (l *local) challenged(challenges []registry.Challenge) {
	for _, c := range challenges {
		if realm, ok := c.Realm(); ok {
			l.realms.Add(c.Params["realm"], realm)
		}
	}
}

// kind is the registry's; where tokens are verified here it is a Harbor.
func (c *Checker) kind(ctx context.Context) kind {
	if c.keys.Load() != nil {
		return harbors
	}
	return c.local.known(ctx)
}

// known returns at once what the last probe found, and starts a new probe in the background
// when one is due. Only before the registry's first answer does a request wait for a probe.
func (l *local) known(ctx context.Context) kind {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.now().Before(l.until) || l.probing {
		return l.kind()
	}
	if !l.decided {
		l.note(l.probe(ctx))
		return l.kind()
	}
	l.probing = true
	go func() {
		status, challenges := l.probe(context.WithoutCancel(ctx))
		l.mu.Lock()
		defer l.mu.Unlock()
		l.probing = false
		l.note(status, challenges)
	}()
	return l.kind()
}

// kind is what is known; l.mu is locked.
func (l *local) kind() kind {
	if l.is == open && l.refuses {
		return guarded
	}
	return l.is
}

// refused notes that somebody without credentials was refused.
func (l *local) refused() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refuses = true
}

// note records a probe's answer. l.mu is locked.
func (l *local) note(status int, challenges []registry.Challenge) {
	switch {
	case status == http.StatusOK && len(challenges) == 0:
		l.refuses = l.refuses && l.is == open
		l.is, l.decided, l.until = open, true, l.now().Add(openFor)
	case status == http.StatusOK, status == http.StatusUnauthorized && len(challenges) > 0 && !slices.ContainsFunc(challenges, registry.Challenge.OfHarbor):
		l.is, l.decided, l.until = guarded, true, l.now().Add(openFor)
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		l.is, l.decided, l.until = harbors, true, l.now().Add(closedFor)
	default:
		l.until = l.now().Add(undecidedFor)
		return
	}
	l.plain.Store(l.is != harbors)
	l.challenged(challenges)
}

// probe asks for the API's root without credentials, and returns the status, or 0 for no
// answer, and the challenges. A 200 counts only with what the distribution API sends there, a
// JSON object or a JSON that is empty, because a login page is no open registry.
func (l *local) probe(ctx context.Context) (status int, challenges []registry.Challenge) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeDeadline)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.harbor.URL().String()+"/v2/", nil)
	if err != nil {
		return 0, nil
	}
	resp, err := l.harbor.Transport().RoundTrip(req)
	if err != nil {
		return 0, nil
	}
	defer resp.Body.Close()
	challenges = registry.ParseChallenges(resp.Header.Values("WWW-Authenticate"))
	if resp.StatusCode != http.StatusOK {
		return resp.StatusCode, challenges
	}
	var body map[string]any
	err = json.NewDecoder(io.LimitReader(resp.Body, 1<<10)).Decode(&body)
	if empty := errors.Is(err, io.EOF) && resp.Header.Get("Docker-Distribution-Api-Version") != ""; err != nil && !empty || !registry.IsJSON(resp) {
		return 0, nil
	}
	return http.StatusOK, challenges
}

// askOpen asks an open registry whether it answers for this repo too. Where it does not say,
// what its root said holds, and it is left alone for a moment.
func (c *Checker) askOpen(ctx context.Context, q Query) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeDeadline) // who hangs up makes no yes
	defer cancel()
	err := c.ask(ctx, q)
	var e *registry.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e) && (e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden):
		c.local.refused()
		return err
	}
	now := c.cfg.Now()
	c.yeses.said.Add(c.yesKey(q), yes{at: now, until: now.Add(undecidedFor)})
	return nil
}
