package proxy_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/opencontainers/go-digest"

	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/registry"
)

// becomes waits until so many touches of a datacenter ended so.
func (r *touched) becomes(t *testing.T, datacenter, result string, n int) {
	t.Helper()
	trial.Until(t, func() error {
		if got := r.counted(t, datacenter, result); got != n {
			return fmt.Errorf("%d touches of %s are %s, want %d", got, datacenter, result, n)
		}
		return nil
	})
}

// A cache's copy is touched where Harbor holds it, and the upstream does not hear of it; what
// Harbor has deleted since is not fetched again. Other datacenters' caches are left alone.
func TestACacheIsTouchedAndItsUpstreamIsNotAsked(t *testing.T) {
	r := newTouched(t, freshFor(1000*time.Hour))
	const repo = "cache-dockerhub/library/app"
	s := r.sites[0]
	img := image(t, 1000, 1)
	raw, _ := img.RawManifest()
	d := digest.FromBytes(raw)
	mustPush(t, r.hub.URL(), "library/app:v1", img, authn.Anonymous)
	layer, _ := layerOf(t, img)
	config, _ := img.ConfigName()
	pull := func() {
		t.Helper()
		same(t, "the manifest", s.do(t, http.MethodGet, "/v2/"+repo+"/manifests/v1", s.anonymous(t, repo)), raw)
	}
	pull()
	for _, blob := range []string{layer, config.String()} { // Harbor keeps the manifest when it has all of it
		s.do(t, http.MethodGet, "/v2/"+repo+"/blobs/"+blob, s.anonymous(t, repo))
	}
	s.since(t, repo, d, "", r.now().Add(-time.Hour))
	r.idle(t)
	asked := func() (n int) {
		return starting(r.hub.Requests(), "GET /v2/library/app") + starting(r.hub.Requests(), "HEAD /v2/library/app")
	}
	before := asked()
	r.pass(7 * time.Hour)
	begun := r.now()
	pull()
	s.since(t, repo, d, "", begun)
	r.idle(t)
	if n := asked() - before; n != 0 {
		t.Errorf("the upstream was asked %d times for a touch", n)
	}
	absent := r.counted(t, "par1", "absent")
	if a := s.api(t, http.MethodDelete, registry.ArtifactsPath(repo)+"/"+d.String()); a.status != http.StatusOK {
		t.Fatal(a.status)
	}
	r.pass(7 * time.Hour)
	pull()
	r.becomes(t, "par1", "absent", absent+1)
	r.idle(t)
	if n := asked() - before; n != 0 || s.holds(t, repo, d) {
		t.Errorf("the upstream was asked %d times for a touch of what Harbor has deleted; it holds it again: %v", n, s.holds(t, repo, d))
	}
	if n := r.sites[1].gets(repo); n != 0 {
		t.Errorf("mad1's cache was asked %d times", n)
	}
}

// A robot that may pull and no more touches what no upstream is behind, and leaves caches alone.
func TestARobotThatMayPullAlone(t *testing.T) {
	r := newTouched(t, freshFor(1000*time.Hour), func(_ *access.Config, _ *proxy.Config, s *registry.SourceConfig) { s.Username = "robot$pulls" })
	for _, s := range r.sites {
		s.harbor.CreateRobot("*", "pulls", secret, "pull")
		if err := s.harbor.CreateCache("cache-own", "docker-registry", r.hub.URL(), false); err != nil {
			t.Fatal(err)
		}
	}
	const repo, cached = "multi-dc-demo/app", "cache-own/team/app"
	s := r.sites[0]
	d := r.holds(t, repo, "v1", "one", 0, 1)
	mustPush(t, r.hub.URL(), "team/app:v1", image(t, 1000, 1), authn.Anonymous)
	for range 2 {
		begun := r.now()
		for _, of := range []string{repo, cached} {
			if a := s.do(t, http.MethodGet, "/v2/"+of+"/manifests/v1", s.as(t, "robot$pulls", of)); a.status != http.StatusOK {
				t.Fatalf("%d %s", a.status, a.body)
			}
		}
		for _, site := range r.sites[:2] {
			site.since(t, repo, d, "v1", begun)
		}
		r.pass(7 * time.Hour)
	}
	trial.Until(t, func() error {
		if r.counted(t, "par1", "refused") == 0 {
			return fmt.Errorf("nothing is said of the cache")
		}
		return nil
	})
	if n := starting(r.hub.Requests(), "GET /v2/team/app/manifests/"); n != 1 {
		t.Errorf("the upstream was asked for the manifest %d times, want once, by the pull", n)
	}
}

// What was pulled is touched the way it was pulled, and nothing else: a tag that has moved in
// Harbor since is not, nor is what was deleted, which ends the touch.
func TestATouchIsOfWhatWasPulled(t *testing.T) {
	r := newTouched(t, freshFor(1000*time.Hour))
	const repo = "repl-core/app"
	s := r.sites[0]
	old := s.noted(t, repo, "v1", "old")
	s.noted(t, repo, "v2", "deleted")
	get := func(reference string) {
		t.Helper()
		if a := s.do(t, http.MethodGet, "/v2/"+repo+"/manifests/"+reference, s.anonymous(t, repo)); a.status != http.StatusOK {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	get("v1")
	get("v2")
	get(old.String())
	r.idle(t)
	moved := s.noted(t, repo, "v1", "new")
	if a := s.api(t, http.MethodDelete, registry.ArtifactsPath(repo)+"/v2"); a.status != http.StatusOK {
		t.Fatal(a.status)
	}
	absent := r.counted(t, "par1", "absent")
	r.pass(7 * time.Hour)
	begun := r.now()
	get("v1")
	get("v2")
	s.since(t, repo, old, "", begun)
	r.becomes(t, "par1", "absent", absent+1)
	r.idle(t)
	if artifact, tag := s.pulledAt(t, repo, moved, "v1"); !artifact.Before(begun) || !tag.Before(begun) {
		t.Errorf("what the tag is now was pulled by nobody: %v, its tag %v", artifact, tag)
	}
	r.pass(7 * time.Hour)
	begun = r.now()
	get(old.String())
	s.since(t, repo, old, "", begun)
}

// What a client has pulled from Harbor itself, or another replica of the edge has touched, is not
// touched again in the interval.
func TestWhatHarborHasCountedIsNotTouched(t *testing.T) {
	r := newTouched(t, freshFor(1000*time.Hour))
	const repo = "repl-core/app"
	s := r.sites[0]
	d := s.noted(t, repo, "v1", "one")
	get := func() {
		t.Helper()
		if a := s.do(t, http.MethodGet, "/v2/"+repo+"/manifests/v1", s.anonymous(t, repo)); a.status != http.StatusOK {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	get()
	r.becomes(t, "par1", "known", 1)
	r.pass(7 * time.Hour)
	begun := r.now()
	s.api(t, http.MethodGet, "/v2/"+repo+"/manifests/v1")
	s.since(t, repo, d, "v1", begun)
	r.pass(5 * time.Hour)
	before := s.gets(repo)
	get()
	r.becomes(t, "par1", "known", 2)
	r.pass(2 * time.Hour) // seven since the direct pull, two since the last look
	get()
	r.becomes(t, "par1", "touched", 1)
	if n := s.gets(repo) - before; n != 1 {
		t.Errorf("%d GETs, want one", n)
	}
}

// What Harbors, replications and edges fetch through an edge is no pull, nor is a 304.
func TestWhatIsNoPull(t *testing.T) {
	r := newTouched(t, freshFor(1000*time.Hour), func(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
		p.Machine = func(account string) bool { return account == writer }
	})
	const repo = "multi-dc-demo/app"
	s := r.sites[0]
	d := r.holds(t, repo, "v1", "one", 0, 1)
	h := s.as(t, reader, repo)
	with := func(key, value string) map[string]string {
		return map[string]string{"Authorization": h["Authorization"], key: value}
	}
	for what, c := range map[string]struct {
		method string
		header map[string]string
	}{
		"a HEAD":        {http.MethodHead, h},
		"a 304":         {http.MethodGet, with("If-None-Match", `"`+d.String()+`"`)},
		"a Harbor":      {http.MethodGet, with("User-Agent", "harbor-registry-client")},
		"a replication": {http.MethodGet, s.as(t, writer, repo)},
	} {
		if a := s.do(t, c.method, app+"v1", c.header); a.status != http.StatusOK && a.status != http.StatusNotModified {
			t.Errorf("%s: %d %s", what, a.status, a.body)
		}
		if n := metric(t, r.metrics["par1"], "breakwater_edge_touches_pending", ""); n != 0 {
			t.Errorf("%s counts as a pull", what)
		}
	}
	if a := s.do(t, http.MethodGet, app+"v1", h); a.status != http.StatusOK {
		t.Fatal(a.status)
	}
	if n := metric(t, r.metrics["par1"], "breakwater_edge_touches_pending", ""); n != 1 {
		t.Errorf("%v are owed after a pull", n)
	}
	for _, datacenter := range []string{"mad1", "drp1"} { // which peers have been asked
		if a := r.counted(t, datacenter, "touched"); a != 0 {
			t.Errorf("%s: %d", datacenter, a)
		}
	}
}
