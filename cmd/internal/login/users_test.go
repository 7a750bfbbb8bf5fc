package login_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"example.org/breakwater/cmd/internal/login"
	"example.org/breakwater/internal/trial"
)

// curl asks with a user and a password, and returns the status and the body.
func (d *door) curl(t *testing.T, path string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), trial.Client(t, "curl"), append([]string{"-sk", "-w", " %{http_code}", d.URL + path}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

func TestPasswordsByCurl(t *testing.T) {
	d := newDoor(t, login.Config{Users: users(t, "ada", "lovelace", "grace", "pass:word with: colons")})
	for _, c := range []struct{ user, want string }{
		{"ada:lovelace", "ada reads /api/fleet 200"}, {"grace:pass:word with: colons", "grace reads /api/fleet 200"},
		{"ada:wrong", "log in first\n 401"}, {"ada:", "log in first\n 401"}, {"nobody:lovelace", "log in first\n 401"}, {":", "log in first\n 401"},
		{"ada:lovelace" + strings.Repeat("x", 100), "log in first\n 401"},
	} {
		if got := d.curl(t, "/api/fleet", "-u", c.user); got != c.want {
			t.Errorf("%s: %s, want %s", c.user, got, c.want)
		}
	}
	if got := d.curl(t, "/api/fleet", "-D", "-", "-o", "/dev/null"); !strings.Contains(got, `Basic realm="the console of harbor.example.org"`) {
		t.Errorf("who says nothing is told\n%s", got)
	}
}

// Passwords are tried so often, and no more often by a client, or by all: who is logged in goes
// on, and a right password is no more to be told from a wrong one, though it was right before.
func TestPasswordsAreNotGuessed(t *testing.T) {
	d := newDoor(t, login.Config{Users: users(t, "ada", "lovelace")})
	b := d.browser(false)
	d.send(t, b, http.MethodPost, "/login", form("ada", "lovelace", "/"))
	statuses := map[int]int{}
	for n := range 30 {
		a := d.send(t, d.browser(false), http.MethodPost, "/login", form("ada", fmt.Sprint("guess ", n), "/"))
		statuses[a.StatusCode]++
		if a.StatusCode == http.StatusTooManyRequests && a.Header.Get("Retry-After") == "" {
			t.Error("it does not say when to try again")
		}
	}
	if n := statuses[http.StatusForbidden]; n < 8 || n > 11 || statuses[http.StatusTooManyRequests] != 30-n {
		t.Errorf("30 guesses: %v", statuses)
	}
	if got := d.curl(t, "/", "-u", "ada:other"); !strings.HasSuffix(got, "429") {
		t.Errorf("a guess by curl: %s", got)
	}
	if got := d.curl(t, "/", "-u", "ada:lovelace"); !strings.HasSuffix(got, "429") {
		t.Errorf("the right password among too many wrong ones is told: %s", got)
	}
	if a := d.send(t, b, http.MethodGet, "/", ""); a.StatusCode != http.StatusOK {
		t.Errorf("who is logged in: %s", a.Status)
	}
	d.ahead.Store(int64(time.Minute))
	if a := d.send(t, d.browser(false), http.MethodPost, "/login", form("ada", "guess", "/")); a.StatusCode != http.StatusForbidden {
		t.Errorf("a minute later: %s", a.Status)
	}
}

// Who is no user takes as long as who is one.
func TestWhoIsNoUserTakesAsLong(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("lovelace"), 11)
	path := filepath.Join(t.TempDir(), "users")
	if err != nil || os.WriteFile(path, []byte("ada:"+string(hash)+"\n"), 0o600) != nil {
		t.Fatal(err)
	}
	d := newDoor(t, login.Config{Users: path})
	took := func(user string) time.Duration {
		least := time.Hour
		for range 3 {
			begin := time.Now()
			d.send(t, d.browser(false), http.MethodPost, "/login", form(user, "wrong", "/"))
			least = min(least, time.Since(begin))
		}
		return least
	}
	if known, unknown := took("ada"), took("nobody"); unknown < known/2 || known < unknown/2 {
		t.Errorf("a user takes %v, and who is none %v", known, unknown)
	}
}

// The file is read again when it changes: who left it is logged out, and a broken one changes nothing.
func TestUsersAreReadAgain(t *testing.T) {
	path := users(t, "ada", "lovelace", "grace", "hopper")
	d := newDoor(t, login.Config{Users: path})
	b := d.browser(false)
	d.send(t, b, http.MethodPost, "/login", form("ada", "lovelace", "/"))
	status := func() int { return d.send(t, b, http.MethodGet, "/", "").StatusCode }
	basic := func(user string) string { return d.curl(t, "/", "-u", user) }
	if status() != http.StatusOK || !strings.HasSuffix(basic("ada:lovelace"), "200") {
		t.Fatal("no login")
	}
	later := func(write func()) {
		write()
		d.ahead.Add(int64(10 * time.Second))
	}
	later(func() {
		if err := os.WriteFile(path, []byte("ada:secret\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	if status() != http.StatusOK || !strings.Contains(d.log.String(), "the last good ones stay") || strings.Contains(d.log.String(), "secret") {
		t.Errorf("a broken file: %d, and the log says %s", status(), d.log)
	}
	later(func() { writeUsers(t, path, "ada", "another", "grace", "hopper") })
	if status() == http.StatusOK || strings.HasSuffix(basic("ada:lovelace"), "200") {
		t.Error("the password of before is good")
	}
	if !strings.HasSuffix(basic("ada:another"), "200") {
		t.Error("the new password is not")
	}
	d.send(t, b, http.MethodPost, "/login", form("ada", "another", "/"))
	later(func() { writeUsers(t, path, "grace", "hopper") })
	if status() == http.StatusOK || strings.HasSuffix(basic("ada:another"), "200") {
		t.Error("who is no user any more is let in")
	}
}

func TestUsersThatCannotBeRead(t *testing.T) {
	good := "$2y$05$" + strings.Repeat("a", 53)
	for text, want := range map[string]string{
		"": "1: there is no user in it", "# nobody\n": "1: there is no user in it", "ada\n": "1: want a name, a colon and a hash",
		"\nada:" + good + "\nada:" + good:       "3: ada is there already",
		"ada:{SHA}Et6pb+wgWTVmq3VpLJlJWWgzrck=": "1: what ada has is no bcrypt hash: make one with htpasswd -B -C 12",
		"ada:$apr1$x$y":                         "1: what ada has is no bcrypt hash",
		"ada:" + good + "more":                  "1: what ada has is no bcrypt hash",
		"ada:$2y$31$" + strings.Repeat("a", 53): "1: the hash of ada has the cost 31; 14 is the most",
		":" + good:                              "1: want a name",
		strings.Repeat("x", 70<<10):             "1: bufio.Scanner: token too long",
	} {
		_, _, err := login.ParseUsers([]byte(text))
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "aaaa") {
			t.Errorf("%.40q: %v, want %s", text, err, want)
		}
	}
	if _, err := login.New(login.Config{Users: t.TempDir()}, http.NotFoundHandler()); err == nil {
		t.Error("a directory was read")
	}
}

// Behind what terminates TLS on this machine, a login is logged with the address of its browser,
// let in or not.
func TestALoginIsLoggedWithItsClient(t *testing.T) {
	d := &door{log: new(safeBuffer)}
	guard, err := login.New(login.Config{Users: users(t, "ada", "lovelace"), Domain: "harbor.example.org", Log: slog.New(slog.NewTextHandler(d.log, nil))}, http.NotFoundHandler())
	if err != nil {
		t.Fatal(err)
	}
	d.Server = httptest.NewServer(guard)
	t.Cleanup(d.Close)
	for password, said := range map[string]string{"wrong": "was refused", "lovelace": "somebody logged in"} {
		d.send(t, d.browser(false), http.MethodPost, "/login", form("ada", password, "/"), "X-Forwarded-For", "203.0.113.9, 198.51.100.7")
		i := strings.Index(d.log.String(), said)
		if i < 0 || !strings.Contains(d.log.String()[i:], "client=198.51.100.7") {
			t.Errorf("%s: %s", said, d.log.String())
		}
	}
}
