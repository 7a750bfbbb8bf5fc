package registry

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
)

var (
	denied       = refuse(http.StatusForbidden, "DENIED", "requested access to the resource is denied")
	unauthorized = refuse(http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
	missing      = refuse(http.StatusNotFound, "NAME_UNKNOWN", "no such repo")
	expired      = "Your authorization token has expired. Reauthenticate and try again."
	basicAlone   = []string{`Basic realm="x"`}
	bearerAlone  = []string{`Bearer realm="{self}/token",service="s"`}
)

// says answers 403 in words of another kind than a registry's.
func says(kind, words string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, words)
	}
}

// perRepo is a token service that refuses a repo; who asks for none is let in.
func perRepo(refuses http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("scope") == "" {
			give("t", 0)(w, r)
			return
		}
		refuses(w, r)
	}
}

var refusals = map[string]struct {
	login      bool
	token      http.HandlerFunc
	challenges []string
	repo       http.HandlerFunc // who is let in gets this; nil: nobody is
	root       http.HandlerFunc
	is         error // nil: an answer
	refused    bool  // the credentials are known to be refused
}{
	"anonymous, the token service says 403":             {token: perRepo(denied), challenges: bearerAlone, is: ErrNotGranted},
	"anonymous, 403 in JSON that has no code":           {token: perRepo(says("application/json; charset=utf-8", `{"details":"denied"}`)), challenges: bearerAlone, is: ErrNotGranted},
	"anonymous, 403 in plain JSON with a code":          {token: perRepo(says("text/plain", `{"errors":[{"code":"DENIED"}]}`)), challenges: bearerAlone, is: ErrNotGranted},
	"anonymous, 403 in plain text":                      {token: perRepo(says("text/plain", "blocked")), challenges: bearerAlone, is: &Error{Code: CodeUnavailable}},
	"anonymous, 403 in XML":                             {token: perRepo(says("application/xml", "<Error><Code>AccessDenied</Code></Error>")), challenges: bearerAlone, is: &Error{Code: CodeUnavailable}},
	"anonymous, 403 that is empty":                      {token: perRepo(says("", "")), challenges: bearerAlone, is: &Error{Code: CodeUnavailable}},
	"a login that a 403 in plain text meets everywhere": {login: true, token: says("text/plain", "blocked"), challenges: bearerAlone, is: &Error{Code: CodeUnavailable}},
	"anonymous, the token service says 401":             {token: unauthorized, challenges: bearerAlone, is: ErrNotGranted},
	"anonymous, the token service says 404":             {token: missing, challenges: bearerAlone, is: ErrNotGranted},
	"anonymous, the registry refuses the token":         {challenges: bearerAlone},
	"anonymous, the token service has no such path":     {token: http.NotFound, challenges: bearerAlone, is: &Error{Code: CodeUnavailable}},
	"anonymous, the token service is ill":               {token: refuse(500, "UNKNOWN", ""), challenges: bearerAlone, is: &Error{Code: CodeUnavailable}},
	"a login, the repo is refused with 403":             {login: true, token: perRepo(denied), challenges: bearerAlone, is: ErrNotGranted},
	"a login, the repo is refused with 401":             {login: true, token: perRepo(unauthorized), challenges: bearerAlone, is: ErrNotGranted},
	"a login, the repo is refused with 404":             {login: true, token: perRepo(missing), challenges: bearerAlone, is: ErrNotGranted},
	"a login that every repo refuses":                   {login: true, token: unauthorized, challenges: bearerAlone, is: ErrCredentials, refused: true},
	"a login that every repo refuses with 403":          {login: true, token: denied, challenges: bearerAlone, is: ErrCredentials, refused: true},
	"a login, the registry refuses the token":           {login: true, token: give("x", 0), challenges: bearerAlone},
	"a login that is given nobody's token":              {login: true, token: nobodys(unauthorized), challenges: bearerAlone, is: ErrCredentials, refused: true},
	"a login that is given nobody's token, and 404":     {login: true, token: nobodys(unauthorized), challenges: bearerAlone, repo: missing, is: ErrCredentials, refused: true},
	"a login, and 404":                                  {login: true, token: give("t", 0), challenges: bearerAlone, repo: missing},
	"Basic that is refused":                             {login: true, challenges: basicAlone, is: ErrCredentials, refused: true},
	"Basic that is refused behind an open root":         {login: true, challenges: basicAlone, root: open, is: ErrCredentials, refused: true},
	"Basic that has expired, by 400":                    {login: true, challenges: basicAlone, repo: refuse(400, "DENIED", expired), is: ErrCredentials, refused: true},
	"Basic that has expired, by 403":                    {login: true, challenges: basicAlone, repo: refuse(403, "DENIED", expired), is: ErrCredentials, refused: true},
	"Basic that this repo refuses with 403":             {login: true, challenges: basicAlone, repo: denied, is: &Error{Code: CodeUnavailable}},
	"Basic, and a 400 that says something else":         {login: true, challenges: basicAlone, repo: refuse(400, "NAME_INVALID", "no")},
	"credentials that may not be shown, and a refusal":  {login: true, challenges: []string{`Bearer realm="https://127.0.0.1:1/token"`}, is: &Error{Code: CodeUnavailable}},
}

// What a refusal means depends on what was shown, and whether that is good for anything.
func TestARefusalIsReadByWhatWasShown(t *testing.T) {
	for name, c := range refusals {
		t.Run(name, func(t *testing.T) {
			g := newGuarded(t)
			if g.root = c.root; c.token != nil {
				g.token = c.token
			}
			wants := map[bool]string{true: "Bearer t", false: "Bearer nobody's"}[c.repo != nil]
			if c.login && slices.Equal(c.challenges, basicAlone) {
				wants = map[bool]string{true: robotsBasic, false: "Basic another"}[c.repo != nil]
			}
			g.repo = g.wants(wants, c.challenges...)
			if guard := g.repo; c.repo != nil {
				if g.repo = func(w http.ResponseWriter, r *http.Request) {
					if r.Header.Get("Authorization") == wants {
						c.repo(w, r)
						return
					}
					guard(w, r)
				}; g.root == nil {
					g.root = guard
				}
			}
			cfg := SourceConfig{URL: g.URL}
			if c.login {
				cfg.Username, cfg.Password = "robot", "secret"
			}
			s := newSource(t, cfg)
			for range 2 {
				got, err := status(t, s, "p/a")
				if (err == nil) != (c.is == nil) || c.is != nil && !errors.Is(err, c.is) || s.CredentialsRefused() != c.refused {
					t.Errorf("%d, %v, refused: %t", got, err, s.CredentialsRefused())
				}
				if c.is != ErrCredentials && errors.Is(err, ErrCredentials) || c.is != ErrNotGranted && errors.Is(err, ErrNotGranted) {
					t.Errorf("it means more than it says: %v", err)
				}
				if n := g.asked("/"); n > 7 {
					t.Errorf("%d requests for one", n)
				}
			}
		})
	}
}

// nobodys gives everybody a token for a repo, whoever asks, and refuses logins.
func nobodys(refuses http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("scope") != "" {
			give("t", 0)(w, r)
			return
		}
		refuses(w, r)
	}
}

// Credentials that are good again are not said to be refused.
func TestCredentialsAreGoodAgain(t *testing.T) {
	for name, challenge := range map[string]string{"Basic": `Basic realm="x"`, "a token": `Bearer realm="{self}/token"`} {
		g := newGuarded(t)
		bad := refuse(http.StatusUnauthorized, "UNAUTHORIZED", "no")
		g.token, g.repo = bad, g.wants("nothing", challenge)
		s := newSource(t, SourceConfig{URL: g.URL, Username: "robot", Password: "secret"})
		if _, err := status(t, s, "p/a"); !errors.Is(err, ErrCredentials) || !s.CredentialsRefused() {
			t.Errorf("%s: %v", name, err)
		}
		g.mu.Lock()
		g.token = forLogin(give("t", 0), bad)
		if g.repo = g.wants("Bearer t", challenge); name == "Basic" {
			g.repo = g.wants(robotsBasic, challenge)
		}
		g.mu.Unlock()
		if got, err := status(t, s, "p/a"); got != 200 || s.CredentialsRefused() {
			t.Errorf("%s: %d, %v; refused: %t", name, got, err, s.CredentialsRefused())
		}
	}
}
