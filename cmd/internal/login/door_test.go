package login_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"example.org/breakwater/cmd/internal/login"
)

// door is a guard on a socket, and what is behind it.
type door struct {
	*httptest.Server
	guard  *login.Guard
	cfg    login.Config
	behind atomic.Int64 // requests that came through
	log    *safeBuffer
	ahead  atomic.Int64 // nanoseconds, by which its clock is ahead
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func newDoor(t *testing.T, cfg login.Config) *door {
	t.Helper()
	d := &door{log: new(safeBuffer)}
	cfg.Domain, cfg.TLS, cfg.Log = "harbor.example.org", true, slog.New(slog.NewTextHandler(d.log, nil))
	cfg.Now = func() time.Time { return time.Now().Add(time.Duration(d.ahead.Load())) }
	var err error
	d.cfg = cfg
	d.guard, err = login.New(cfg, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.behind.Add(1)
		if r.Header.Get("Cookie")+r.Header.Get("Authorization") != "" {
			t.Error("what is guarded is shown the login")
		}
		fmt.Fprintf(w, "%s reads %s", login.User(r.Context()), r.URL.RequestURI())
	}))
	if err != nil {
		t.Fatal(err)
	}
	d.Server = httptest.NewTLSServer(d.guard)
	t.Cleanup(d.Close)
	return d
}

// browser keeps cookies, and follows redirects, here alone where it is told so.
func (d *door) browser(follow bool) *http.Client {
	jar, _ := cookiejar.New(nil)
	b := &http.Client{Transport: d.Client().Transport, Jar: jar}
	if !follow {
		b.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	return b
}

type answer struct {
	*http.Response
	text string
}

func (d *door) send(t *testing.T, b *http.Client, method, path, body string, header ...string) answer {
	t.Helper()
	at := path
	if strings.HasPrefix(path, "/") {
		at = d.URL + path
	}
	req, err := http.NewRequestWithContext(t.Context(), method, at, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/html,*/*")
	if body != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := b.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp, string(text)}
}

// form is what the page's form sends.
func form(user, password, to string) string {
	return url.Values{"user": {user}, "password": {password}, "to": {to}}.Encode()
}

// users writes a htpasswd file of name, password, name, password.
func users(t *testing.T, all ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "users")
	writeUsers(t, path, all...)
	return path
}

func writeUsers(t *testing.T, path string, all ...string) {
	t.Helper()
	text := "# of the console\n"
	for i := 0; i < len(all); i += 2 {
		hash, err := bcrypt.GenerateFromPassword([]byte(all[i+1]), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		text += all[i] + ":" + strings.Replace(string(hash), "$2a$", "$2y$", 1) + "\n"
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Nothing is answered without a login but the login.
func TestNothingWithoutALogin(t *testing.T) {
	d := newDoor(t, login.Config{Users: users(t, "ada", "lovelace"), OIDC: newIssuer(t).oidc()})
	for _, path := range []string{"/", "/fleet", "/api/fleet", "/assets/style.css", "/login/../fleet", "/login/other", "//fleet", "/%2e%2e/fleet", "/login%2f", "/logout/x", "/favicon.ico"} {
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodOptions} {
			for _, header := range [][]string{nil, {"Accept", "application/json"}, {"Cookie", "__Host-breakwater-session=x"}, {"Cookie", "__Host-breakwater-session="},
				{"Authorization", "Basic YWRhOg=="}, {"Authorization", "Basic !"}, {"Authorization", "Bearer x"}} {
				a := d.send(t, d.browser(false), method, path, "", header...)
				if a.StatusCode != http.StatusUnauthorized && a.StatusCode != http.StatusTooManyRequests && (a.StatusCode != http.StatusSeeOther || !strings.HasPrefix(a.Header.Get("Location"), "/login")) {
					t.Errorf("%s %s %v: %s", method, path, header, a.Status)
				}
			}
		}
	}
	if n := d.behind.Load(); n != 0 {
		t.Errorf("%d requests came through", n)
	}
	for _, path := range []string{"/login", "/login/style.css", "/login/mark.svg"} {
		a := d.send(t, d.browser(false), http.MethodGet, path, "")
		if a.StatusCode != http.StatusOK || !strings.Contains(a.Header.Get("Content-Security-Policy"), "default-src 'none'") || a.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %s %v", path, a.Status, a.Header)
		}
	}
}

// What a page leads to after the login is of this listener.
func TestALoginLeadsNowhereElse(t *testing.T) {
	d := newDoor(t, login.Config{Users: users(t, "ada", "lovelace")})
	for to, want := range map[string]string{
		"/changes?last=1": "/changes?last=1", "": "/", "/": "/", "fleet": "/", "//evil.example": "/", "/\\evil.example": "/", "\\\\evil.example": "/", "https://evil.example/": "/",
		"https:evil.example": "/", "javascript:alert(1)": "/", "/\t/evil.example": "/", "/\r\nSet-Cookie: a=b": "/", " //evil.example": "/", "///evil.example": "/",
		"/login": "/", "/login/start": "/", "/logout": "/", "/" + strings.Repeat("a", 2000): "/", "//user@evil.example/": "/",
	} {
		a := d.send(t, d.browser(false), http.MethodPost, "/login", form("ada", "lovelace", to))
		if a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != want {
			t.Errorf("%q: %s to %q, want %q", to, a.Status, a.Header.Get("Location"), want)
		}
		if page := d.send(t, d.browser(false), http.MethodGet, "/login?to="+url.QueryEscape(to), ""); strings.Contains(page.text, "evil") {
			t.Errorf("%q is on the page", to)
		}
	}
}

// A session ends by the button, when its time is over, and never by what another site sends.
func TestTheEndOfASession(t *testing.T) {
	d := newDoor(t, login.Config{Users: users(t, "ada", "lovelace")})
	b := d.browser(false)
	in := func() bool { return d.send(t, b, http.MethodGet, "/fleet", "").StatusCode == http.StatusOK }
	enter := func() answer { return d.send(t, b, http.MethodPost, "/login", form("ada", "lovelace", "/fleet")) }
	a := enter()
	c := a.Cookies()[0]
	if len(a.Cookies()) != 1 || c.Name != "__Host-breakwater-session" || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || c.MaxAge != 8*3600 || len(c.Value) < 43 {
		t.Errorf("the cookie is %+v", c)
	}
	if !in() {
		t.Fatal("no page after the login")
	}
	for _, header := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}} {
		if a := d.send(t, b, http.MethodPost, "/logout", "", header...); a.StatusCode != http.StatusForbidden {
			t.Errorf("%v: %s", header, a.Status)
		}
		if a := d.send(t, d.browser(false), http.MethodPost, "/login", form("ada", "lovelace", "/"), header...); a.StatusCode != http.StatusForbidden {
			t.Errorf("a login by another site, %v: %s", header, a.Status)
		}
	}
	if a := d.send(t, b, http.MethodGet, "/logout", ""); a.StatusCode != http.StatusMethodNotAllowed || !in() {
		t.Errorf("a GET of the logout: %s", a.Status)
	}
	stolen := http.Cookie{Name: c.Name, Value: c.Value}
	if a := d.send(t, b, http.MethodPost, "/logout", "", "Sec-Fetch-Site", "same-origin"); a.StatusCode != http.StatusSeeOther || in() {
		t.Errorf("after the logout: %s", a.Status)
	}
	if a := d.send(t, d.browser(false), http.MethodGet, "/fleet", "", "Cookie", stolen.String()); a.StatusCode == http.StatusOK {
		t.Error("the cookie is good after the logout")
	}
	enter()
	d.ahead.Store(int64(8*time.Hour - time.Second))
	if !in() {
		t.Error("it ended early")
	}
	d.ahead.Store(int64(8 * time.Hour))
	if in() {
		t.Error("it is good after 8 h")
	}
}

// The oldest of many sessions gives way, first of the same user's, and an id is never taken over
// from a browser.
func TestSessionsAreBounded(t *testing.T) {
	var all []string
	for i := range 17 {
		all = append(all, fmt.Sprint("user", i), "lovelace")
	}
	d := newDoor(t, login.Config{Users: users(t, all...)})
	enter := func(user string, header ...string) *http.Cookie {
		t.Helper()
		d.ahead.Add(int64(time.Millisecond))
		return d.send(t, d.browser(false), http.MethodPost, "/login", form(user, "lovelace", "/"), header...).Cookies()[0]
	}
	stands := func(c *http.Cookie) bool {
		return d.send(t, d.browser(false), http.MethodGet, "/", "", "Cookie", c.Name+"="+c.Value).StatusCode == http.StatusOK
	}
	planted := http.Cookie{Name: "__Host-breakwater-session", Value: strings.Repeat("a", 52)}
	first := enter("user0", "Cookie", planted.String())
	if first.Value == planted.Value {
		t.Error("the id is the browser's own")
	}
	other, second := enter("user1"), enter("user0")
	for range 62 {
		enter("user0")
	}
	if !stands(first) {
		t.Error("64 sessions are too many for a user")
	}
	if last := enter("user0"); stands(first) || !stands(second) || !stands(other) || !stands(last) {
		t.Error("of a user's 65 sessions another one than the first has given way")
	}
	for i := 1; i < 16; i++ {
		d.ahead.Add(int64(time.Minute)) // a client may try so many new passwords
		for range 64 {
			enter(fmt.Sprint("user", i))
		}
	}
	if !stands(second) {
		t.Error("1,024 sessions are too many")
	}
	if last := enter("user16"); stands(second) || !stands(last) {
		t.Error("of 1,025 sessions the oldest has not given way, or the last has")
	}
}
