package token_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/pass"
	"example.org/breakwater/proxy/peer"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/proxy/token"
	"example.org/breakwater/registry"
)

const secret = "Some1Secret"

// harbor answers for tokens as Harbor does: it grants pulls of the repos that it is told of
// to one robot, and what is public to anybody.
type harbor struct {
	*httptest.Server
	key    *rsa.PrivateKey
	grants []string
	fails  atomic.Pointer[http.HandlerFunc] // answers requests for tokens in its place
	down   atomic.Bool                      // nothing is answered well
	mu     sync.Mutex
	asked  []*http.Request // for tokens
}

func newHarbor(t *testing.T, grants ...string) *harbor {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	h := &harbor{key: key, grants: grants}
	h.Server = httptest.NewServer(h)
	t.Cleanup(h.Close)
	return h
}

// ServeHTTP implements http.Handler.
func (h *harbor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	user, password, basic := r.BasicAuth()
	fails := h.fails.Load()
	switch {
	case h.down.Load():
		w.WriteHeader(http.StatusBadGateway)
	case r.URL.Path == "/service/token" || r.URL.Path == peer.TokenPath:
		h.mu.Lock()
		h.asked = append(h.asked, r.Clone(r.Context()))
		h.mu.Unlock()
		if fails != nil {
			(*fails)(w, r)
			return
		}
		if forPeer := r.Header.Get(peer.ClientHeader); r.URL.Path == peer.TokenPath {
			in := &http.Request{Header: http.Header{"Authorization": {forPeer}}}
			user, password, basic = in.BasicAuth()
		}
		if basic && (user != "ci" || password != secret) {
			w.Header().Set("WWW-Authenticate", `Basic realm="harbor"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		h.issue(w, r, user)
	default: // a probe, health, or a list: it is well
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `[]`) //nolint:errcheck // the edge is gone
	}
}

func (h *harbor) issue(w http.ResponseWriter, r *http.Request, user string) {
	var all []registry.Access
	for _, scope := range r.URL.Query()["scope"] {
		parts := strings.Split(scope, ":")
		entry := registry.Access{Type: parts[0], Name: parts[1], Actions: []string{}}
		granted := slices.Contains(h.grants, parts[1]) && user != "" || strings.HasPrefix(parts[1], "open/")
		if granted && slices.Contains(strings.Split(parts[2], ","), "pull") {
			entry.Actions = []string{"pull"}
		}
		all = append(all, entry)
	}
	raw, err := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{"aud": "harbor-registry", "sub": user, "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(), "access": all}).SignedString(h.key)
	if err != nil {
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]any{"token": raw}) //nolint:errcheck // the edge is gone
}

// fixture is the token service of an edge before a Harbor, with another datacenter's edge.
type fixture struct {
	local, other *harbor
	service      *token.Service
	check        *access.Checker
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{local: newHarbor(t, "a/x"), other: newHarbor(t, "a/x")}
	at := func(name string, kind source.Kind, url string) *source.Source {
		client, err := registry.NewSource(registry.SourceConfig{URL: url, Username: "edge", Password: secret})
		if err != nil {
			t.Fatal(err)
		}
		return source.New(t.Context(), source.Config{Name: name, Kind: kind, Datacenter: "mad1", Registry: client, Now: time.Now, Metrics: source.NewMetrics(nil)})
	}
	own := at("harbor", source.Harbor, f.local.URL)
	var err error
	if f.check, err = access.New(access.Config{Harbor: own.Registry, OutageGrace: time.Hour, Secret: "Fleet1Secret",
		Verifier: &registry.Verifier{Keys: []*rsa.PublicKey{&f.local.key.PublicKey}}}); err != nil {
		t.Fatal(err)
	}
	f.service = token.New(t.Context(), token.Config{Harbor: own, Health: source.NewHealth(t.Context(), own.Registry, time.Now), Peers: []*source.Source{at("peer-mad1", source.Peer, f.other.URL)},
		Pass: pass.ToHarbor("harbor", own.Registry), Access: f.check, Deadline: 2 * time.Second, Log: slog.New(slog.DiscardHandler), Now: time.Now})
	return f
}

// ask asks for pulls of repos, as a user; "" as nobody.
func (f *fixture) ask(t *testing.T, user, password string, scopes ...string) (token.Answer, []string, error) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/service/token?service=harbor-registry", nil)
	query := r.URL.Query()
	query["scope"] = scopes
	r.URL.RawQuery = query.Encode()
	if user != "" {
		r.SetBasicAuth(user, password)
	}
	a, err := f.service.Answer(r)
	var body struct{ Token string }
	var claims struct {
		jwt.RegisteredClaims
		Access []registry.Access `json:"access"`
	}
	if json.Unmarshal(a.Body, &body) == nil {
		jwt.NewParser().ParseUnverified(body.Token, &claims) //nolint:errcheck // what is no token grants nothing
	}
	var pulls []string
	for _, entry := range claims.Access {
		if slices.Contains(entry.Actions, "pull") {
			pulls = append(pulls, entry.Name)
		}
	}
	return a, pulls, err
}

func scope(repo string) string { return "repository:" + repo + ":pull" }

// The local Harbor's answer is passed on as it is, with whom it is for.
func TestHarborsAnswerIsPassedOn(t *testing.T) {
	f := newFixture(t)
	for _, c := range []struct {
		user, password, repo string
		status               int
		who                  string
		pulls                []string
	}{
		{"ci", secret, "a/x", 200, "ci", []string{"a/x"}},
		{"ci", secret, "a/y", 200, "ci", nil},
		{"ci", "wrong", "a/x", 401, "", nil},
		{"", "", "open/x", 200, "", []string{"open/x"}},
		{"", "", "a/x", 200, "", nil},
	} {
		a, pulls, err := f.ask(t, c.user, c.password, scope(c.repo))
		if err != nil || a.Status != c.status || a.Who != c.who || a.Source != "harbor" || !slices.Equal(pulls, c.pulls) {
			t.Errorf("%s for %s: %d from %s for %q, %v, %v", c.repo, c.user, a.Status, a.Source, a.Who, pulls, err)
		}
	}
	if n := len(f.other.asked); n != 0 {
		t.Errorf("the peer was asked %d times", n)
	}
}

// Nothing of a client goes on to Harbor's token service but what it asks for, and who it is.
func TestWhatHarborIsToldOfAClient(t *testing.T) {
	f := newFixture(t)
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/service/token?service=harbor-registry&scope="+scope("a/x"), strings.NewReader("hello"))
	r.SetBasicAuth("ci", secret)
	for _, name := range []string{"Cookie", "Forwarded", "X-Forwarded-Host", "Connection", "Upgrade", peer.ClientHeader, peer.AskedHeader, "Expect", "Content-Type"} {
		r.Header.Set(name, "made-up")
	}
	if a, err := f.service.Answer(r); err != nil || a.Status != http.StatusOK {
		t.Fatal(a.Status, err)
	}
	got := f.local.asked[0]
	for _, name := range []string{"Cookie", "Forwarded", "Upgrade", peer.ClientHeader, peer.AskedHeader, "Expect", "Content-Type"} {
		if v := got.Header.Get(name); v != "" {
			t.Errorf("%s: %s", name, v)
		}
	}
	if got.ContentLength != 0 || got.Header.Get("X-Forwarded-Host") == "made-up" {
		t.Errorf("a body of %d bytes, for %s", got.ContentLength, got.Header.Get("X-Forwarded-Host"))
	}
	if user, password, _ := got.BasicAuth(); user != "ci" || password != secret {
		t.Errorf("as %s", user)
	}
}

// Only a GET asks for a token; containerd's POST comes first, also while Harbor is down.
func TestOnlyAGETAsksForAToken(t *testing.T) {
	f := newFixture(t)
	f.local.down.Store(true)
	for _, method := range []string{http.MethodPost, http.MethodHead, http.MethodPut} {
		r := httptest.NewRequestWithContext(t.Context(), method, "/service/token", nil)
		for name, answer := range map[string]func(*http.Request) (token.Answer, error){"a client's": f.service.Answer, "a peer's": f.service.AnswerPeer} {
			_, err := answer(r)
			var e *registry.Error
			if !errors.As(err, &e) || e.Status != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %v", name, method, err)
			}
		}
	}
}

// While the local Harbor is down a peer's gives tokens. One that cannot be verified here is
// exchanged for one of the edge's own, with the same pulls.
func TestAPeersAnswerIsExchanged(t *testing.T) {
	f := newFixture(t)
	f.local.down.Store(true)
	a, pulls, err := f.ask(t, "ci", secret, scope("a/x"), scope("b/y"))
	if err != nil || a.Status != http.StatusOK || a.Source != "peer-mad1" || !slices.Equal(pulls, []string{"a/x"}) {
		t.Fatalf("%d from %s, %v, %v", a.Status, a.Source, pulls, err)
	}
	var body struct{ Token string }
	json.Unmarshal(a.Body, &body) //nolint:errcheck // shown below
	if !f.check.Own("Bearer " + body.Token) {
		t.Error("a token that nobody here can verify is passed on")
	}
	if a, _, err := f.ask(t, "ci", "wrong", scope("a/x")); err != nil || a.Status != http.StatusUnauthorized {
		t.Errorf("a wrong password: %d, %v", a.Status, err)
	}
	for _, r := range f.other.asked {
		if r.Header.Get("Authorization") != "" {
			t.Error("the peer's Harbor is shown the client's credentials as the edge's")
		}
	}
}

// In an outage of all Harbors the edge gives what was granted before: to that credential, of
// those repos, pulls alone. While a Harbor is well it gives nothing, whatever becomes of one
// client's request.
func TestInAnOutageWhatWasGrantedIsGiven(t *testing.T) {
	f := newFixture(t)
	f.local.grants = []string{"a/x", "a/y"}
	for _, repo := range []string{"a/x", "open/x"} {
		if _, pulls, err := f.ask(t, "ci", secret, scope(repo)); err != nil || len(pulls) != 1 {
			t.Fatal(pulls, err)
		}
	}
	limited := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) })
	f.local.fails.Store(&limited)
	f.other.fails.Store(&limited)
	if a, pulls, err := f.ask(t, "ci", secret, scope("a/x")); err == nil || len(pulls) > 0 {
		t.Errorf("while Harbor is well: %d from %s, %v", a.Status, a.Source, pulls)
	}
	f.local.down.Store(true)
	f.other.down.Store(true)
	trial.Until(t, func() error { // what was seen a moment ago counts for a second
		_, _, err := f.ask(t, "ci", secret, scope("a/x"))
		return err
	})
	for _, c := range []struct {
		what, user, password string
		scopes, pulls        []string
	}{
		{"what was granted", "ci", secret, []string{scope("a/x")}, []string{"a/x"}},
		{"with a push beside", "ci", secret, []string{"repository:a/x:pull,push"}, []string{"a/x"}},
		{"and what was not", "ci", secret, []string{scope("a/x"), scope("a/y")}, []string{"a/x"}},
		{"a wrong password", "ci", "wrong", []string{scope("a/x")}, nil},
		{"another user", "cj", secret, []string{scope("a/x")}, nil},
		{"nobody", "", "", []string{scope("a/x")}, nil},
		{"a push alone", "ci", secret, []string{"repository:a/x:push"}, nil},
	} {
		a, pulls, err := f.ask(t, c.user, c.password, c.scopes...)
		if !slices.Equal(pulls, c.pulls) || (err == nil) != (c.pulls != nil) || err == nil && a.Source != token.Outage {
			t.Errorf("%s: %d from %s, %v, %v", c.what, a.Status, a.Source, pulls, err)
		}
		var e *registry.Error
		if err != nil && (!errors.As(err, &e) || e.Status != http.StatusServiceUnavailable || e.RetryAfter == 0) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

// What somebody else asks for in the same breath takes no grant away: Harbor lets the last
// scope of a project count for all of it.
func TestAPushBesideAPullTakesNoGrantAway(t *testing.T) {
	f := newFixture(t)
	f.ask(t, "", "", scope("open/x"))                                //nolint:errcheck // shown below
	f.ask(t, "", "", scope("open/x"), "repository:open/y:push")      //nolint:errcheck // as above
	f.ask(t, "", "", "repository:open/z:push", "repository:open/:x") //nolint:errcheck // as above
	if got := f.check.Remembered("", []string{"open/other"}); len(got) != 1 {
		t.Error("a public project is forgotten by a request for a push")
	}
}

// Of one request so many repos are remembered and no more.
func TestAScopeIsOneOfMany(t *testing.T) {
	f := newFixture(t)
	var scopes []string
	for i := range 100 {
		f.local.grants = append(f.local.grants, fmt.Sprint("b/", i))
		scopes = append(scopes, scope(fmt.Sprint("b/", i)))
	}
	if _, pulls, err := f.ask(t, "ci", secret, scopes...); err != nil || len(pulls) != 100 {
		t.Fatalf("%d, %v", len(pulls), err)
	}
	user := httptest.NewRequest(http.MethodGet, "/", nil)
	user.SetBasicAuth("ci", secret)
	n := len(f.check.Remembered(user.Header.Get("Authorization"), f.local.grants))
	if n != 32 {
		t.Errorf("%d repos of one request are remembered", n)
	}
}
