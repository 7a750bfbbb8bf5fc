package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// guarded is a registry that asks who it is that asks, and its token service: what each is
// shown is noted.
type guarded struct {
	*httptest.Server
	root, repo http.HandlerFunc // /v2/ and what is below it
	token      http.HandlerFunc // /token

	mu   sync.Mutex
	seen []string // path, and what was shown there
}

func newGuarded(t *testing.T) *guarded {
	t.Helper()
	g := &guarded{}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		shown, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		g.mu.Lock()
		g.seen = append(g.seen, strings.TrimSpace(r.URL.Path+" "+shown))
		root, repo, token := g.root, g.repo, g.token
		g.mu.Unlock()
		switch {
		case r.URL.Path == "/token":
			token(w, r)
		case r.URL.Path == "/v2/" && root != nil:
			root(w, r)
		default:
			repo(w, r)
		}
	}))
	t.Cleanup(g.Close)
	g.token = give("t", 0)
	g.repo = g.wants("Bearer t", `Bearer realm="{self}/token",service="s"`)
	return g
}

// asked is how often the path was asked for since the last call.
func (g *guarded) asked(path string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := len(slices.DeleteFunc(slices.Clone(g.seen), func(s string) bool { return !strings.HasPrefix(s, path) }))
	g.seen = nil
	return n
}

// wants challenges whoever does not show what is wanted.
func (g *guarded) wants(authorization string, challenges ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == authorization {
			fmt.Fprint(w, "content")
			return
		}
		for _, c := range challenges {
			w.Header().Add("Www-Authenticate", strings.ReplaceAll(c, "{self}", g.URL))
		}
		refuse(http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")(w, r)
	}
}

func refuse(status int, code, message string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(errorBody{[]errorEntry{{Code: Code(code), Message: message}}})
	}
}

func open(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "content") }

// give answers with a token that is good for so many seconds; 0: it does not say.
func give(token string, seconds int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		answer := map[string]any{"token": token}
		if seconds > 0 {
			answer["expires_in"] = seconds
		}
		json.NewEncoder(w).Encode(answer)
	}
}

// forLogin lets those through that show the credentials.
func forLogin(next, others http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user == "robot" && password == "secret" {
			next(w, r)
			return
		}
		others(w, r)
	}
}

// status asks for a blob of a repo: the status, or 0 and the error.
func status(t *testing.T, s *Source, repo string) (int, error) {
	t.Helper()
	r := blobRequest()
	r.Repo = repo
	resp, err := s.Do(t.Context(), r, nil)
	if err != nil {
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("the error prints the secret: %v", err)
		}
		return 0, err
	}
	resp.Body.Close()
	return resp.StatusCode, nil
}

const robotsBasic = "Basic cm9ib3Q6c2VjcmV0" // robot:secret

// Every scheme that is offered is considered: a token where one is to be had, else the
// credentials themselves, where there are any.
func TestEveryChallengeIsConsidered(t *testing.T) {
	bearer := `Bearer realm="{self}/token",service="s"`
	far := `Bearer realm="https://tokens.example.net/token"`
	for name, c := range map[string]struct {
		login      bool
		wants      string
		root       []string // nil: the root asks for the same
		challenges []string
		status     int
	}{
		"Basic and Bearer in one header":                    {false, "Bearer t", nil, []string{`Basic realm="x", ` + bearer}, 200},
		"Bearer before Basic":                               {false, "Bearer t", nil, []string{bearer + `, Basic realm="x"`}, 200},
		"Basic and Bearer in two headers":                   {false, "Bearer t", nil, []string{`Basic realm="x"`, bearer}, 200},
		"Negotiate first":                                   {false, "Bearer t", nil, []string{"Negotiate", bearer}, 200},
		"Negotiate with a token, in one header":             {false, "Bearer t", nil, []string{"Negotiate YII/Cg+a==, " + bearer}, 200},
		"in capitals":                                       {false, "Bearer t", nil, []string{`BEARER REALM="{self}/token"`}, 200},
		"a realm without quotes":                            {false, "Bearer t", nil, []string{`bearer realm={self}/token,service=s`}, 200},
		"a realm that is a path":                            {false, "Bearer t", nil, []string{`Bearer realm="/token"`}, 200},
		"a realm that cannot be asked beside one that can":  {false, "Bearer t", nil, []string{`Bearer realm="ftp://x/y"`, `Bearer service="s"`, bearer}, 200},
		"credentials, Basic and Bearer":                     {true, "Bearer t", nil, []string{`Basic realm="x"`, bearer}, 200},
		"credentials, Basic alone":                          {true, robotsBasic, nil, []string{`Basic realm="x"`}, 200},
		"credentials, bAsIc beside what nobody knows":       {true, robotsBasic, nil, []string{`Digest realm="x", nonce="y"`, `bAsIc realm="x"`}, 200},
		"credentials that the realm may not see, and Basic": {true, robotsBasic, nil, []string{far, `Basic realm="x"`}, 200},
		"an open root":                                      {false, "Bearer t", []string{}, []string{bearer}, 200},
		"an open root, credentials and Basic":               {true, robotsBasic, []string{}, []string{`Basic realm="x"`}, 200},
		"a root that asks for something else":               {true, robotsBasic, []string{bearer}, []string{`Basic realm="x"`}, 200},
		"a root that asks for something else, anonymously":  {false, "Bearer t", []string{`Basic realm="x"`}, []string{bearer}, 200},
		"a root with a realm that is gone":                  {false, "Bearer t", []string{`Bearer realm="{self}/gone"`}, []string{bearer}, 200},
		"nobody can answer":                                 {false, "x", nil, []string{`Basic realm="x"`}, 401},
		"credentials, and Negotiate alone":                  {true, "x", nil, []string{"Negotiate"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuarded(t)
			g.repo = g.wants(c.wants, c.challenges...)
			if c.root != nil {
				if g.root = g.wants("", c.root...); len(c.root) == 0 {
					g.root = open
				}
			}
			if c.login {
				g.token = forLogin(give("t", 0), refuse(http.StatusUnauthorized, "UNAUTHORIZED", "who are you"))
			}
			cfg := SourceConfig{URL: g.URL}
			if c.login {
				cfg.Username, cfg.Password = "robot", "secret"
			}
			s := newSource(t, cfg)
			for _, repo := range []string{"p/a", "p/a", "p/b"} {
				if got, err := status(t, s, repo); got != c.status {
					t.Errorf("%s: %d, %v", repo, got, err)
				}
			}
			if n := g.asked("/v2/p/a/blobs/" + someDigest + " Basic"); n > 0 && c.wants == "Bearer t" {
				t.Error("the registry is shown the credentials where a token is to be had")
			}
		})
	}
}

// What is known of one repo spares questions for the next.
func TestAnotherRepoCostsATokenAndARequest(t *testing.T) {
	g := newGuarded(t)
	s := newSource(t, SourceConfig{URL: g.URL})
	for i, want := range []int{3, 2, 2} { // the root, once; a token, the request
		if got, err := status(t, s, fmt.Sprint("p/", i)); got != 200 {
			t.Fatal(got, err)
		}
		if n := g.asked("/"); n != want {
			t.Errorf("repo %d: %d requests, want %d", i, n, want)
		}
	}
	if got, err := status(t, s, "p/0"); got != 200 || g.asked("/") != 1 {
		t.Errorf("a repo that has its token: %d, %v", got, err)
	}
}

// A token service that has had enough is left alone for that repo, for as long as it said,
// and for others it is asked.
func TestABusyTokenServiceIsLeftAlone(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		header string
		wait   time.Duration
	}{
		"429, Retry-After":  {429, "30", 30 * time.Second},
		"429, no time":      {429, "", time.Minute},
		"429, a day":        {429, "86400", time.Hour},
		"503, Retry-After":  {503, "40", 40 * time.Second},
		"503, nothing said": {503, "", retryUnavailable},
	} {
		g := newGuarded(t)
		g.token = func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.FormValue("scope"), "busy") {
				w.Header().Set("Retry-After", c.header)
				refuse(c.status, "TOOMANYREQUESTS", "too many tokens")(w, r)
				return
			}
			give("t", 0)(w, r)
		}
		var passed atomic.Int64
		begun := time.Now()
		s := newSource(t, SourceConfig{URL: g.URL, Now: func() time.Time { return begun.Add(time.Duration(passed.Load())) }})
		for i := range 3 {
			passed.Store(int64(i) * int64(time.Second))
			_, err := status(t, s, "busy/app")
			var e *Error
			if !errors.Is(err, ErrBusy) || !errors.As(err, &e) || e.Status != c.status || e.RetryAfter != c.wait-time.Duration(i)*time.Second {
				t.Errorf("%s: %v, %+v", name, err, e)
			}
		}
		if n := g.asked("/token"); n != 1 {
			t.Errorf("%s: its token service was asked %d times", name, n)
		}
		if got, err := status(t, s, "p/a"); got != 200 {
			t.Errorf("%s: another repo: %d, %v", name, got, err)
		}
		passed.Store(int64(c.wait))
		if status(t, s, "busy/app"); g.asked("/token") != 2 { // and once for the other repo
			t.Errorf("%s: it is not asked again", name)
		}
	}
}

// A repo behind an open root that is not open itself speaks for no other: where its token
// service is busy, or ill, the open ones are served.
func TestAGuardedRepoLeavesTheOpenOnesOpen(t *testing.T) {
	for name, root := range map[string]http.HandlerFunc{
		"an open root":                         open,
		"a root that asks for what nobody has": refuseWith(`Basic realm="x"`),
		"a root that is ill":                   refuse(http.StatusBadGateway, "UNKNOWN", ""),
	} {
		for _, says := range []int{429, 500, 503} {
			g := newGuarded(t)
			g.root, g.token = root, refuse(says, "UNKNOWN", "")
			guard := g.repo
			g.repo = func(w http.ResponseWriter, r *http.Request) {
				if strings.Contains(r.URL.Path, "/secret/") {
					guard(w, r)
					return
				}
				open(w, r)
			}
			s := newSource(t, SourceConfig{URL: g.URL})
			if got, err := status(t, s, "secret/a"); !errors.Is(err, &Error{Code: CodeUnavailable}) && !errors.Is(err, ErrBusy) {
				t.Errorf("%s, %d: the guarded repo: %d, %v", name, says, got, err)
			}
			g.asked("")
			if got, err := status(t, s, "open/a"); got != 200 || g.asked("/token") > 0 {
				t.Errorf("%s, %d: an open repo: %d, %v", name, says, got, err)
			}
		}
	}
}

func refuseWith(challenge string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Www-Authenticate", challenge)
		refuse(http.StatusUnauthorized, "UNAUTHORIZED", "")(w, r)
	}
}

// Behind an open root a repo costs one refusal more, and no more than that while its token is good.
func TestARepoBehindAnOpenRootIsRefusedOnce(t *testing.T) {
	g := newGuarded(t)
	g.root = open
	s := newSource(t, SourceConfig{URL: g.URL})
	for i, want := range []int{4, 3, 1} { // the root, once; a refusal, a token, the request
		if got, err := status(t, s, fmt.Sprint("p/", min(i, 1))); got != 200 {
			t.Fatal(got, err)
		}
		if n := g.asked("/"); n != want {
			t.Errorf("request %d: %d requests, want %d", i, n, want)
		}
	}
}
