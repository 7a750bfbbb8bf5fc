package access_test

import (
	"crypto/rsa"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/registry"
)

const secret = "Some1Secret"

// fixture is a Harbor with one private project and its robot, and a Checker in front.
type fixture struct {
	harbor *lab.Harbor
	check  *access.Checker
	later  *atomic.Int64 // nanoseconds by which the Checker's clock is ahead
}

func newFixture(t *testing.T, certificates bool) *fixture {
	t.Helper()
	h, err := lab.StartHarbor(lab.HarborConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	h.CreateProject("priv", false)
	h.CreateRobot("priv", "ci", secret, "pull")
	f := &fixture{harbor: h, later: new(atomic.Int64)}
	cfg := access.Config{Now: func() time.Time { return time.Now().Add(time.Duration(f.later.Load())) }}
	if cfg.Harbor, err = registry.NewSource(registry.SourceConfig{URL: h.URL(), Trusted: true}); err != nil {
		t.Fatal(err)
	}
	if certificates {
		cfg.Verifier = &registry.Verifier{Keys: []*rsa.PublicKey{&h.Key().PublicKey}}
	}
	if f.check, err = access.New(cfg); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fixture) allow(t *testing.T, authorization, repo, action string) *registry.Error {
	t.Helper()
	_, err := f.check.Allow(t.Context(), access.Query{Authorization: authorization, Repos: []string{repo}, Action: action,
		Scope: "repository:" + repo + ":" + action, BaseURL: "https://harbor.example.org"})
	var e *registry.Error
	if err != nil && !errors.As(err, &e) {
		t.Fatalf("%T: %v", err, err)
	}
	return e
}

func basic(username, password string) string {
	r, _ := http.NewRequest(http.MethodGet, "http://x", nil)
	r.SetBasicAuth(username, password)
	return r.Header.Get("Authorization")
}

func (f *fixture) bearer(t *testing.T, username, repo string) string {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, f.harbor.URL()+"/service/token?service=harbor-registry&scope=repository:"+repo+":pull", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(username, secret)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var body struct{ Token string }
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	return "Bearer " + body.Token
}

func (f *fixture) asked() (n int) {
	for request, count := range f.harbor.Requests() {
		if strings.Contains(request, "/blobs/") {
			n += count
		}
	}
	return n
}

const robot = "robot$priv+ci"

func TestChallengeNamesTheClientsOwnTokenService(t *testing.T) {
	f := newFixture(t, true)
	e := f.allow(t, "", "priv/app", "pull")
	want := `Bearer realm="https://harbor.example.org/service/token",service="harbor-registry",scope="repository:priv/app:pull"`
	if e == nil || e.Status != http.StatusUnauthorized || e.Challenge != want {
		t.Errorf("%+v", e)
	}
}

func TestTokensAreVerifiedWithoutHarbor(t *testing.T) {
	f := newFixture(t, true)
	token, other := f.bearer(t, robot, "priv/app"), f.bearer(t, robot, "library/app")
	f.harbor.Close()
	if e := f.allow(t, token, "priv/app", "pull"); e != nil {
		t.Error(e)
	}
	for name, c := range map[string][3]string{
		"another action": {token, "priv/app", "push"}, "another repo": {token, "priv/other", "pull"}, "another's token": {other, "priv/app", "pull"},
	} {
		if e := f.allow(t, c[0], c[1], c[2]); e == nil || e.Status != http.StatusUnauthorized || !strings.Contains(e.Challenge, `error="insufficient_scope"`) {
			t.Errorf("%s: %+v", name, e)
		}
	}
	if e := f.allow(t, token+"x", "priv/app", "pull"); e == nil || !strings.Contains(e.Challenge, `error="invalid_token"`) {
		t.Errorf("a broken token: %+v", e)
	}
}

func TestHarborsYesIsRememberedAndItsNoIsNot(t *testing.T) {
	f := newFixture(t, false)
	for name, good := range map[string]string{"Basic": basic(robot, secret), "Bearer": f.bearer(t, robot, "priv/app")} {
		f.harbor.ResetRequests()
		for range 3 {
			if e := f.allow(t, good, "priv/app", "pull"); e != nil {
				t.Errorf("%s: %v", name, e)
			}
		}
		if n := f.asked(); n != 1 {
			t.Errorf("%s: Harbor was asked %d times for one yes", name, n)
		}
		f.later.Add(int64(6 * time.Minute))
		f.allow(t, good, "priv/app", "pull")
		if n := f.asked(); n != 2 {
			t.Errorf("%s: after six minutes Harbor had been asked %d times", name, n)
		}
	}
	f.harbor.ResetRequests()
	for range 2 {
		if e := f.allow(t, basic(robot, "wrong"), "priv/app", "pull"); e == nil || e.Status != http.StatusUnauthorized || e.Challenge != `Basic realm="harbor"` {
			t.Errorf("%+v", e)
		}
	}
	if n := f.asked(); n != 2 {
		t.Errorf("two wrong passwords asked Harbor %d times", n)
	}
}

func TestWhatIsRememberedOutlivesHarbor(t *testing.T) {
	f := newFixture(t, false)
	good := basic(robot, secret)
	if e := f.allow(t, good, "priv/app", "pull"); e != nil {
		t.Fatal(e)
	}
	for _, fault := range []string{"down", "db-down", "500", "core-down"} {
		if err := f.harbor.SetFaults(lab.Fault{Name: fault}); err != nil {
			t.Fatal(err)
		}
		f.later.Add(int64(time.Minute)) // it would be asked again
		if e := f.allow(t, good, "priv/app", "pull"); e != nil {
			t.Errorf("%s: %v", fault, e)
		}
		for _, unknown := range []string{basic(robot, "wrong"), basic(robot, secret)} {
			if e := f.allow(t, unknown, "priv/other", "pull"); e == nil || e.Status != http.StatusServiceUnavailable || e.RetryAfter == 0 {
				t.Errorf("%s: what was never asked: %+v", fault, e)
			}
		}
	}
}

func TestAMissingProjectIsANo(t *testing.T) {
	f := newFixture(t, false)
	if e := f.allow(t, basic(robot, secret), "nope/app", "pull"); e == nil || e.Status != http.StatusNotFound || e.Code != registry.CodeNameUnknown {
		t.Errorf("%+v", e)
	}
}

func TestMembershipIsPerRepo(t *testing.T) {
	f := newFixture(t, true)
	const d = "sha256:8244952a9434b01152b36a76948e0e94e081c4c0f646145d004859e4914f1af0"
	f.check.Join("a/x", d)
	if !f.check.Member("a/x", d) || f.check.Member("a/y", d) {
		t.Error("membership is not of the one repo")
	}
	f.check.Join("a/y", d)
	f.check.Leave("a/x")
	if f.check.Member("a/x", d) || !f.check.Member("a/y", d) {
		t.Error("not the one repo has left")
	}
}
