package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	tokenLife = time.Minute    // of one that names no other (distribution's token specification)
	tokenMost = 24 * time.Hour // that one is kept
	renewNext = 10 * time.Second
	pauseLong = time.Minute // that a token service is left alone which had too many requests and names no time
)

// way is one way to answer a challenge: by a token of a realm, or by the credentials themselves.
type way struct {
	realm   *url.URL // nil: Basic
	service string
	scope   string // that the challenge names
	login   bool   // the credentials are shown
}

// same reports whether two ways lead to the same answer.
func (w way) same(other way) bool {
	if w.realm == nil || other.realm == nil {
		return w.realm == other.realm
	}
	return w.realm.String() == other.realm.String() && w.service == other.service && w.login == other.login
}

// waysOf are the ways that challenges leave to a place, the best first: by a token that the
// credentials were shown for, by the credentials themselves, by anybody's token. A token that
// was refused is made anew where it was made, whatever else is asked for then. The error is
// why a realm is not asked.
func (l *login) waysOf(at place, shown *pass, challenges []Challenge) (all []way, refused error) {
	basic := false
	for _, c := range challenges {
		switch strings.ToLower(c.Scheme) {
		case schemeBasic:
			basic = basic || at.home() && !l.anonymous()
		case schemeBearer:
			base := *l.source
			base.Host = at.host
			realm, err := base.Parse(c.Params["realm"])
			if err == nil && (c.Params["realm"] == "" || realm.Host == "") {
				err = errors.New("a challenge names no realm")
			}
			w := way{realm: realm, service: c.Params["service"], scope: c.Params["scope"]}
			if err == nil {
				w.realm = l.own(realm)
				_, w.login, err = l.reach(at, w.realm)
				w.login = w.login && !l.anonymous()
			}
			if err != nil {
				refused = err
				continue
			}
			all = append(all, w)
		}
	}
	if shown.isToken() && !slices.ContainsFunc(all, func(w way) bool { return w.realm != nil }) {
		all = append(all, shown.way)
	}
	if basic {
		all = append(all, way{login: true})
	}
	if at.home() && !l.anonymous() {
		slices.SortStableFunc(all, func(a, b way) int { return cmp.Compare(rank(a), rank(b)) })
	}
	return all, refused
}

func rank(w way) int {
	switch {
	case w.realm != nil && w.login:
		return 0
	case w.login:
		return 1
	}
	return 2
}

// reach returns how a realm is asked for a place, and whether it may be shown the credentials:
// those of the source's own domain may, and those that the fleet file names. What was reached
// by TLS leads nowhere without it. Anybody else's is asked as a redirect is followed: a source
// outside leads nobody into the datacenter, not by a name of its own domain either.
func (l *login) reach(at place, realm *url.URL) (by http.RoundTripper, login bool, err error) {
	if at.home() && realm.Host == l.source.Host {
		return l.home, true, nil
	}
	if realm.Scheme != "https" && (realm.Scheme != "http" || l.source.Scheme == "https") {
		return nil, false, fmt.Errorf("refused to ask %s for a token: that is no https address", realm.Host)
	}
	named := slices.ContainsFunc(l.realms, func(host string) bool {
		return Host(host) == Host(realm.Hostname()) || strings.EqualFold(host, realm.Host)
	})
	switch own := SameDomain(realm.Hostname(), l.source.Hostname()); {
	case !at.home():
		return at.away, false, nil
	case named:
		return l.named, true, nil
	case own && (l.trusted || l.within.Load()):
		return l.home, true, nil
	case l.within.Load():
		return l.inside, own, nil
	default:
		return l.outside, own, nil
	}
}

// seeing notes whether the source's own address is a private one.
func (l *login) seeing(dial func(ctx context.Context, network, address string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if host, _, split := net.SplitHostPort(address); err == nil && split == nil && Host(host) == Host(l.source.Hostname()) {
			ap, err := netip.ParseAddrPort(conn.RemoteAddr().String())
			l.within.Store(err == nil && (isPrivate(ap.Addr()) || isOwn(ap.Addr())))
		}
		return conn, err
	}
}

// renew makes the successor of a token that is still good. Nobody waits for it.
func (l *login) renew(ctx context.Context, at place, old *pass) {
	if p, ok := l.pauses.Get(at.key()); ok && l.now().Before(p.until) {
		return
	}
	l.begin(ctx, at.key(), func(ctx context.Context) (any, error) {
		p, err := l.make(ctx, at, old.way, old.scope)
		if err != nil {
			later := *old
			later.renew = l.now().Add(renewNext)
			l.passes.Add(at.key(), &later)
			return old, nil
		}
		return p, nil
	})
}

// token returns a token for a place in place of the one that was refused.
func (l *login) token(ctx context.Context, at place, w way, scope string, refused *pass) (*pass, error) {
	if p, ok := l.pauses.Get(at.key()); ok && l.now().Before(p.until) {
		return nil, p.error(l.now())
	}
	v, err := l.join(ctx, at.key(), func(ctx context.Context) (any, error) {
		if kept, ok := l.passes.Get(at.key()); ok && refused != nil && kept.isToken() && kept.authorization != refused.authorization && l.now().Before(kept.ends) {
			return kept, nil // somebody else was refused too
		}
		return l.make(ctx, at, w, scope)
	})
	if err != nil {
		return nil, err
	}
	return v.(*pass), nil
}

// make fetches a token and keeps it. The error is ErrNotGranted, ErrCredentials, ErrBusy, or
// why nobody knows.
func (l *login) make(ctx context.Context, at place, w way, scope string) (*pass, error) {
	p, err := l.fetch(ctx, at, w, scope)
	var e *Error
	switch {
	case err == nil:
		if w.login && l.standing.isRefused() {
			l.check(ctx, w) //nolint:errcheck // it notes what it finds
		}
		l.passes.Add(at.key(), p)
		return p, nil
	case !errors.As(err, &e):
		return nil, err
	case e.Status == http.StatusTooManyRequests, e.Status == http.StatusServiceUnavailable:
		pause := newPause(e, l.now())
		l.pauses.Add(at.key(), pause)
		return nil, pause.error(l.now())
	case !w.login && at.home() && !l.anonymous():
		return nil, fmt.Errorf("%w: %w", ErrElsewhere, err)
	case !w.login:
		return nil, fmt.Errorf("%w: %w", ErrNotGranted, err)
	}
	if checked := l.check(ctx, w); checked != nil {
		return nil, fmt.Errorf("%w: %w", checked, err)
	}
	return nil, fmt.Errorf("%w: %w", ErrNotGranted, err)
}

// fetch asks a realm for a token (distribution's token specification). The error is an *Error
// where the token service has said no, or that it wants to be left alone.
func (l *login) fetch(ctx context.Context, at place, w way, scope string) (*pass, error) {
	u := *w.realm
	q := u.Query()
	if w.service != "" {
		q.Set("service", w.service)
	}
	for _, s := range strings.Fields(scope) {
		q.Add("scope", s)
	}
	u.RawQuery = q.Encode()
	resp, login, err := l.askRealm(ctx, at, &u, w.login)
	if err != nil {
		return nil, fmt.Errorf("ask %s for a token: %w", w.realm.Host, err)
	}
	w.login = login
	if resp.StatusCode != http.StatusOK {
		page, ofJSON := IsHTML(resp), IsJSON(resp)
		e := ReadError(resp)
		e.RetryAfter = Pause(resp, l.now())
		switch {
		case e.Status == http.StatusTooManyRequests, e.Status == http.StatusServiceUnavailable, e.Status == http.StatusUnauthorized && !page,
			e.Status == http.StatusForbidden && (ofJSON || e.Code != ""), // what stands before it says 403 too
			e.Status == http.StatusNotFound && e.Code != "":
			return nil, e
		}
		return nil, fmt.Errorf("the token service at %s answers %d", w.realm.Host, e.Status)
	}
	defer resp.Body.Close()
	p, err := l.readToken(resp)
	if err != nil {
		return nil, fmt.Errorf("the token service at %s: %w", w.realm.Host, err)
	}
	p.way, p.scope = w, scope
	return p, nil
}

// askRealm asks a token service, wherever it leads to. login says whether the credentials
// were shown.
func (l *login) askRealm(ctx context.Context, at place, u *url.URL, login bool) (*http.Response, bool, error) {
	for range maxRedirects {
		by, may, err := l.reach(at, u)
		if err != nil {
			return nil, false, err
		}
		authorization := ""
		if login = login && may; login {
			p, err := l.basic(ctx)
			if err != nil {
				return nil, false, err
			}
			authorization = p.authorization
		}
		resp, err := l.get(ctx, by, u, authorization)
		if err != nil {
			return nil, false, err
		}
		location := resp.Header.Get("Location")
		if resp.StatusCode/100 != 3 || location == "" {
			return resp, login, nil
		}
		resp.Body.Close()
		if u, err = u.Parse(location); err != nil {
			return nil, false, errors.New("it redirects to what is no address")
		}
		u = l.own(u)
	}
	return nil, false, errors.New("it redirects in a circle")
}

func (l *login) readToken(resp *http.Response) (*pass, error) {
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	if err != nil {
		return nil, err
	}
	var body struct {
		Token       string `json:"token"`
		AccessToken string `json:"access_token"`
		ExpiresIn   any    `json:"expires_in"`
		IssuedAt    any    `json:"issued_at"`
	}
	if err := json.Unmarshal(raw, &body); err != nil {
		return nil, errors.New("it sent something that is no token")
	}
	token := cmp.Or(body.Token, body.AccessToken)
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r < ' ' || r > '~' }) {
		return nil, errors.New("it sent no token")
	}
	life := lifeOf(body.ExpiresIn)
	left := life
	// How old it is tell the service's own clocks: the Date of the answer, and when it was issued.
	date, err := http.ParseTime(resp.Header.Get("Date"))
	if text, ok := body.IssuedAt.(string); ok && err == nil {
		issued, err := time.Parse(time.RFC3339, text)
		if age := date.Sub(issued); err == nil && age > 0 && age < life { // nobody issues what has ended: no time was set
			left -= age
		}
	}
	now := l.now()
	return &pass{authorization: "Bearer " + token, renew: now.Add(left - life/5), ends: now.Add(left)}, nil
}

// lifeOf reads expires_in: seconds, as a number or as one in quotes.
func lifeOf(v any) time.Duration {
	seconds, _ := v.(float64)
	if text, ok := v.(string); ok {
		seconds, _ = strconv.ParseFloat(text, 64)
	}
	switch {
	case seconds >= tokenMost.Seconds():
		return tokenMost
	case seconds > 0:
		return time.Duration(seconds * float64(time.Second))
	}
	return tokenLife
}

// pause is how long a token service is left alone, and what it said.
type pause struct {
	until time.Time
	said  *Error
}

func newPause(said *Error, now time.Time) pause {
	wait := said.RetryAfter
	switch {
	case wait > 0:
	case said.Status == http.StatusTooManyRequests:
		wait = pauseLong
	default:
		wait = retryUnavailable
	}
	return pause{now.Add(wait), said}
}

func (p pause) error(now time.Time) *Error {
	code := CodeTooManyRequests
	if p.said.Status != http.StatusTooManyRequests {
		code = CodeUnavailable
	}
	e := Errorf(code, "the source's token service asked for a pause")
	e.RetryAfter, e.Cause = p.until.Sub(now), fmt.Errorf("%w: %w", ErrBusy, p.said)
	return e
}

// ownDomain keeps credentials at home: whatever asks for it, a request goes to the source's own
// domain, by the source's own scheme at its own host.
type ownDomain struct {
	source *url.URL
	inner  http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (o *ownDomain) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Host == o.source.Host {
		if req.URL.Scheme != o.source.Scheme {
			req = req.Clone(req.Context())
			req.URL.Scheme = o.source.Scheme
		}
		return o.inner.RoundTrip(req)
	}
	if !SameDomain(req.URL.Hostname(), o.source.Hostname()) || req.URL.Scheme != "https" && o.source.Scheme == "https" {
		return nil, fmt.Errorf("refused to send credentials to %s: it is not of %s's domain", req.URL.Host, o.source.Host)
	}
	return o.inner.RoundTrip(req)
}
