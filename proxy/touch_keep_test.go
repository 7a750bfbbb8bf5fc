package proxy_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/registry"
)

// retain runs a retention of seven days since the last pull in a site's Harbor.
func (s *site) retain(t *testing.T, project string) {
	t.Helper()
	a := s.api(t, http.MethodGet, "/api/v2.0/projects/"+project)
	var p struct {
		ID       int `json:"project_id"`
		Metadata map[string]string
	}
	if a.status != http.StatusOK || json.Unmarshal(a.body, &p) != nil {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if p.Metadata["retention_id"] == "" {
		status, _ := s.harborCall(t, "/api/v2.0/retentions", fmt.Sprintf(`{"algorithm":"or","rules":[{"action":"retain","template":"nDaysSinceLastPull","params":{"nDaysSinceLastPull":7},
			"tag_selectors":[{"kind":"doublestar","decoration":"matches","pattern":"**","extras":"{\"untagged\":true}"}],
			"scope_selectors":{"repository":[{"kind":"doublestar","decoration":"repoMatches","pattern":"**"}]}}],
			"trigger":{"kind":"Schedule","settings":{"cron":""}},"scope":{"level":"project","ref":%d}}`, p.ID))
		if status != http.StatusCreated {
			t.Fatal(status)
		}
	}
	if err := s.harbor.Retain(project); err != nil {
		t.Fatal(err)
	}
}

// has reports whether a site's Harbor holds an artifact.
func (s *site) holds(t *testing.T, repo string, d digest.Digest) bool {
	t.Helper()
	return s.api(t, http.MethodGet, registry.ArtifactsPath(repo)+"/"+d.String()).status == http.StatusOK
}

// What is pulled in one datacenter alone stays in all of them, by a retention of seven days since
// the last pull, for weeks, and though one Harbor is down for a day; what nobody pulls goes. Where
// edges do not touch it goes everywhere.
func TestWhatIsPulledAnywhereStaysEverywhere(t *testing.T) {
	const days, outage, pullsADay = 16, 9, 3
	for _, touches := range []bool{true, false} {
		r := newTouched(t, freshFor(time.Hour), func(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
			if !touches {
				p.Touch = 0
			}
		})
		held, pulledAt := map[string]digest.Digest{}, map[string]*site{} // by repo
		for _, project := range []string{"multi-dc-demo", "repl-core"} {
			for i, name := range []string{"here", "there", "nowhere"} {
				repo := project + "/" + name
				if held[repo] = r.holds(t, repo, "v1", name, 0, 1, 2); name != "nowhere" {
					pulledAt[repo] = r.sites[i]
				}
			}
		}
		for repo := range held { // the last pull that the Harbors see
			for _, s := range r.sites {
				s.api(t, http.MethodGet, "/v2/"+repo+"/manifests/v1")
			}
		}
		for day := range days {
			if day == outage {
				r.sites[2].fails(t, lab.Fault{Name: "down"})
			}
			for range pullsADay {
				for repo, s := range pulledAt {
					if a := s.do(t, http.MethodGet, "/v2/"+repo+"/manifests/v1", s.as(t, reader, repo)); a.status != http.StatusOK {
						t.Fatalf("day %d: %d %s", day, a.status, a.body)
					}
				}
			}
			if r.sites[2].fails(t); touches {
				r.idle(t)
			}
			r.pass(24 * time.Hour)
		}
		shown := 0.0
		for _, metrics := range r.metrics {
			shown += metric(t, metrics, "breakwater_edge_touches_total", "touched")
		}
		pulls := days * pullsADay * len(pulledAt)
		t.Logf("touches %v: %d pulls, %.0f pulls by edges from %d Harbors, %.2f for each", touches, pulls, shown, len(r.sites), shown/float64(pulls))
		for i, s := range r.sites {
			s.retain(t, "multi-dc-demo")
			s.retain(t, "repl-core")
			for repo, d := range held {
				if got, want := s.holds(t, repo, d), pulledAt[repo] != nil && touches; got != want {
					t.Errorf("touches %v: Harbor %d holds %s: %v, want %v", touches, i, repo, got, want)
				}
			}
		}
	}
}

// fails has a site's Harbor fail so, or no more.
func (s *site) fails(t *testing.T, faults ...lab.Fault) {
	t.Helper()
	if err := s.harbor.SetFaults(faults...); err != nil {
		t.Fatal(err)
	}
}

// A Harbor that is down for a week, and an edge, miss no pull: they are shown everything when
// they are back.
func TestAWeeksOutageLosesNoPull(t *testing.T) {
	r := newTouched(t)
	const repo = "multi-dc-demo/app"
	par1, mad1, drp1 := r.sites[0], r.sites[1], r.sites[2]
	var held []digest.Digest
	for day := range 7 {
		held = append(held, r.holds(t, repo, fmt.Sprint("v", day), fmt.Sprint(day), 0, 1, 2))
	}
	if err := mad1.harbor.SetFaults(lab.Fault{Name: "down"}); err != nil {
		t.Fatal(err)
	}
	drp1.stops()
	begun := r.now()
	for day := range held {
		if a := par1.pullNote(t, fmt.Sprint("v", day)); a.status != http.StatusOK {
			t.Fatalf("%d %s", a.status, a.body)
		}
		par1.since(t, repo, held[day], fmt.Sprint("v", day), begun)
		r.pass(24 * time.Hour)
	}
	if age := metric(t, r.metrics["mad1"], "breakwater_edge_touches_oldest_seconds", ""); age < (5 * 24 * time.Hour).Seconds() {
		t.Errorf("the oldest pull that mad1's Harbor was not shown is %v s old", age)
	}
	back := r.now()
	if err := mad1.harbor.SetFaults(); err != nil {
		t.Fatal(err)
	}
	drp1.answers(t, drp1.edge.Config.Handler)
	for day, d := range held {
		for _, s := range []*site{mad1, drp1} {
			s.since(t, repo, d, fmt.Sprint("v", day), back)
		}
	}
	r.idle(t)
}

// What Harbor is owed outlasts restarts of the edge while Harbor is down; what Harbor was shown
// is not shown again after one.
func TestTouchesOutlastARestart(t *testing.T) {
	s, r := newSite(t), &touched{metrics: map[string]*prometheus.Registry{}}
	const repo = "multi-dc-demo/app"
	d := s.noted(t, repo, "v1", "one")
	dir := t.TempDir()
	h := s.as(t, reader, repo)
	life := func(name string, do func(t *testing.T)) {
		t.Run(name, func(t *testing.T) {
			s.edge = startEdge(t, s.harbor.URL(), dir, &s.harbor.Key().PublicKey, r.option(t, func(string) string { return dir + "/state.db" }))
			do(t)
		})
	}
	pull := func(t *testing.T) {
		t.Helper()
		if a := s.do(t, http.MethodGet, app+"v1", h); a.status != http.StatusOK {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	pending := func(t *testing.T, want float64) {
		t.Helper()
		if n := metric(t, r.metrics["par1"], "breakwater_edge_touches_pending", ""); n != want {
			t.Errorf("%v are owed, want %v", n, want)
		}
	}
	life("a pull", func(t *testing.T) {
		pull(t)
		r.idle(t)
	})
	r.pass(7 * time.Hour)
	begun := time.Now()
	if err := s.harbor.SetFaults(lab.Fault{Name: "down"}); err != nil {
		t.Fatal(err)
	}
	life("a pull while Harbor is down", func(t *testing.T) {
		pull(t)
		pending(t, 1)
	})
	r.pass(7 * 24 * time.Hour)
	life("a week later", func(t *testing.T) {
		pending(t, 1)
		if err := s.harbor.SetFaults(); err != nil {
			t.Fatal(err)
		}
		s.since(t, repo, d, "v1", begun)
		r.idle(t)
	})
	looked := "GET " + registry.ArtifactsPath(repo)
	before := starting(s.harbor.Requests(), looked) + s.gets(repo)
	life("a pull in the same interval", func(t *testing.T) {
		pull(t)
		pending(t, 0)
	})
	if after := starting(s.harbor.Requests(), looked) + s.gets(repo); after != before {
		t.Errorf("Harbor was asked %d times more", after-before)
	}
}
