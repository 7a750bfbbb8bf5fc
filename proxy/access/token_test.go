package access_test

import (
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"example.org/breakwater/proxy/access"
	"example.org/breakwater/registry"
)

// fleetKey and otherKey are made once: that takes a while.
var fleetKey, otherKey = sync.OnceValue(newKey), sync.OnceValue(newKey)

func newKey() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
}

// signed is a Harbor's token for ci to pull from a/x, with the claims that are to differ.
func signed(t *testing.T, key *rsa.PrivateKey, at time.Time, differ jwt.MapClaims) string {
	t.Helper()
	claims := jwt.MapClaims{"aud": "harbor-registry", "sub": "ci", "iat": at.Unix(), "exp": at.Add(30 * time.Minute).Unix(),
		"access": []registry.Access{{Type: "repository", Name: "a/x", Actions: []string{"pull"}}}}
	maps.Copy(claims, differ)
	raw, err := jwt.NewWithClaims(jwt.SigningMethodRS256, claims).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func verifying(c *clock, keys ...*rsa.PrivateKey) func(*access.Config) {
	return func(cfg *access.Config) {
		cfg.Now, cfg.Verifier = c.now, &registry.Verifier{Now: c.now}
		for _, key := range keys {
			cfg.Verifier.Keys = append(cfg.Verifier.Keys, &key.PublicKey)
		}
	}
}

// Without Harbor it is known whose a token is, and what it does not permit, only where the
// token can be verified here.
func TestWhatATokenTellsWithoutHarbor(t *testing.T) {
	key, c := fleetKey(), &clock{time.Now()}
	good, anonymous := signed(t, key, c.at, nil), signed(t, key, c.at, jwt.MapClaims{"sub": ""})
	stranger, over := signed(t, otherKey(), c.at, nil), signed(t, key, c.at.Add(-time.Hour), nil)
	with, without := before(t, http.NotFound, verifying(c, key)), before(t, http.NotFound, func(cfg *access.Config) { cfg.Now = c.now })
	own, _, err := with.OwnToken("ci", []string{"a/x"})
	if err != nil {
		t.Fatal(err)
	}
	elsewhere, _, err := without.OwnToken("ci", []string{"a/x"})
	if err != nil {
		t.Fatal(err)
	}
	for what, want := range map[string]struct {
		check                         *access.Checker
		authorization                 string
		known, pull, push, valid, own bool // it is known whose it is; a pull, a push is refused
	}{
		"a good one":           {with, "Bearer " + good, true, false, true, true, false},
		"written otherwise":    {with, "bearer  " + good + " ", true, false, true, true, false},
		"nobody's":             {with, "Bearer " + anonymous, false, false, true, true, false},
		"a stranger's":         {with, "Bearer " + stranger, false, true, true, false, false},
		"one that is over":     {with, "Bearer " + over, false, true, true, false, false},
		"an edge's":            {with, "Bearer " + own, true, false, true, true, true},
		"another edge's":       {with, "Bearer " + elsewhere, false, true, true, false, true},
		"none":                 {with, "", false, false, false, false, false},
		"of another scheme":    {with, "Basic " + good, false, false, false, true, false},
		"an edge's, otherwise": {with, "Basic " + own, false, false, false, true, false},
		"a password":           {with, basic("ci", secret), false, false, false, false, false},
		"without certificates": {without, "Bearer " + good, false, false, false, false, false},
	} {
		refuses := func(action string) bool {
			return want.check.Refuses(t.Context(), access.Query{Authorization: want.authorization, Repos: []string{"a/x"}, Action: action})
		}
		who, known := want.check.Knows(want.authorization)
		if known != want.known || known && who != "ci" {
			t.Errorf("%s: it is %q's, %v", what, who, known)
		}
		if pull, push := refuses("pull"), refuses("push"); pull != want.pull || push != want.push {
			t.Errorf("%s: a pull is refused: %v, a push: %v", what, pull, push)
		}
		_, raw, _ := strings.Cut(want.authorization, " ")
		if got := want.check.Verifies(raw); got != want.valid {
			t.Errorf("%s: valid: %v", what, got)
		}
		if got := want.check.Own(want.authorization); got != want.own {
			t.Errorf("%s: an edge's own: %v", what, got)
		}
		if got := access.Claimed(want.authorization); strings.HasPrefix(strings.ToLower(want.authorization), "bearer") && got != "ci" && what != "nobody's" {
			t.Errorf("%s: it claims to be %q's", what, got)
		}
	}
}

// A token that was verified counts until it ends, and no longer than the keys that it was
// verified by; why one is refused is there for the log.
func TestHowLongATokenCounts(t *testing.T) {
	first, second, c := fleetKey(), otherKey(), &clock{time.Now()}
	check := before(t, http.NotFound, verifying(c, first))
	old, next := signed(t, first, c.at, nil), signed(t, second, c.at, nil)
	expect := func(when, raw string, want int) {
		t.Helper()
		who, err := check.Allow(t.Context(), access.Query{Authorization: "Bearer " + raw, Repos: []string{"a/x"}, Action: "pull"})
		if statusOf(err) != want || (who == "ci") != (want == http.StatusOK) {
			t.Errorf("%s: %d (%v), by %q", when, statusOf(err), err, who)
		}
		if e, ok := err.(*registry.Error); ok && e.Cause == nil { //nolint:errorlint // it is the client's answer itself
			t.Errorf("%s: nobody can tell why", when)
		}
	}
	expect("the old key's", old, 200)
	expect("the next key's", next, 401)
	check.UseKeys([]*rsa.PublicKey{&first.PublicKey, &second.PublicKey})
	expect("the old key's, beside the next", old, 200)
	expect("the next key's, beside the old", next, 200)
	check.UseKeys([]*rsa.PublicKey{&second.PublicKey})
	expect("the old key's, afterwards", old, 401)
	expect("the next key's, afterwards", next, 200)
	c.at = c.at.Add(29 * time.Minute)
	expect("shortly before its end", next, 200)
	c.at = c.at.Add(3 * time.Minute)
	expect("after its end", next, 401)
	check = before(t, http.NotFound, func(cfg *access.Config) { cfg.Now = c.now })
	check.UseKeys([]*rsa.PublicKey{&first.PublicKey})
	expect("where there were no certificates", signed(t, first, time.Now(), nil), 200)
}

// Harbor's yes to a token that cannot be verified here is remembered until the token says that
// it ends, for five minutes at most.
func TestAYesLastsNoLongerThanItsToken(t *testing.T) {
	key := fleetKey()
	for name, row := range map[string]struct {
		differ jwt.MapClaims
		yes    time.Duration
	}{
		"an hour":           {jwt.MapClaims{"exp": time.Now().Add(time.Hour).Unix()}, 5 * time.Minute},
		"a minute":          {jwt.MapClaims{"exp": time.Now().Add(time.Minute).Unix()}, time.Minute},
		"it does not say":   {jwt.MapClaims{"exp": nil}, 5 * time.Minute},
		"none that is read": {nil, 5 * time.Minute},
	} {
		var asked atomic.Int64
		c := &clock{time.Now()}
		check := before(t, func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/v2/") {
				asked.Add(1)
				w.Header().Set("Content-Type", "application/json")
			}
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, `{"errors":[{"code":"BLOB_UNKNOWN"}]}`) //nolint:errcheck // a HEAD has none
		}, func(cfg *access.Config) { cfg.Now = c.now })
		raw := "opaque"
		if row.differ != nil {
			raw = signed(t, key, c.at, row.differ)
		}
		for _, step := range []struct {
			after time.Duration
			asked int64
		}{{0, 1}, {row.yes - 2*time.Second, 1}, {4 * time.Second, 2}} {
			c.at = c.at.Add(step.after)
			_, err := check.Allow(t.Context(), access.Query{Authorization: "Bearer " + raw, Repos: []string{"a/x"}, Action: "pull"})
			if err != nil || asked.Load() != step.asked {
				t.Errorf("%s: asked %d times, want %d, %v", name, asked.Load(), step.asked, err)
			}
		}
	}
}

// Where a name can be proven, it is the token's own: of one that is verified here, and of
// one that Harbor has accepted.
func TestWhoseTokenItWasIsSaid(t *testing.T) {
	key, c := fleetKey(), &clock{time.Now()}
	p := &project{public: "true"}
	p.created.Store(&c.at)
	p.id.Store(7)
	token := "Bearer " + signed(t, key, c.at, nil)
	verifies := before(t, p.ServeHTTP, verifying(c, key))
	asks := before(t, p.ServeHTTP, nil)
	for wrote, want := range map[bool]string{false: "", true: "ci"} {
		if who := verifies.Proven(t.Context(), token, "a/x", wrote); who != "ci" {
			t.Errorf("verified here: %q", who)
		}
		if who := asks.Proven(t.Context(), token, "a/x", wrote); who != want {
			t.Errorf("accepted by Harbor, a write %v: %q", wrote, who)
		}
	}
	if who := asks.Proven(t.Context(), "", "a/x", true); who != "" {
		t.Errorf("nobody is %q", who)
	}
}

// A token that Harbor refuses gets the challenge that has the client ask for another one.
func TestATokenThatHarborRefuses(t *testing.T) {
	check := before(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="http://harbor.internal/service/token"`)
		w.WriteHeader(http.StatusUnauthorized)
	}, nil)
	_, err := check.Allow(t.Context(), access.Query{Authorization: "Bearer opaque", Repos: []string{"a/x"}, Action: "push", Scope: "repository:a/x:push", BaseURL: "https://edge.example.org"})
	var e *registry.Error
	if !errors.As(err, &e) || e.Status != http.StatusUnauthorized || !strings.Contains(e.Challenge, `Bearer realm="https://edge.example.org/service/token"`) ||
		!strings.Contains(e.Challenge, `error="insufficient_scope"`) || !strings.Contains(e.Challenge, `scope="repository:a/x:push"`) {
		t.Errorf("%+v", err)
	}
}
