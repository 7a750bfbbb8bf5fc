package proxy_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/state"
	"example.org/breakwater/registry"
)

const touchEvery = 6 * time.Hour

// touched is a region whose edges touch, and whose Harbors have the same clock, which a test
// puts forward.
type touched struct {
	*region
	metrics map[string]*prometheus.Registry
	passed  atomic.Int64
}

func (r *touched) now() time.Time { return time.Now().Add(time.Duration(r.passed.Load())) }

func (r *touched) pass(d time.Duration) { r.passed.Add(int64(d)) }

// option has an edge touch, and remember in a file.
func (r *touched) option(t *testing.T, path func(datacenter string) string) option {
	return func(a *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
		db, err := state.Open(path(p.Datacenter), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		r.metrics[p.Datacenter] = prometheus.NewRegistry()
		p.State, a.Members, p.Metrics = db, db, r.metrics[p.Datacenter]
		p.Touch, p.Pace, p.Now, a.Now = touchEvery, 5*time.Millisecond, r.now, r.now
	}
}

func newTouched(t *testing.T, options ...option) *touched {
	t.Helper()
	r := &touched{metrics: map[string]*prometheus.Registry{}}
	dir := t.TempDir()
	r.region = newRegionOf(t, func(int) lab.HarborConfig { return lab.HarborConfig{Now: r.now, PullLag: 20 * time.Millisecond} },
		append([]option{r.option(t, func(datacenter string) string { return dir + "/" + datacenter })}, options...)...)
	return r
}

// holds puts a note into Harbors, past the edges.
func (r *touched) holds(t *testing.T, repo, tag, text string, sites ...int) digest.Digest {
	t.Helper()
	for _, i := range sites {
		r.sites[i].noted(t, repo, tag, text)
	}
	return digest.FromString(note(text))
}

// noted puts a note into a site's Harbor, past the edges.
func (s *site) noted(t *testing.T, repo, tag, text string) digest.Digest {
	t.Helper()
	username, password := s.harbor.Admin()
	a := s.request(t, http.MethodPut, s.harbor.URL()+"/v2/"+repo+"/manifests/"+tag, basicHeader(username, password), "application/vnd.oci.image.index.v1+json", note(text))
	if a.status != http.StatusCreated {
		t.Fatalf("%d %s", a.status, a.body)
	}
	return digest.FromString(note(text))
}

// pulledAt is when a site's Harbor believes that an artifact, and a tag of it, were pulled
// last, as its API says.
func (s *site) pulledAt(t *testing.T, repo string, d digest.Digest, tag string) (artifact, ofTag time.Time) {
	t.Helper()
	a := s.api(t, http.MethodGet, registry.ArtifactsPath(repo)+"/"+d.String())
	var body struct {
		Pulled time.Time `json:"pull_time"`
		Tags   []struct {
			Name   string
			Pulled time.Time `json:"pull_time"`
		}
	}
	if a.status != http.StatusOK || json.Unmarshal(a.body, &body) != nil {
		t.Fatalf("%s of %s: %d %s", d, repo, a.status, a.body)
	}
	for _, of := range body.Tags {
		if of.Name == tag {
			ofTag = of.Pulled
		}
	}
	return body.Pulled, ofTag
}

func (s *site) api(t *testing.T, method, path string) answer {
	t.Helper()
	username, password := s.harbor.Admin()
	return s.request(t, method, s.harbor.URL()+path, basicHeader(username, password), "", "")
}

// since waits until a site's Harbor believes that an artifact was pulled after a time.
func (s *site) since(t *testing.T, repo string, d digest.Digest, tag string, after time.Time) {
	t.Helper()
	after = after.Truncate(time.Millisecond) // as Harbor says it
	trial.Until(t, func() error {
		artifact, ofTag := s.pulledAt(t, repo, d, tag)
		if artifact.Before(after) || tag != "" && ofTag.Before(after) {
			return fmt.Errorf("%s: the artifact was pulled %v, its tag %q %v; want after %v", s.harbor.URL(), artifact, tag, ofTag, after)
		}
		return nil
	})
}

// gets is how many GETs of the repo's manifests a site's Harbor has had.
func (s *site) gets(repo string) (n int) {
	return starting(s.harbor.Requests(), "GET /v2/"+repo+"/manifests/")
}

// starting counts the requests that begin so.
func starting(requests map[string]int, with string) (n int) {
	for what, times := range requests {
		if strings.HasPrefix(what, with) {
			n += times
		}
	}
	return n
}

func (r *touched) counted(t *testing.T, datacenter, result string) int {
	t.Helper()
	return int(metric(t, r.metrics[datacenter], "breakwater_edge_touches_total", result))
}

// idle waits until no edge owes anything.
func (r *touched) idle(t *testing.T) {
	t.Helper()
	trial.Until(t, func() error {
		for datacenter, metrics := range r.metrics {
			for _, name := range []string{"breakwater_edge_touches_pending", "breakwater_edge_touches_untold"} {
				if n := metric(t, metrics, name, ""); n > 0 {
					return fmt.Errorf("%s: %s is %v", datacenter, name, n)
				}
			}
		}
		return nil
	})
}

// Pulls that are served from the store move the pull time in all Harbors that hold the
// image, once in an interval; HEADs do not.
func TestPullsAreTouchedEverywhere(t *testing.T) {
	r := newTouched(t)
	const repo = "multi-dc-demo/app"
	s := r.sites[0]
	d := r.holds(t, repo, "v1", "one", 0, 1) // drp1 has not got it
	if a := s.pullNote(t, "v1"); a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.body)
	}
	r.idle(t)
	pulls, before := 1, 0
	for _, site := range r.sites {
		before += site.gets(repo)
	}
	for round := range 3 {
		r.pass(touchEvery + time.Minute)
		begun := r.now().Add(-time.Second)
		for range 5 {
			if a := s.pullNote(t, "v1"); a.status != http.StatusOK {
				t.Fatalf("%d %s", a.status, a.body)
			}
			pulls++
		}
		for _, site := range r.sites[:2] {
			site.since(t, repo, d, "v1", begun)
		}
		r.idle(t)
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	after := 0
	for _, site := range r.sites {
		after += site.gets(repo)
	}
	t.Logf("%d pulls, %d touches in %d Harbors that hold it", pulls-1, after-before, 2)
	if after-before != 6 {
		t.Errorf("%d GETs reached the Harbors for 15 pulls in 3 intervals, want one for each interval and Harbor", after-before)
	}
	r.pass(touchEvery + time.Minute)
	at, _ := s.pulledAt(t, repo, d, "")
	if a := s.do(t, http.MethodHead, app+"v1", s.as(t, reader, repo)); a.status != http.StatusOK {
		t.Fatal(a.status)
	}
	r.idle(t)
	if again, _ := s.pulledAt(t, repo, d, ""); !again.Equal(at) {
		t.Error("a HEAD counts as a pull")
	}
}

// metric is the value of an edge's metric, with a label of that value where it has labels.
func metric(t *testing.T, metrics *prometheus.Registry, name, label string) (n float64) {
	t.Helper()
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == name && (label == "" || m.GetLabel()[0].GetValue() == label) {
				n += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return n
}
