package provision

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"strings"
	"sync/atomic"
	"testing"
)

// counting stands before dc1's Harbor and counts how often it is shown a password.
func (f *testFleet) counting(t *testing.T, user, password string) (shown *atomic.Int64) {
	t.Helper()
	target, shown := parsed(t, f.harbors["dc1"].URL()), new(atomic.Int64)
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		u, p, _ := r.BasicAuth()
		if u == user && p == password || r.URL.Path == "/c/login" && strings.Contains(string(body), password) {
			shown.Add(1)
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	f.text = strings.Replace(f.text, target.String(), srv.URL, 1)
	return shown
}

// A password that is refused is shown once in a run, whoever's it is and however people
// log in: an LDAP behind Harbor locks accounts.
func TestAWrongPasswordIsTriedOnce(t *testing.T) {
	for name, c := range map[string]struct{ user, authMode string }{
		"the administrator": {"admin", "db_auth"}, "with OIDC": {"admin", "oidc_auth"}, "a person": {"alice", "db_auth"}, "a person's CLI secret": {"alice", "oidc_auth"}, "a robot": {"robot$planner", "db_auth"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newTestFleet(t)
			call(t, f.harbors["dc1"], "PUT", "/configurations", map[string]any{"auth_mode": c.authMode})
			f.vault.Store("admin-user", c.user)
			f.vault.Store("admin-password", "Wr0ngPassword")
			shown := f.counting(t, c.user, "Wr0ngPassword")
			p := f.open(t, Options{Datacenters: []string{"dc1"}})
			if err := p.Hold(t.Context(), "apply"); err != nil {
				t.Error(err)
			}
			plan := f.plan(t, p)
			if n := shown.Load(); n != 1 {
				t.Errorf("it was shown %d times", n)
			}
			if len(plan.Faults) != 1 || plan.Faults[0].Away || plan.Refused() == nil || !strings.Contains(plan.Refused().Error(), "dc1: this Harbor refuses harbor.username and harbor.password") {
				t.Errorf("%v", plan.Faults)
			}
		})
	}
}

// A robot, and a person with a CLI secret, need no session.
func TestAccountsWithoutSessions(t *testing.T) {
	f := newTestFleet(t)
	name := f.harbors["dc1"].CreateRobot("*", "planner", "Planner1secret", "pull")
	h, err := newHarbor(f.harbors["dc1"].URL(), name, "Planner1secret", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.readProjects(t.Context()); err != nil || !h.basic {
		t.Error(err)
	}
}
