package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"
)

var (
	// ErrCredentials is of a source that refuses the credentials themselves, for every repo:
	// another password, or one that has ended. What the source has, nobody knows then.
	ErrCredentials = errors.New("it refuses the credentials of the fleet file")
	// ErrNotGranted is of a token service that gives no token for one repo, to nobody or to a
	// login that is good for others: the repo is not there, or is not for who asks.
	ErrNotGranted = errors.New("its token service gives no token for this repo")
	// ErrBusy is of a token service that has asked to be left alone. How long yet, and whether
	// it had too many requests, the *Error says.
	ErrBusy = errors.New("its token service asked for a pause")
	// ErrElsewhere is of a source whose token service is another domain's, which gets no
	// credentials unless it is named in the fleet file.
	ErrElsewhere = errors.New("its token service is another domain's, and gets no credentials unless realms names it")
)

const (
	maxScoped      = 4096
	maxShaking     = 256 // handshakes at once: they outlive the requests that began them
	tokenDeadline  = 10 * time.Second
	standingGood   = time.Minute // that a login is believed to be good where the source says that something is not there
	maxWaysAtOnce  = 3           // of a challenge, that are tried
	schemeBearer   = "bearer"
	schemeBasic    = "basic"
	repoPullFormat = "repository:%s:pull"
)

// login shows one source who asks, and answers the challenges of those whom it redirects to
// with nobody's credentials. What a repo's requests carry is kept for as long as it is good,
// made anew before it ends, and once more where it is refused before.
type login struct {
	source   *url.URL
	root     *url.URL                // /v2/ of the source
	own      func(*url.URL) *url.URL // client.own
	username string
	password string
	keys     Keys     // that make username and password; nil: they are what they are
	realms   []string // hosts outside the source's domain that may be shown the credentials
	trusted  bool     // the source is one of the fleet's own
	header   http.Header
	now      func() time.Time

	home    http.RoundTripper // to the source and its domain
	named   http.RoundTripper // to realms
	outside http.RoundTripper // to everybody else, as redirects
	inside  http.RoundTripper // to everybody else for who is inside
	within  atomic.Bool       // the source's own address is a private one, or this machine's

	minted   minted
	passes   *lru.Cache[string, *pass]       // by place
	asked    *lru.Cache[string, []Challenge] // what the source has asked of who shows nothing, by its host
	pauses   *lru.Cache[string, pause]       // of token services, by place
	joined   singleflight.Group
	shaking  chan struct{} // holds a token for each handshake that is under way
	standing standing
}

// place is one repo of one host.
type place struct {
	host, repo string
	away       http.RoundTripper // to whom the source redirects; nil: it is the source itself, which may be shown the credentials
}

func (p place) key() string { return fmt.Sprint(p.away != nil, " ", p.host, " ", p.repo) }

func (p place) home() bool { return p.away == nil }

// pass is what the requests of a place carry.
type pass struct {
	authorization string
	way           way
	scope         string    // that the token is for
	renew, ends   time.Time // a token: from when another one is made, and when it is good no more
}

func (p *pass) isToken() bool { return p != nil && p.way.realm != nil }

func newLogin(s *client) *login {
	cfg := s.made
	l := &login{source: s.url, own: s.own, root: s.url.JoinPath(s.prefix, "/v2/"), username: cfg.Username, password: cfg.Password, keys: cfg.Keys, realms: cfg.Realms,
		trusted: cfg.Trusted, header: cfg.Header, now: s.now, shaking: make(chan struct{}, maxShaking)}
	l.passes, _ = lru.New[string, *pass](maxScoped) // the sizes are positive: no error
	l.asked, _ = lru.New[string, []Challenge](maxScoped)
	l.pauses, _ = lru.New[string, pause](maxScoped)
	return l
}

func (l *login) anonymous() bool { return l.username == "" && l.password == "" && l.keys == nil }

// of is the way to one repo of the source.
func (l *login) of(repo string) http.RoundTripper {
	if repo == "" && l.anonymous() {
		return l.home
	}
	return &asking{l, repo, nil}
}

// away is the way to whom the source redirects to.
func (l *login) away(by http.RoundTripper) http.RoundTripper { return &asking{l, "", by} }

// asking is a login as it is used for one request.
type asking struct {
	*login
	repo string
	away http.RoundTripper
}

// RoundTrip implements http.RoundTripper. The request has no body.
func (a *asking) RoundTrip(req *http.Request) (*http.Response, error) {
	at := place{host: req.URL.Host, repo: a.repo, away: a.away}
	if !at.home() { // a redirect may lead to another name, or to storage, which a signature in the address lets in
		r, err := ParseRequest(req.Method, req.URL)
		if err != nil || r.Repo == "" {
			return a.send(req, at, nil)
		}
		at.repo = r.Repo
	}
	ctx := req.Context()
	shown, made, err := a.ready(ctx, at)
	var failed *triedWay
	if err != nil && !errors.As(err, &failed) {
		return nil, err
	}
	resp, err := a.send(req, at, shown)
	if err != nil {
		return nil, err
	}
	if a.wantsOther(resp, shown, made) {
		next, err := a.answer(ctx, at, resp, shown, made, failed)
		if err != nil {
			resp.Body.Close()
			return nil, err
		}
		if next != nil {
			shown = next
			if resp, err = a.again(req, at, resp, shown); err != nil {
				return nil, err
			}
		}
	}
	// The source may know the repo by another name than its path's.
	if scope := otherScope(resp, shown); scope != "" {
		if other, err := a.token(ctx, at, shown.way, scope, shown); err == nil {
			shown = other
			if resp, err = a.again(req, at, resp, shown); err != nil {
				return nil, err
			}
		}
	}
	return a.judge(ctx, at, resp, shown)
}

// again sends a request once more, in place of the one that was refused.
func (l *login) again(req *http.Request, at place, refused *http.Response, shown *pass) (*http.Response, error) {
	io.Copy(io.Discard, io.LimitReader(refused.Body, maxErrorBody)) //nolint:errcheck // so that the connection is used again
	refused.Body.Close()
	return l.send(req, at, shown)
}

// otherScope is what a refusal says that a token should have been for; "" where that is what
// it is for.
func otherScope(resp *http.Response, shown *pass) string {
	if resp.StatusCode != http.StatusUnauthorized || !shown.isToken() {
		return ""
	}
	scope := shown.way.scope
	for _, c := range ParseChallenges(resp.Header.Values("Www-Authenticate")) {
		if strings.EqualFold(c.Scheme, schemeBearer) && c.Params["scope"] != "" {
			scope = c.Params["scope"]
		}
	}
	if scope == shown.scope {
		return ""
	}
	return scope
}

func (l *login) send(req *http.Request, at place, shown *pass) (*http.Response, error) {
	if shown != nil {
		req = req.Clone(req.Context())
		req.Header.Set("Authorization", shown.authorization)
	}
	if at.home() {
		return l.home.RoundTrip(req)
	}
	return at.away.RoundTrip(req)
}

// ready returns what requests to a place carry: what is kept, or what the host asked for
// elsewhere. made says that it was made just now. A triedWay is no reason not to ask: the
// repo may want something else.
func (l *login) ready(ctx context.Context, at place) (shown *pass, made bool, err error) {
	kept, ok := l.passes.Get(at.key())
	if ok && !kept.isToken() {
		shown, err = l.basic(ctx)
		return shown, false, err
	}
	if ok {
		switch now := l.now(); {
		case !now.Before(kept.ends):
			l.passes.Remove(at.key())
			ok = false
		case !now.Before(kept.renew):
			l.renew(ctx, at, kept)
		}
	}
	if ok {
		return kept, false, nil
	}
	asked, known := l.asked.Get(at.host)
	if !known && at.home() {
		if asked, err = l.askRoot(ctx); err != nil {
			return nil, false, err
		}
	}
	ways, _ := l.waysOf(at, nil, asked)
	if len(ways) == 0 {
		return nil, false, nil
	}
	shown, err = l.try(ctx, at, ways[:1], nil)
	if err == nil || errors.Is(err, ErrBusy) || ctx.Err() != nil {
		return shown, true, err
	}
	return nil, false, &triedWay{ways[0], err}
}

// triedWay is a way that was gone in vain.
type triedWay struct {
	way
	err error
}

// Error implements error.
func (t *triedWay) Error() string { return t.err.Error() }

// askRoot asks the source's root (GET /v2/) what it wants to be shown. An open one says nothing
// of its repos.
func (l *login) askRoot(ctx context.Context) ([]Challenge, error) {
	v, err := l.join(ctx, "root", func(ctx context.Context) (any, error) {
		resp, err := l.get(ctx, l.home, l.root, "")
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		io.Copy(io.Discard, io.LimitReader(resp.Body, maxErrorBody)) //nolint:errcheck // so that the connection is used again
		var all []Challenge
		if resp.StatusCode == http.StatusUnauthorized {
			all = ParseChallenges(resp.Header.Values("Www-Authenticate"))
		}
		if resp.StatusCode < http.StatusInternalServerError && resp.StatusCode != http.StatusTooManyRequests {
			l.asked.Add(l.source.Host, all)
		}
		return all, nil
	})
	if err != nil {
		return nil, err
	}
	return v.([]Challenge), nil
}

func (l *login) get(ctx context.Context, by http.RoundTripper, u *url.URL, authorization string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	for k, v := range l.header {
		req.Header[k] = v
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	req.Header.Set("Accept-Encoding", "identity")
	resp, err := by.RoundTrip(req)
	if err == nil && Encoded(resp.Header) {
		decode(resp)
	}
	return resp, err
}

// join has all who ask for the same share one handshake. It belongs to nobody's request.
func (l *login) join(ctx context.Context, key string, do func(context.Context) (any, error)) (any, error) {
	select {
	case r := <-l.begin(ctx, key, do):
		return r.Val, r.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *login) begin(ctx context.Context, key string, do func(context.Context) (any, error)) <-chan singleflight.Result {
	return l.joined.DoChan(key, func() (any, error) {
		select {
		case l.shaking <- struct{}{}:
			defer func() { <-l.shaking }()
		default:
			return nil, errors.New("too many repos are asked for at once")
		}
		ctx, cancel := context.WithTimeout(beside{context.WithoutCancel(ctx)}, tokenDeadline)
		defer cancel()
		return do(ctx)
	})
}

// wantsOther reports whether an answer may be another one for who shows something else.
func (l *login) wantsOther(resp *http.Response, shown *pass, made bool) bool {
	if resp.StatusCode == http.StatusUnauthorized {
		return true
	}
	return !made && shown.isToken() && saysExpired(resp)
}

// answer makes what a challenge asks for; nil where that is nothing that was not shown. shown
// is what was refused, made that it had been made for this request.
func (l *login) answer(ctx context.Context, at place, resp *http.Response, shown *pass, made bool, failed *triedWay) (*pass, error) {
	challenges := ParseChallenges(resp.Header.Values("Www-Authenticate"))
	if shown == nil && len(challenges) > 0 && l.rootAsks(at) {
		l.asked.Add(at.host, challenges)
	}
	all, refused := l.waysOf(at, shown, challenges)
	var ways []way
	for _, w := range all {
		switch {
		case failed != nil && failed.same(w):
			refused = failed.err
		case shown != nil && shown.way.same(w) && (made || !shown.isToken()):
		default:
			ways = append(ways, w)
		}
	}
	if len(ways) == 0 {
		return nil, refused
	}
	return l.try(ctx, at, ways[:min(len(ways), maxWaysAtOnce)], shown)
}

// rootAsks reports whether the root asks for what can be shown: a repo that asks for something
// else speaks for all then. Behind an open root, and away, each repo speaks for itself: others
// may be open.
func (l *login) rootAsks(at place) bool {
	asked, _ := l.asked.Get(at.host)
	ways, _ := l.waysOf(at, nil, asked)
	return at.home() && len(ways) > 0
}

// try goes the ways in turn. One that cannot be gone leaves the others; what a token service
// says is its word.
func (l *login) try(ctx context.Context, at place, ways []way, refused *pass) (*pass, error) {
	var first error
	for _, w := range ways {
		if w.realm == nil {
			p, err := l.basic(ctx)
			if err == nil {
				l.passes.Add(at.key(), p)
			}
			return p, err
		}
		scope := w.scope
		if at.repo != "" {
			scope = fmt.Sprintf(repoPullFormat, at.repo)
		}
		p, err := l.token(ctx, at, w, scope, refused)
		if err == nil || errors.Is(err, ErrNotGranted) || errors.Is(err, ErrCredentials) || errors.Is(err, ErrBusy) || ctx.Err() != nil {
			return p, err
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}
