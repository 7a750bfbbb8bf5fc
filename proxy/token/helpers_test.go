package token_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
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
	"github.com/prometheus/client_golang/prometheus"

	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/pass"
	"example.org/breakwater/proxy/peer"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/proxy/token"
	"example.org/breakwater/registry"
)

const secret = "Some1Secret"

// clock stands still until a test moves it.
type clock struct{ passed atomic.Int64 }

var begun = time.Now()

func (c *clock) now() time.Time           { return begun.Add(time.Duration(c.passed.Load())) }
func (c *clock) advance(by time.Duration) { c.passed.Add(int64(by)) }

// harbor answers for tokens as Harbor does: it grants pulls of the repos that it is told of
// to one robot, and what is public to anybody.
type harbor struct {
	*httptest.Server
	clock      *clock
	key        *rsa.PrivateKey
	grants     []string
	fails      atomic.Pointer[http.HandlerFunc] // answers requests for tokens in its place
	down       atomic.Bool                      // nothing is answered well
	dead       atomic.Bool                      // nothing is answered
	noDatabase atomic.Bool                      // it takes everybody for nobody, and its lists fail
	lists      atomic.Bool                      // they do not fail yet
	checked    atomic.Int32                     // how often it was asked what needs the database
	mu         sync.Mutex
	asked      []*http.Request // for tokens
}

// localKey and otherKey are the keys that Harbors sign with: to make one takes long.
var localKey, otherKey = sync.OnceValue(newKey), sync.OnceValue(newKey)

func newKey() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
}

func newHarbor(t *testing.T, clock *clock, key *rsa.PrivateKey) *harbor {
	t.Helper()
	h := &harbor{clock: clock, key: key, grants: []string{"a/x"}}
	h.Server = httptest.NewServer(h)
	t.Cleanup(h.Close)
	return h
}

// failing has requests for tokens answered so; nil: as Harbor does.
func (h *harbor) failing(answer http.HandlerFunc) {
	h.fails.Store(nil)
	if answer != nil {
		h.fails.Store(&answer)
	}
}

// says is an answer that is no token.
func says(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		io.WriteString(w, body) //nolint:errcheck // the edge is gone
	}
}

// ServeHTTP implements http.Handler.
func (h *harbor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	forToken := r.URL.Path == registry.TokenPath || r.URL.Path == peer.TokenPath
	if forToken {
		h.mu.Lock()
		h.asked = append(h.asked, r.Clone(r.Context()))
		h.mu.Unlock()
	}
	switch {
	case h.dead.Load():
		panic(http.ErrAbortHandler)
	case h.down.Load():
		w.WriteHeader(http.StatusBadGateway)
	case forToken:
		if fails := h.fails.Load(); fails != nil {
			(*fails)(w, r)
			return
		}
		h.serveToken(w, r)
	case r.URL.Path == "/v2/":
	case strings.HasPrefix(r.URL.Path, "/v2/") && h.noDatabase.Load():
		h.checked.Add(1)
		w.Header().Set("WWW-Authenticate", "")
		w.WriteHeader(http.StatusUnauthorized)
		io.WriteString(w, `{"errors":[{"code":"UNAUTHORIZED","message":"failed to connect to the database"}]}`) //nolint:errcheck // as above
	case strings.HasPrefix(r.URL.Path, "/v2/"):
		w.WriteHeader(http.StatusNotFound)
	case h.noDatabase.Load() && !h.lists.Load():
		w.WriteHeader(http.StatusInternalServerError)
	case r.URL.Query().Get("q") == "": // of no project in particular
		h.checked.Add(1)
		io.WriteString(w, `[]`) //nolint:errcheck // as above
	default:
		fmt.Fprintf(w, `[{"name":%q,"project_id":7}]`, strings.TrimPrefix(r.URL.Query().Get("q"), "name="))
	}
}

// times counts the requests for tokens.
func (h *harbor) times() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.asked)
}

func (h *harbor) serveToken(w http.ResponseWriter, r *http.Request) {
	user, password, basic := r.BasicAuth()
	if r.URL.Path == peer.TokenPath {
		in := &http.Request{Header: http.Header{"Authorization": r.Header[peer.ClientHeader]}}
		user, password, basic = in.BasicAuth()
	}
	switch {
	case h.noDatabase.Load():
		h.issue(w, r, "")
	case basic && (user != "ci" || password != secret):
		w.Header().Set("WWW-Authenticate", `Basic realm="harbor"`)
		w.WriteHeader(http.StatusUnauthorized)
	default:
		h.issue(w, r, user)
	}
}

func (h *harbor) issue(w http.ResponseWriter, r *http.Request, user string) {
	json.NewEncoder(w).Encode(map[string]any{"token": h.sign(r.URL.Query()["scope"], user)}) //nolint:errcheck // the edge is gone
}

func (h *harbor) sign(scopes []string, user string) string {
	var all []registry.Access
	for _, scope := range strings.Fields(strings.Join(scopes, " ")) {
		parts := strings.Split(scope, ":")
		entry := registry.Access{Type: parts[0], Name: parts[1], Actions: []string{}}
		granted := slices.Contains(h.grants, parts[1]) && user != "" || strings.HasPrefix(parts[1], "open/") && !h.noDatabase.Load()
		if actions := strings.Split(parts[2], ","); granted && (slices.Contains(actions, "pull") || slices.Contains(actions, "*")) {
			entry.Actions = []string{"pull"}
		}
		all = append(all, entry)
	}
	now := h.clock.now()
	raw, err := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{"aud": "harbor-registry", "sub": user, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "access": all}).SignedString(h.key)
	if err != nil {
		panic(err)
	}
	return raw
}

// fixture is the token service of an edge before a Harbor, with another datacenter's edge.
type fixture struct {
	*clock
	local, other *harbor
	service      *token.Service
	check        *access.Checker
	metrics      *prometheus.Registry
}

func newFixture(t *testing.T, options ...func(*token.Config)) *fixture {
	t.Helper()
	c := &clock{}
	f := &fixture{clock: c, local: newHarbor(t, c, localKey()), other: newHarbor(t, c, otherKey()), metrics: prometheus.NewRegistry()}
	at := func(name string, kind source.Kind, url string) *source.Source {
		client, err := registry.NewSource(registry.SourceConfig{URL: url, Username: "edge", Password: secret})
		if err != nil {
			t.Fatal(err)
		}
		return source.New(t.Context(), source.Config{Name: name, Kind: kind, Datacenter: "mad1", Registry: client, Now: c.now, Metrics: source.NewMetrics(nil)})
	}
	own := at("harbor", source.Harbor, f.local.URL)
	var err error
	if f.check, err = access.New(access.Config{Harbor: own.Registry, OutageGrace: time.Hour, Keys: trial.Keys("Fleet1Secret, and as long as it has to be", ""), Now: c.now,
		Verifier: &registry.Verifier{Now: c.now, Keys: []*rsa.PublicKey{&f.local.key.PublicKey}}}); err != nil {
		t.Fatal(err)
	}
	peers := []*source.Source{at("peer-mad1", source.Peer, f.other.URL)}
	cfg := token.Config{Harbor: own, Health: source.NewHealth(t.Context(), own.Registry, c.now), Peers: func() []*source.Source { return peers },
		Pass: pass.ToHarbor("harbor", own.Registry), Access: f.check, Deadline: 10 * time.Second, Log: slog.New(slog.DiscardHandler), Metrics: f.metrics, Now: c.now}
	for _, change := range options {
		change(&cfg)
	}
	f.service = token.New(t.Context(), cfg)
	return f
}

// request asks for pulls of repos, as a user; "" as nobody.
func request(t *testing.T, user, password string, scopes ...string) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/service/token?service=harbor-registry", nil)
	query := r.URL.Query()
	query["scope"] = scopes
	r.URL.RawQuery = query.Encode()
	if user != "" {
		r.SetBasicAuth(user, password)
	}
	return r
}

// ask sends a request to the edge. pulls are the repos that its answer is good for.
func (f *fixture) ask(t *testing.T, user, password string, scopes ...string) (a token.Answer, pulls []string, err error) {
	t.Helper()
	a, err = f.service.Answer(request(t, user, password, scopes...))
	var claims struct {
		jwt.RegisteredClaims
		Access []registry.Access `json:"access"`
	}
	jwt.NewParser().ParseUnverified(tokenOf(a), &claims) //nolint:errcheck // what is no token grants nothing
	for _, entry := range claims.Access {
		if slices.Contains(entry.Actions, "pull") {
			pulls = append(pulls, entry.Name)
		}
	}
	return a, pulls, err
}

func tokenOf(a token.Answer) string {
	var body struct{ Token string }
	json.Unmarshal(a.Body, &body) //nolint:errcheck // a refusal has none
	return body.Token
}

// grant has the robot's pull of a/x, its login and anybody's pull of open/x granted.
func (f *fixture) grant(t *testing.T) {
	t.Helper()
	for _, c := range []struct{ user, repo string }{{"ci", "a/x"}, {"", "open/x"}} {
		if a, pulls, err := f.ask(t, c.user, secret, scope(c.repo)); err != nil || a.Source != "harbor" || len(pulls) != 1 {
			t.Fatal(a.Source, pulls, err)
		}
	}
	if a, _, err := f.ask(t, "ci", secret); err != nil || a.Who != "ci" {
		t.Fatal(a, err)
	}
}

// allDown has no Harbor of the fleet answer from now on.
func (f *fixture) allDown(down bool) {
	f.local.down.Store(down)
	f.other.down.Store(down)
	f.advance(2 * time.Second) // what was seen a moment ago counts for a second
}

// tokens counts the answers by who gave them.
func (f *fixture) tokens(t *testing.T) map[string]float64 {
	t.Helper()
	families, err := f.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, family := range families {
		if family.GetName() == "breakwater_edge_tokens_total" {
			for _, m := range family.GetMetric() {
				all[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
			}
		}
	}
	return all
}

func scope(repo string) string { return fmt.Sprintf("repository:%s:pull", repo) }
