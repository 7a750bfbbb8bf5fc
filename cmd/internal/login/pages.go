package login

import (
	"bytes"
	"crypto/subtle"
	_ "embed"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// What is answered without a login.
const (
	pageAt   = "/login"
	styleAt  = "/login/style.css"
	markAt   = "/login/mark.svg"
	startAt  = "/login/start" // the way to the provider
	backAt   = "/login/back"  // and back: what the provider has as the client's redirect URI
	logoutAt = "/logout"
)

const (
	maxForm      = 8 << 10          // bytes
	formPatience = 10 * time.Second // what it may take to come
	maxTo        = 1 << 10          // bytes of the page that was wanted
	maxBegun     = 10 * time.Minute
	maxSaid      = 200 // bytes of what a provider says of an error
	afterLogin   = "/"
)

//go:embed web/style.css
var style []byte

//go:embed web/mark.svg
var mark []byte

//go:embed web/login.html
var page string

func serveFile(w http.ResponseWriter, kind string, content []byte) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "max-age=3600")
	w.Write(content) //nolint:errcheck // the reader is gone
}

// local is a page of this listener that a login may lead to, or the first one: never another host.
func local(to string) string {
	u, err := url.Parse(to)
	if err != nil || len(to) > maxTo || !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || u.IsAbs() || u.Host != "" || u.User != nil ||
		strings.ContainsFunc(to, func(r rune) bool { return r == '\\' || r <= ' ' || r == 0x7f }) ||
		u.Path == pageAt || strings.HasPrefix(u.Path, pageAt+"/") || u.Path == logoutAt {
		return afterLogin
	}
	return to
}

// pageFor is the login for who wanted a page.
func pageFor(to string) string {
	if to = local(to); to == afterLogin {
		return pageAt
	}
	return pageAt + "?" + url.Values{"to": {to}}.Encode()
}

// show writes the login page; fault is a sentence, or "".
func (g *Guard) show(w http.ResponseWriter, status int, to, fault string) {
	view := struct {
		Domain, To, Provider, Fault string
		Users                       bool
	}{Domain: g.domain, To: to, Fault: fault}
	now := g.ways.Load()
	view.Users = now.users != nil
	if now.oidc != nil {
		view.Provider = now.oidc.Name
	}
	var text bytes.Buffer
	if err := g.page.Execute(&text, view); err != nil {
		http.Error(w, "the login cannot be shown", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	w.Write(text.Bytes()) //nolint:errcheck // the reader is gone
}

func allow(w http.ResponseWriter, r *http.Request, methods ...string) bool {
	for _, m := range methods {
		if r.Method == m {
			return true
		}
	}
	w.Header().Set("Allow", strings.Join(methods, ", "))
	http.Error(w, "this is asked with "+strings.Join(methods, " or "), http.StatusMethodNotAllowed)
	return false
}

// login is the page, and what its form sends.
func (g *Guard) login(w http.ResponseWriter, r *http.Request) {
	if !allow(w, r, http.MethodGet, http.MethodHead, http.MethodPost) {
		return
	}
	if r.Method != http.MethodPost {
		g.show(w, http.StatusOK, local(r.URL.Query().Get("to")), "")
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(formPatience)); err == nil {
		defer http.NewResponseController(w).SetReadDeadline(time.Time{}) //nolint:errcheck // as just before
	}
	if err := r.ParseForm(); err != nil {
		http.Error(w, "the form cannot be read", http.StatusBadRequest)
		return
	}
	name, to := r.PostForm.Get("user"), local(r.PostForm.Get("to"))
	proof, refused := g.check(r, name, r.PostForm.Get("password"))
	switch refused {
	case 0:
		g.enter(w, r, session{user: name, byPassword: true, proof: proof}, to)
	case http.StatusTooManyRequests:
		w.Header().Set("Retry-After", retryAfter)
		g.show(w, refused, to, "There were too many attempts: try again in half a minute.")
	default:
		g.show(w, http.StatusForbidden, to, "The user or the password is wrong.")
	}
}

// enter begins a session, under an id that nobody had before.
func (g *Guard) enter(w http.ResponseWriter, r *http.Request, s session, to string) {
	if c, err := r.Cookie(sessionCookie); err == nil {
		g.sessions.end(c.Value)
	}
	way := "provider"
	if s.byPassword {
		way = "password"
	}
	g.log.Info("somebody logged in at the console", "user", s.user, "way", way, "client", g.client(r))
	setCookie(w, sessionCookie, g.sessions.begin(s), longest)
	http.Redirect(w, r, to, http.StatusSeeOther)
}

func (g *Guard) logout(w http.ResponseWriter, r *http.Request) {
	if !allow(w, r, http.MethodPost) {
		return
	}
	if c, err := r.Cookie(sessionCookie); err == nil {
		g.sessions.end(c.Value)
	}
	dropCookie(w, sessionCookie)
	http.Redirect(w, r, pageAt, http.StatusSeeOther)
}

// start leads to the provider.
func (g *Guard) start(w http.ResponseWriter, r *http.Request) {
	p := g.ways.Load().oidc
	if p == nil {
		http.NotFound(w, r)
		return
	}
	if !allow(w, r, http.MethodGet, http.MethodHead) {
		return
	}
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" && mode != "navigate" {
		http.Error(w, "this is a page to go to, and no part of another", http.StatusForbidden)
		return
	}
	to := local(r.URL.Query().Get("to"))
	if !g.provider.allow(g.client(r)) {
		g.fail(w, r, to, &refusal{http.StatusTooManyRequests, tooMany, nil})
		return
	}
	found, err := p.discover(r.Context())
	if err != nil {
		g.fail(w, r, to, p.away(err))
		return
	}
	b := begun{State: random(), Nonce: random(), Verifier: oauth2.GenerateVerifier(), Redirect: g.address(r) + backAt, To: to, Until: g.now().Add(maxBegun)}
	setCookie(w, begunCookie, g.begun.seal(b), maxBegun)
	http.Redirect(w, r, p.oauth2(found, b.Redirect).AuthCodeURL(b.State, oidc.Nonce(b.Nonce), oauth2.S256ChallengeOption(b.Verifier)), http.StatusSeeOther)
}

// address is where the browser has this listener. The provider leads back to addresses alone
// that it has for the client.
func (g *Guard) address(r *http.Request) string {
	scheme := g.scheme
	if scheme == "http" && r.Header.Get("X-Forwarded-Proto") == "https" { // of what terminates TLS on this machine
		scheme = "https"
	}
	return scheme + "://" + r.Host
}

// back is where the provider leads to.
func (g *Guard) back(w http.ResponseWriter, r *http.Request) {
	p := g.ways.Load().oidc
	if p == nil {
		http.NotFound(w, r)
		return
	}
	if !allow(w, r, http.MethodGet) {
		return
	}
	var b begun
	c, err := r.Cookie(begunCookie)
	if err == nil {
		b, err = g.begun.open(c.Value)
	}
	query := r.URL.Query()
	state := query.Get("state")
	switch said := query.Get("error"); {
	case err != nil || !g.now().Before(b.Until):
		g.fail(w, r, afterLogin, &refusal{http.StatusBadRequest, "this login was not begun here, or too long ago: begin again", err})
	case state == "" || subtle.ConstantTimeCompare([]byte(state), []byte(b.State)) != 1:
		g.fail(w, r, afterLogin, &refusal{http.StatusBadRequest, "this is the answer to another login: begin again", nil})
	case !g.returned.allow(g.client(r)):
		g.fail(w, r, b.To, &refusal{http.StatusTooManyRequests, tooMany, nil})
	case said != "":
		dropCookie(w, begunCookie)
		g.fail(w, r, b.To, &refusal{http.StatusForbidden, p.Name + " says: " + cut(said+" "+query.Get("error_description"), maxSaid), nil})
	default:
		dropCookie(w, begunCookie)
		name, refused := p.user(r.Context(), query.Get("code"), b)
		if refused != nil {
			g.fail(w, r, b.To, refused)
			return
		}
		g.enter(w, r, session{user: name, proof: p.proof}, b.To)
	}
}

// fail shows the login again, with why; the cause is in the log.
func (g *Guard) fail(w http.ResponseWriter, r *http.Request, to string, why *refusal) {
	if why.status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", retryAfter)
	} else {
		g.log.Warn("a login at the console was refused", "way", "provider", "client", g.client(r), "err", why.Error())
	}
	first, n := utf8.DecodeRuneInString(why.says)
	g.show(w, why.status, to, string(unicode.ToUpper(first))+why.says[n:]+".")
}
