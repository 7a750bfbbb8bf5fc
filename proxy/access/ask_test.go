package access_test

import (
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/access"
	"example.org/breakwater/registry"
)

// before makes a Checker in front of what stands in Harbor's place.
func before(t *testing.T, harbor http.HandlerFunc, change func(*access.Config)) *access.Checker {
	t.Helper()
	srv := httptest.NewServer(harbor)
	t.Cleanup(srv.Close)
	cfg := access.Config{}
	var err error
	if cfg.Harbor, err = registry.NewSource(registry.SourceConfig{URL: srv.URL, Username: "edge", Password: secret}); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&cfg)
	}
	check, err := access.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return check
}

// asHarbor answers as Harbor does to somebody without credentials, but that it lists nothing.
func asHarbor(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/api/") {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("WWW-Authenticate", `Bearer realm="http://harbor.internal/service/token",service="harbor-registry"`)
	w.WriteHeader(http.StatusUnauthorized)
}

func statusOf(err error) int {
	var e *registry.Error
	if err == nil {
		return http.StatusOK
	}
	if !errors.As(err, &e) {
		return 0
	}
	return e.Status
}

// Harbor is asked for a blob that nobody has: only a registry's own 404 means yes.
func TestWhatHarborsAnswersMean(t *testing.T) {
	const json = "application/json; charset=utf-8"
	body := func(code, message string) string {
		return fmt.Sprintf(`{"errors":[{"code":%q,"message":%q}]}`, code, message)
	}
	for name, c := range map[string]struct {
		status                 int
		contentType, challenge string
		challenged             bool // a WWW-Authenticate header is there
		bare                   bool // the answer to a HEAD names no type
		body                   string
		want                   int
	}{
		"a registry's 404":              {status: 404, contentType: json, body: body("BLOB_UNKNOWN", "blob unknown"), want: 200},
		"Harbor's 404":                  {status: 404, contentType: json, body: body("NOT_FOUND", "artifact not found"), want: 200},
		"an ingress' 404":               {status: 404, contentType: "text/plain", body: "default backend - 404", want: 503},
		"an empty 404":                  {status: 404, want: 503},
		"a 404 with other JSON":         {status: 404, contentType: "text/html", body: "{}", want: 503},
		"a page":                        {status: 200, contentType: "text/html", body: "<html>", want: 503},
		"a blob that nobody has":        {status: 200, contentType: json, body: "{}", want: 503},
		"a challenge":                   {status: 401, challenged: true, challenge: `Bearer realm="http://x/service/token"`, contentType: json, body: body("UNAUTHORIZED", "no"), want: 401},
		"a challenge for Basic":         {status: 401, challenged: true, challenge: `Basic realm="harbor"`, contentType: json, body: body("UNAUTHORIZED", "no"), want: 401},
		"the project is missing":        {status: 401, challenged: true, contentType: json, body: body("UNAUTHORIZED", "project a not found"), want: 404},
		"the database is down":          {status: 401, challenged: true, contentType: json, body: body("UNAUTHORIZED", "dial tcp: connection refused"), want: 503},
		"a 401 of somebody else":        {status: 401, want: 503},
		"forbidden":                     {status: 403, contentType: json, body: body("DENIED", "no"), want: 403},
		"a limiter":                     {status: 429, contentType: json, body: body("TOOMANYREQUESTS", "slow"), want: 503},
		"a redirect to a login":         {status: 302, want: 503},
		"500":                           {status: 500, want: 503},
		"502":                           {status: 502, contentType: "text/html", body: "<html>", want: 503},
		"a 404 that says JSON, of none": {status: 404, contentType: json, body: "<html>", want: 200},
		"a registry's, to a GET alone":  {status: 404, bare: true, contentType: json, body: body("BLOB_UNKNOWN", "blob unknown"), want: 200},
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int64
			check := before(t, func(w http.ResponseWriter, r *http.Request) {
				if strings.HasPrefix(r.URL.Path, "/api/") || r.URL.Path == "/v2/" {
					asHarbor(w, r)
					return
				}
				asked.Add(1)
				if user, password, _ := r.BasicAuth(); user != "ci" || password != secret || r.URL.Path != "/v2/a/x/blobs/sha256:"+strings.Repeat("0", 64) {
					t.Errorf("Harbor is asked %s as %s", r.URL.Path, user)
				}
				if c.contentType != "" && !(c.bare && r.Method == http.MethodHead) {
					w.Header().Set("Content-Type", c.contentType)
				}
				if c.challenged {
					w.Header().Set("WWW-Authenticate", c.challenge)
				}
				w.WriteHeader(c.status)
				io.WriteString(w, c.body) //nolint:errcheck // a HEAD has none
			}, nil)
			query := access.Query{Authorization: basic("ci", secret), Repos: []string{"a/x"}, Action: "pull"}
			for range 2 {
				who, err := check.Allow(t.Context(), query)
				if got := statusOf(err); got != c.want || who != "" {
					t.Errorf("%d (%v), by %q, want %d", got, err, who, c.want)
				}
			}
			again := asked.Load()
			if _, err := check.Allow(t.Context(), query); (asked.Load() == again) != (c.want == 200) {
				t.Errorf("asked again: %v, though the answer was %v", asked.Load() > again, err)
			}
		})
	}
}

// A yes is for one credential, one repo and one action.
func TestAYesIsForOneThing(t *testing.T) {
	check := before(t, func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		w.Header().Set("Content-Type", "application/json")
		if user == "ci" && password == secret && strings.HasPrefix(r.URL.Path, "/v2/a/x/") {
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, `{"errors":[{"code":"BLOB_UNKNOWN"}]}`) //nolint:errcheck // a HEAD has none
			return
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="harbor"`)
		w.WriteHeader(http.StatusUnauthorized)
	}, nil)
	allows := func(authorization, repo string) int {
		_, err := check.Allow(t.Context(), access.Query{Authorization: authorization, Repos: []string{repo}, Action: "pull"})
		return statusOf(err)
	}
	for range 2 {
		for _, c := range []struct {
			what, authorization, repo string
			want                      int
		}{
			{"the one", basic("ci", secret), "a/x", 200}, {"another repo", basic("ci", secret), "a/y", 401},
			{"another password", basic("ci", "wrong"), "a/x", 401}, {"another user", basic("cj", secret), "a/x", 401},
		} {
			if got := allows(c.authorization, c.repo); got != c.want {
				t.Errorf("%s: %d, want %d", c.what, got, c.want)
			}
		}
	}
}

// project answers Harbor's list of projects, and says that the blob that nobody has is missing.
type project struct {
	id      atomic.Int64
	public  string
	created atomic.Pointer[time.Time]
}

func (p *project) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Path == "/api/v2.0/projects" {
		fmt.Fprintf(w, `[{"name":"a","project_id":%d,"creation_time":%q,"metadata":{"public":%q}}]`, p.id.Load(), p.created.Load().Format(time.RFC3339Nano), p.public)
		return
	}
	w.WriteHeader(http.StatusNotFound)
	io.WriteString(w, `{"errors":[{"code":"BLOB_UNKNOWN"}]}`) //nolint:errcheck // a HEAD has none
}

// A project that was made again under its name is another one: what its repos held, and
// tokens from before it, count for nothing.
func TestAProjectThatWasMadeAgain(t *testing.T) {
	c := &clock{time.Now()}
	p := &project{public: "false"}
	made := c.at.Add(-24 * time.Hour)
	p.created.Store(&made)
	p.id.Store(7)
	check := before(t, p.ServeHTTP, verifying(c, fleetKey()))
	d, unknown := digest.FromString("content"), digest.FromString("unknown")
	check.Join("a/x", d)
	if !check.Member("a/x", d) || !check.ProjectHolds("a", d) || check.Member("a/y", d) || check.Member("a/x", unknown) || check.ProjectHolds("b", d) {
		t.Error("a membership is not of the one repo and its project")
	}
	token := signed(t, fleetKey(), c.at, nil)
	pulls := func() int {
		_, err := check.Allow(t.Context(), access.Query{Authorization: "Bearer " + token, Repos: []string{"a/x"}, Action: "pull"})
		return statusOf(err)
	}
	if got := pulls(); got != http.StatusOK {
		t.Fatal(got)
	}
	again := c.at.Add(5 * time.Minute)
	p.id.Store(8)
	p.created.Store(&again)
	c.at = c.at.Add(10 * time.Minute)
	if got := pulls(); got != http.StatusUnauthorized {
		t.Errorf("a token from before it: %d", got)
	}
	if check.Member("a/x", d) || check.ProjectHolds("a", d) {
		t.Error("what the old one held is the new one's")
	}
	check.Join("a/x", d)
	if !check.Member("a/x", d) {
		t.Error("what is proven again does not count")
	}
}

// Only who Harbor knows is named: not who shows a name on a public project, or one of which
// nobody knows whether it is public.
func TestOnlyWhoIsProvenIsNamed(t *testing.T) {
	for public, want := range map[string]string{"false": "ci", "true": "", "": ""} {
		p := &project{public: public}
		made := time.Now()
		p.created.Store(&made)
		p.id.Store(7)
		check := before(t, p.ServeHTTP, nil)
		for action, want := range map[string]string{"pull": want, "push": "ci", "delete": "ci"} {
			who, err := check.Allow(t.Context(), access.Query{Authorization: basic("ci", secret), Repos: []string{"a/x"}, Action: action})
			if err != nil || who != want {
				t.Errorf("public %q, %s: by %q, want %q, %v", public, action, who, want, err)
			}
		}
		if who := check.Proven(t.Context(), "", "a/x", true); who != "" {
			t.Errorf("nobody is %q", who)
		}
	}
}

// Tokens that were verified are remembered, but not long ones: they would take the memory
// that many short ones may have.
func TestLongTokensTakeNoMemory(t *testing.T) {
	key := fleetKey()
	check := before(t, http.NotFound, func(cfg *access.Config) { cfg.Verifier = &registry.Verifier{Keys: []*rsa.PublicKey{&key.PublicKey}} })
	var scopes []registry.Access
	for i := range 300 {
		scopes = append(scopes, registry.Access{Type: "repository", Name: fmt.Sprintf("a/%0100d", i), Actions: []string{"pull"}})
	}
	used := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	begun := used()
	for i := range 100 {
		raw, err := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{"aud": "harbor-registry", "sub": fmt.Sprint(i), "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(), "access": scopes}).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		if who, ok := check.Knows("Bearer " + raw); !ok || who != fmt.Sprint(i) {
			t.Fatalf("%q, %v", who, ok)
		}
	}
	if grown := int64(used()) - int64(begun); grown > 1<<20 {
		t.Errorf("100 long tokens take %d KiB", grown>>10)
	}
	runtime.KeepAlive(check)
}
