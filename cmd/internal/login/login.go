// Package login is the door of the console's own listener: nothing behind it is answered
// without a login, and nothing before it but the login itself. People log in at the fleet's
// OpenID provider or by a password of a htpasswd file, programs by HTTP Basic of that file.
package login

import (
	"context"
	"crypto/rand"
	"html/template"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"example.org/breakwater/internal/daemon"
)

// Config is who is let in, and how.
type Config struct {
	Domain string // of the fleet, for the page and the realm
	Users  string // a htpasswd file with bcrypt hashes, read again when it changes; "": there are no passwords
	OIDC   *OIDC  // nil: there is no provider
	TLS    bool   // browsers come here over TLS; false only on loopback, which they trust with cookies too
	Log    *slog.Logger
	Now    func() time.Time // nil: time.Now
}

// Guard answers logins itself, and leads everything else to next for who is logged in.
// Safe for concurrent use.
type Guard struct {
	next     http.Handler
	page     *template.Template
	domain   string
	scheme   string
	log      *slog.Logger
	now      func() time.Time
	cross    *http.CrossOriginProtection
	sessions *sessions
	begun    *sealer // logins that are at the provider
	password *attempts
	provider *attempts
	returned *attempts     // of who comes back from the provider
	hashing  chan struct{} // one bcrypt at a time
	ways     atomic.Pointer[ways]
}

// ways are how one may log in now.
type ways struct {
	users *users    // nil: not by a password
	oidc  *provider // nil: not by a provider
}

// New returns a Guard before next. The error is of the file of users. The provider is asked
// when somebody logs in: it may be away now.
func New(cfg Config, next http.Handler) (*Guard, error) {
	now := cfg.Now
	if now == nil {
		now = time.Now
	}
	scheme := "http"
	if cfg.TLS {
		scheme = "https"
	}
	text, err := template.New("login").Parse(page)
	if err != nil {
		return nil, err
	}
	g := &Guard{next: next, page: text, domain: cfg.Domain, scheme: scheme, log: cfg.Log, now: now, cross: http.NewCrossOriginProtection(),
		sessions: newSessions(now), begun: newSealer(), password: newAttempts(now), provider: newAttempts(now), returned: newAttempts(now), hashing: make(chan struct{}, 1)}
	return g, g.Use(cfg)
}

// Use has others be let in from now on, by Users and OIDC. Sessions end that were begun
// otherwise: at a provider that is asked for something else now, or by a password that is
// another. With an error nothing changes.
func (g *Guard) Use(cfg Config) error {
	next, before := new(ways), g.ways.Load()
	if before == nil {
		before = new(ways)
	}
	switch {
	case cfg.Users == "":
	case before.users != nil && before.users.path == cfg.Users:
		next.users = before.users
	default:
		var err error
		if next.users, err = openUsers(cfg.Users, g.now, g.log); err != nil {
			return err
		}
	}
	if cfg.OIDC != nil {
		if next.oidc = newProvider(*cfg.OIDC, g.now); before.oidc != nil && before.oidc.proof == next.oidc.proof {
			next.oidc = before.oidc // it is known already
		}
	}
	g.ways.Store(next)
	return nil
}

type userKey struct{}

// User is who a request was let in as; "" behind no Guard.
func User(ctx context.Context) string {
	name, _ := ctx.Value(userKey{}).(string)
	return name
}

// policy is that of the login's own pages (CSP Level 3).
const policy = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

func (g *Guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	daemon.ForPages(w.Header(), policy)
	if err := g.cross.Check(r); err != nil {
		http.Error(w, "another site has sent this: it is not taken", http.StatusForbidden)
		return
	}
	switch r.URL.Path {
	case pageAt:
		g.login(w, r)
	case styleAt:
		serveFile(w, "text/css; charset=utf-8", style)
	case markAt:
		serveFile(w, "image/svg+xml", mark)
	case startAt:
		g.start(w, r)
	case backAt:
		g.back(w, r)
	case logoutAt:
		g.logout(w, r)
	default:
		g.serve(w, r)
	}
}

// serve leads to what is guarded, which is shown neither cookie nor password.
func (g *Guard) serve(w http.ResponseWriter, r *http.Request) {
	user, refused := g.who(r)
	if refused != 0 {
		g.refuse(w, r, refused)
		return
	}
	r = r.Clone(context.WithValue(r.Context(), userKey{}, user))
	r.Header.Del("Cookie")
	r.Header.Del("Authorization")
	w.Header().Del("Content-Security-Policy") // it has its own
	g.next.ServeHTTP(w, r)
}

// who is the user of a request, by its session or its password; or the status that refuses it.
func (g *Guard) who(r *http.Request) (user string, refused int) {
	now := g.ways.Load()
	if c, err := r.Cookie(sessionCookie); err == nil {
		if s, ok := g.sessions.get(c.Value); ok && now.stands(s) {
			return s.user, 0
		}
	}
	name, password, ok := r.BasicAuth()
	if !ok || now.users == nil {
		return "", http.StatusUnauthorized
	}
	_, refused = g.check(r, name, password)
	return name, refused
}

// stands reports whether a session could be begun now as it was.
func (w *ways) stands(s session) bool {
	if s.byPassword {
		return w.users != nil && w.users.proof(s.user) == s.proof
	}
	return w.oidc != nil && w.oidc.proof == s.proof
}

// hashPatience is how long a password waits for those before it to be hashed.
const hashPatience = 5 * time.Second

// check tries a password. What was right once is not hashed again; all else is counted. Of who
// has tried too often not even that is looked at: the answer would tell a right guess.
func (g *Guard) check(r *http.Request, name, password string) (proof [32]byte, refused int) {
	users := g.ways.Load().users
	if users == nil {
		return proof, http.StatusUnauthorized
	}
	client := g.client(r)
	if !g.password.may(client) {
		return proof, g.tooOften(client)
	}
	if proof, ok := users.remembers(name, password); ok {
		return proof, 0
	}
	if !g.password.allow(client) {
		return proof, g.tooOften(client)
	}
	select {
	case g.hashing <- struct{}{}:
		defer func() { <-g.hashing }()
	case <-r.Context().Done():
		return proof, http.StatusUnauthorized
	case <-time.After(hashPatience):
		return proof, http.StatusTooManyRequests
	}
	proof, ok := users.check(name, password)
	if !ok {
		g.log.Warn("a login at the console was refused", "way", "password", "client", client)
		return proof, http.StatusUnauthorized
	}
	return proof, 0
}

// client is where a request comes from: as what terminates TLS on this machine says, where
// something does.
func (g *Guard) client(r *http.Request) string {
	if said := r.Header.Values("X-Forwarded-For"); g.scheme == "http" && len(said) > 0 && network(r.RemoteAddr).Addr().IsLoopback() {
		last := said[len(said)-1]
		return strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:])
	}
	return r.RemoteAddr
}

func (g *Guard) tooOften(client string) (status int) {
	g.log.Warn("a login at the console was refused", "way", "password", "client", client, "err", tooMany)
	return http.StatusTooManyRequests
}

// refuse leads who reads pages to the login, and tells programs how to show who they are.
func (g *Guard) refuse(w http.ResponseWriter, r *http.Request, status int) {
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	if status == http.StatusUnauthorized && reads && strings.Contains(r.Header.Get("Accept"), "text/html") {
		http.Redirect(w, r, pageFor(r.URL.RequestURI()), http.StatusSeeOther)
		return
	}
	if status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", retryAfter)
		http.Error(w, tooMany, status)
		return
	}
	if g.ways.Load().users != nil {
		w.Header().Set("WWW-Authenticate", `Basic realm="the console of `+g.domain+`", charset="UTF-8"`)
	}
	http.Error(w, "log in first", status)
}

// random is text that nobody guesses: 256 bits.
func random() string { return rand.Text() + rand.Text() }
