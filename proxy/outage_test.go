package proxy_test

import (
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/state"
	"example.org/breakwater/registry"
)

// outageClock makes a region that can be put forward in time and has a grace of an hour.
func outageClock(t *testing.T) (r *region, pass func(time.Duration)) {
	t.Helper()
	var passed atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(passed.Load())) }
	r = newRegion(t, func(a *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
		a.OutageGrace, a.Keys, a.Now = time.Hour, peerKeys, now
		p.Now = now
	})
	return r, func(d time.Duration) { passed.Add(int64(d)) }
}

// While no Harbor of the fleet can say who may do what, those who were granted a
// pull get it again: nothing else, nobody else, and not for longer than the grace.
func TestOutageTokens(t *testing.T) {
	t.Parallel() // it waits most of the time
	for name, fault := range map[string]lab.Fault{"down": {Name: "down"}, "databases down": {Name: "db-down"}, "hanging": {Name: "hang"}} {
		t.Run(name, func(t *testing.T) {
			r, pass := outageClock(t)
			s := r.sites[0]
			img := image(t, 1000, 1)
			raw, _ := img.RawManifest()
			digest, layer := layerOf(t, img)
			mustPush(t, s.harbor.URL(), "multi-dc-demo/app:v1", img, s.admin())
			blob := "/v2/multi-dc-demo/app/blobs/" + digest
			_, token := s.askToken(t, reader, secret, pullApp)
			same(t, "a pull before", s.do(t, http.MethodGet, manifests("multi-dc-demo/app"), bearer(token)), raw)
			same(t, "a blob before", s.do(t, http.MethodGet, blob, bearer(token)), layer)
			s.askToken(t, reader, secret, "")
			r.everywhere(t, fault)

			status, token := s.askToken(t, reader, secret, pullApp+",push")
			if status != http.StatusOK {
				t.Fatalf("token: %d", status)
			}
			same(t, "a pull", s.do(t, http.MethodGet, manifests("multi-dc-demo/app"), bearer(token)), raw)
			same(t, "a blob", s.do(t, http.MethodGet, blob, bearer(token)), layer)
			if a := s.do(t, http.MethodPut, manifests("multi-dc-demo/app"), bearer(token)); a.status < 400 {
				t.Errorf("a push: %d", a.status)
			}
			if status, _ := s.askToken(t, reader, secret, ""); status != http.StatusOK {
				t.Errorf("a login: %d", status)
			}
			for _, c := range [][4]string{
				{"a wrong password", reader, "Wrong1Secret", pullApp},
				{"a robot never seen", writer, secret, pullApp},
				{"another repo", reader, secret, "repository:multi-dc-demo/other:pull"},
				{"nobody", "", "", pullApp},
				{"a wrong password, login", reader, "Wrong1Secret", ""},
			} {
				status, token := s.askToken(t, c[1], c[2], c[3])
				if status == http.StatusOK {
					if a := s.do(t, http.MethodGet, manifests("multi-dc-demo/app"), bearer(token)); a.status != http.StatusUnauthorized {
						t.Errorf("%s: %d", c[0], a.status)
					}
				}
			}
			pass(6 * time.Minute)
			if a := s.do(t, http.MethodGet, manifests("multi-dc-demo/app"), bearer(token)); a.status != http.StatusUnauthorized {
				t.Errorf("with an outage token of six minutes ago: %d", a.status)
			}
			pass(time.Hour)
			if status, _ := s.askToken(t, reader, secret, pullApp); status != http.StatusServiceUnavailable {
				t.Errorf("after the grace: %d", status)
			}
			r.everywhere(t)
			waitFor(t, "a token of Harbor's", func() bool {
				status, _ := s.askToken(t, reader, secret, pullApp+",push")
				return status == http.StatusOK
			})
		})
	}
}

// Who has been refused since is not remembered.
func TestARobotThatWasRefusedGetsNoOutageToken(t *testing.T) {
	r, _ := outageClock(t)
	s := r.sites[0]
	s.askToken(t, reader, secret, pullApp)
	r.request(t, http.MethodDelete, s.harbor.URL()+"/api/v2.0/projects/multi-dc-demo", s, http.StatusOK)
	s.askToken(t, reader, secret, pullApp)
	r.everywhere(t, lab.Fault{Name: "down"})
	if status, _ := s.askToken(t, reader, secret, pullApp); status != http.StatusServiceUnavailable {
		t.Errorf("%d", status)
	}
}

// What was granted is remembered across a restart, and so is how long nobody has answered.
func TestAnOutageOutlastsARestart(t *testing.T) {
	var passed atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(passed.Load())) }
	path := t.TempDir() + "/state.db"
	var remembered *state.DB
	start := func(a *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
		remembered = openState(t, path)
		a.OutageGrace, a.Keys, a.Now, a.Grants = time.Hour, peerKeys, now, remembered
		p.Now, p.State = now, remembered
	}
	s := newSite(t)
	life := func(name string, want int) {
		t.Run(name, func(t *testing.T) {
			s.edge = startEdge(t, s.harbor.URL(), t.TempDir(), &s.harbor.Key().PublicKey, start)
			if status, _ := s.askToken(t, reader, secret, pullApp); status != want {
				t.Errorf("%d, want %d", status, want)
			}
		})
		if err := remembered.Close(); err != nil {
			t.Fatal(err)
		}
	}
	life("while Harbor is well", http.StatusOK)
	if err := s.harbor.SetFaults(lab.Fault{Name: "down"}); err != nil {
		t.Fatal(err)
	}
	life("in the outage", http.StatusOK)
	passed.Store(int64(59 * time.Minute))
	life("near the end of the grace", http.StatusOK)
	passed.Store(int64(61 * time.Minute))
	life("behind it", http.StatusServiceUnavailable)
}

// An edge's own token is no other edge key's, no Harbor's, and grants nothing but pulls.
func TestAForgedOutageToken(t *testing.T) {
	r, _ := outageClock(t)
	s := r.sites[0]
	mustPush(t, s.harbor.URL(), "multi-dc-demo/app:v1", image(t, 1000, 1), s.admin())
	other, err := access.New(access.Config{Keys: trial.Keys(peerSecret+"x", ""), OutageGrace: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	forged, _, err := other.OwnToken("robot", []string{"multi-dc-demo/app"})
	if err != nil {
		t.Fatal(err)
	}
	if a := s.do(t, http.MethodGet, manifests("multi-dc-demo/app"), bearer(forged)); a.status != http.StatusUnauthorized {
		t.Errorf("another key: %d", a.status)
	}
	if strings.Count(forged, ".") != 2 {
		t.Error("no token was forged")
	}
}

// A login is a token and a look at /v2/ with it: docker login is the first line of
// many a job, and what comes behind it is served from the store.
func TestALoginWhileNoHarborAnswers(t *testing.T) {
	for name, broken := range map[string]func(r *region) []*site{
		"the local one": func(r *region) []*site { return r.sites[:1] },
		"all of them":   func(r *region) []*site { return r.sites },
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := outageClock(t)
			s := r.sites[0]
			s.askToken(t, reader, secret, "")
			for _, site := range broken(r) {
				if err := site.harbor.SetFaults(lab.Fault{Name: "down"}); err != nil {
					t.Fatal(err)
				}
			}
			_, token := s.askToken(t, reader, secret, "")
			if a := s.do(t, http.MethodGet, "/v2/", bearer(token)); a.status != http.StatusOK || string(a.body) != "{}" {
				t.Errorf("%d %s", a.status, a.body)
			}
			for what, authorization := range map[string]string{"nobody": "", "a token of nobody's": "Bearer x.y.z"} {
				if a := s.do(t, http.MethodGet, "/v2/", map[string]string{"Authorization": authorization}); a.status == http.StatusOK {
					t.Errorf("%s: %d", what, a.status)
				}
			}
		})
	}
}

// However many come for tokens while Harbor's database is silent, it is looked at for
// all of them at once: nobody waits for the looks of those before.
func TestManyComeForTokensWhileTheDatabaseIsSilent(t *testing.T) {
	t.Parallel() // it waits most of the time
	r, _ := outageClock(t)
	s := r.sites[0]
	s.askToken(t, reader, secret, pullApp)
	if err := s.harbor.SetFaults(lab.Fault{Name: "db-down"}, lab.Fault{Name: "hang", Path: "/blobs/sha256:0000|/api/v2.0/projects"}); err != nil {
		t.Fatal(err)
	}
	s.harbor.ResetRequests()
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			if status, _ := s.askToken(t, reader, secret, pullApp); status != http.StatusOK {
				t.Errorf("%d", status)
			}
		})
	}
	all.Wait()
	if n := count(s.harbor.Requests(), "HEAD /v2/multi-dc-demo/app/blobs/sha256:0000"); n == 0 || n > 3 {
		t.Errorf("Harbor's database was looked at %d times", n)
	}
}

// A robot that Harbor refuses now does not get its old permission back by asking for
// something, beside it, that Harbor cannot answer.
func TestNoOutageIsMadeUp(t *testing.T) {
	for _, beside := range []string{"app", "repl-open/app", "nothing/app", "cache-dockerhub/library/app", "multi-dc-other/app"} {
		t.Run(beside, func(t *testing.T) {
			s := newSite(t, func(a *access.Config, _ *proxy.Config, _ *registry.SourceConfig) {
				a.OutageGrace, a.Keys = time.Hour, peerKeys
			})
			img := image(t, 1000, 1)
			mustPush(t, s.harbor.URL(), "multi-dc-demo/app:v1", img, s.admin())
			if _, token := s.askToken(t, reader, secret, pullApp); s.do(t, http.MethodGet, manifests("multi-dc-demo/app"), bearer(token)).status != http.StatusOK {
				t.Fatal("no pull before")
			}
			if err := s.harbor.DisableRobot(reader); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				_, token := s.askToken(t, reader, secret, "repository:"+beside+":pull&scope="+pullApp)
				if a := s.do(t, http.MethodGet, manifests("multi-dc-demo/app"), bearer(token)); a.status != http.StatusUnauthorized {
					t.Errorf("%d %.100s", a.status, a.body)
				}
			}
		})
	}
}

// Peers whose databases are down too take everybody for nobody: their empty token is
// no answer to somebody who was granted the pull here.
func TestAnonymousPullsWhileAllDatabasesAreDown(t *testing.T) {
	r, _ := outageClock(t)
	s := r.sites[0]
	for _, site := range r.sites {
		site.harbor.CreateProject("open", true)
	}
	const scope = "repository:open/app:pull"
	if status, token := s.askToken(t, "", "", scope); status != http.StatusOK || !grants(t, token, "open/app") {
		t.Fatalf("Harbor's own token: %d %s", status, token)
	}
	r.everywhere(t, lab.Fault{Name: "db-down"})
	if status, token := s.askToken(t, "", "", scope); status != http.StatusOK || !grants(t, token, "open/app") {
		t.Errorf("%d, and the token grants nothing", status)
	}
	if status, token := s.askToken(t, "", "", "repository:multi-dc-demo/app:pull"); status == http.StatusOK && grants(t, token, "multi-dc-demo/app") {
		t.Error("what nobody may pull is granted")
	}
}

func openState(t *testing.T, path string) *state.DB {
	t.Helper()
	s, err := state.Open(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}
