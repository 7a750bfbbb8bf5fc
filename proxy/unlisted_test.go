package proxy_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/registry"
)

const few = "robot$few"

// grantFew gives a Harbor's robot of single projects multi-dc-demo, as provision does.
func (s *site) grantFew(t *testing.T) {
	t.Helper()
	if err := s.harbor.Grant(few, "multi-dc-demo", "pull", "push", "repository:list", "artifact:list", "artifact:read", "tag:list", "tag:delete", "artifact:delete"); err != nil {
		t.Fatal(err)
	}
}

// asFew has the edge ask as a robot of single projects, which loses those that are deleted.
func asFew(_ *access.Config, p *proxy.Config, s *registry.SourceConfig) {
	s.Username, p.Deadline = few, 100*time.Millisecond
}

// newFewSite is a site whose edges have a robot of single projects, and remember across
// restarts. live starts one, until its test ends; passed is how far its clock is ahead.
func newFewSite(t *testing.T) (s *site, live func(*testing.T), passed *atomic.Int64) {
	t.Helper()
	s, passed = newSite(t), &atomic.Int64{}
	s.harbor.CreateSystemRobot("few", secret)
	s.grantFew(t)
	path, dir := filepath.Join(t.TempDir(), "state.db"), t.TempDir()
	return s, func(t *testing.T) {
		persists, end := persistent(t, path, func(a *access.Config, p *proxy.Config) {
			a.Now = func() time.Time { return time.Now().Add(time.Duration(passed.Load())) }
			p.Now = a.Now
		})
		t.Cleanup(func() { end() })
		s.edge = startEdge(t, s.harbor.URL(), dir, &s.harbor.Key().PublicKey, persists, asFew)
	}, passed
}

// notFromHere fails where the edge answers a read with what it holds: Harbor alone knows.
func (s *site) notFromHere(t *testing.T, when string, paths []string, h map[string]string) {
	t.Helper()
	for _, path := range paths {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			a := s.do(t, method, path, h)
			if status := a.header.Get("Cache-Status"); a.status < 300 && status != "breakwater; fwd=bypass; detail=harbor" {
				t.Errorf("%s: %s %s is %d, %s", when, method, path, a.status, status)
			}
		}
	}
}

// A project that was deleted and made again is not listed to a robot that had the old one:
// Harbor has dropped it from the robot's permissions. The edge cannot see which project it is,
// so nothing that it holds of the old one is anybody's, whatever Harbor does then, and Harbor
// itself answers the new one's users, until the robot is granted the new project.
func TestAProjectThatIsNotGrantedAgainServesNothingOfTheOldOne(t *testing.T) {
	t.Parallel()
	s, live, passed := newFewSite(t)
	var paths []string
	var eves map[string]string
	t.Run("one life", func(t *testing.T) {
		live(t)
		paths = s.filled(t)
		old := s.as(t, reader, "multi-dc-demo/app")
		s.madeAgain(t)
		eves = s.as(t, eve, "multi-dc-demo/app")
		s.notFromHere(t, "the new one's robot", paths, eves)
		s.notFromHere(t, "the new one's robot, by its password", paths, map[string]string{"Authorization": basicHeader(eve, secret)})
		s.notFromHere(t, "a token of the old one", paths, old)
		s.nothingOf(t, "the old one's robot", paths, map[string]string{"Authorization": basicHeader(reader, secret)})
		s.nothingOf(t, "what was deleted", []string{paths[0], paths[1], paths[3], paths[4]}, eves) // the layer's bytes Harbor gives until its garbage is collected

		s.harbor.CreateRobot("multi-dc-demo", "writer2", secret, "pull", "push")
		put := s.request(t, http.MethodPut, s.edge.URL+app+"v2", basicHeader("robot$multi-dc-demo+writer2", secret), indexType, note("new"))
		if put.status != http.StatusCreated {
			t.Fatal(put.status)
		}
		if a := s.do(t, http.MethodGet, app+"v2", eves); a.status != http.StatusOK || string(a.body) != note("new") {
			t.Errorf("what was pushed into the new one: %d, %s", a.status, a.header.Get("Cache-Status"))
		}
		for _, fault := range []lab.Fault{{Name: "500", Path: "/v2/multi-dc-demo/"}, {Name: "db-down"}, {Name: "down"}} {
			if err := s.harbor.SetFaults(fault); err != nil {
				t.Fatal(err)
			}
			for _, path := range paths {
				if a := s.do(t, http.MethodGet, path, eves); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
					t.Errorf("Harbor %s: %s is %d, %s", fault.Name, path, a.status, a.header.Get("Cache-Status"))
				}
			}
		}
	})
	live(t)
	s.nothingOf(t, "after a restart in an outage", paths, eves)
	s.harbor.ClearFaults()
	s.grantFew(t)
	passed.Add(int64(time.Minute)) // it is asked again
	trial.Until(t, func() error {
		a := s.do(t, http.MethodGet, app+"v2", eves)
		if status := a.header.Get("Cache-Status"); a.status != http.StatusOK || strings.Contains(status, "bypass") {
			return fmt.Errorf("granted again: %d, %s", a.status, status)
		}
		return nil
	})
	s.nothingOf(t, "granted again", append(paths[:2:2], paths[4]), eves)
}

// A robot that Harbor shows nothing for a while, as one that somebody has changed, costs a
// project's clients nothing while Harbor is well; what was remembered counts again as soon as
// Harbor says that it is the same project.
func TestARobotThatIsShownNothingForAWhile(t *testing.T) {
	t.Parallel()
	s, live, passed := newFewSite(t)
	live(t)
	paths := s.filled(t)
	h := s.as(t, reader, "multi-dc-demo/app")
	served := func(when string, byHarbor bool) {
		t.Helper()
		for _, path := range paths {
			if a := s.do(t, http.MethodGet, path, h); a.status != http.StatusOK || strings.Contains(a.header.Get("Cache-Status"), "bypass") != byHarbor {
				t.Errorf("%s: %s is %d, %s", when, path, a.status, a.header.Get("Cache-Status"))
			}
		}
	}
	if err := s.harbor.Revoke(few, "multi-dc-demo"); err != nil {
		t.Fatal(err)
	}
	passed.Add(int64(time.Minute))
	served("nothing is shown", true)
	mux := http.NewServeMux()
	s.edge.Config.Handler.(*proxy.Handler).Admin(mux)
	said := httptest.NewRecorder()
	mux.ServeHTTP(said, httptest.NewRequest(http.MethodGet, "/explain?ref=multi-dc-demo/app:v1", nil))
	if !strings.Contains(said.Body.String(), "Harbor does not list this project") || !strings.Contains(said.Body.String(), "provision apply") {
		t.Errorf("explain says %s", said.Body)
	}
	s.grantFew(t)
	passed.Add(int64(time.Minute))
	served("it is shown again", false)
	if err := s.harbor.SetFaults(lab.Fault{Name: "down"}); err != nil {
		t.Fatal(err)
	}
	passed.Add(int64(time.Hour))
	served("in an outage", false)
	s.harbor.ClearFaults()
	if err := s.harbor.DisableRobot(few); err != nil {
		t.Fatal(err)
	}
	passed.Add(int64(time.Minute))
	served("the edge's robot is disabled", true)
}

// What other datacenters hold of a project is not a new one's either: neither where this
// Harbor does not list it for the edge, nor where theirs does not.
func TestPeersServeNothingOfAProjectThatIsNotGrantedAgain(t *testing.T) {
	for _, row := range []struct {
		name  string
		again []int // the datacenters in which it is made again
		few   bool  // the edges' robots are of single projects
		slow  bool  // the other datacenters' Harbors take their time to say which project it is
	}{
		{"everywhere, for robots of single projects", []int{0, 1, 2}, true, false},
		{"here, for robots of single projects", []int{0}, true, false},
		{"everywhere, for robots of all projects", []int{0, 1, 2}, false, false},
		{"everywhere, and the other Harbors are slow", []int{0, 1, 2}, false, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := newRegion(t, paced(20*time.Millisecond), func(a *access.Config, p *proxy.Config, s *registry.SourceConfig) {
				if row.few {
					asFew(a, p, s)
				}
			})
			for _, s := range r.sites {
				s.harbor.CreateSystemRobot("few", secret)
				s.grantFew(t)
			}
			s := r.sites[0]
			if a := s.pushNote(t, "v1", "old"); a.status != http.StatusCreated {
				t.Fatal(a.status)
			}
			r.agree(t, map[string]string{"v1": "old"})
			for _, i := range row.again {
				r.sites[i].madeAgain(t)
			}
			if row.slow {
				for _, other := range r.sites[1:] {
					if err := other.harbor.SetFaults(lab.Fault{Name: "slow", Path: "^GET /api/v2.0/projects$", Bytes: 400}); err != nil {
						t.Fatal(err)
					}
				}
			}
			eves := s.as(t, eve, "multi-dc-demo/app")
			for _, reference := range []string{"v1", noteDigest("old")} {
				if a := s.do(t, http.MethodGet, app+reference, eves); a.status != http.StatusNotFound {
					t.Errorf("%s is %d, %s", reference, a.status, a.header.Get("Cache-Status"))
				}
			}
		})
	}
}

// Whoever deletes a project and makes it again on the edge's own name is seen: its next reader
// is another project's, though he comes with what he was let in by before.
func TestAProjectThatIsMadeAgainThroughTheEdge(t *testing.T) {
	s := newSite(t)
	paths := s.filled(t)
	h := map[string]string{"Authorization": basicHeader(reader, secret)}
	if a := s.do(t, http.MethodGet, paths[0], h); a.status != http.StatusOK {
		t.Fatal(a.status)
	}
	s.dropProjectAt(t, s.edge.URL)
	if a := s.request(t, http.MethodPost, s.edge.URL+"/api/v2.0/projects", s.asAdmin(), "application/json", `{"project_name":"multi-dc-demo"}`); a.status != http.StatusCreated {
		t.Fatal(a.status)
	}
	s.harbor.CreateRobot("multi-dc-demo", "reader", secret, "pull") // it has the old one's name, and its password
	if err := s.harbor.SetFaults(lab.Fault{Name: "500", Path: "/v2/multi-dc-demo/"}); err != nil {
		t.Fatal(err)
	}
	s.nothingOf(t, "made again", paths, h)
}
