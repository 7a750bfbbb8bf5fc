package provision

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.org/breakwater/internal/lab"
)

// A plan of many projects reads lists, and of each project what Harbor has no list of: its
// retention. It reads many at once, and no more than it should.
func TestAPlanOfManyProjects(t *testing.T) {
	const projects = lookedInto + 50
	f := newTestFleet(t)
	var slow atomic.Bool // as a Harbor is that has much to do
	h, err := lab.StartHarbor(lab.HarborConfig{Key: testKey(), Cost: func(*http.Request) time.Duration {
		if slow.Load() {
			return 20 * time.Millisecond
		}
		return 0
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() }) //nolint:errcheck // the test is over
	target := parsed(t, h.URL())
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	var now, most, calls atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		n := now.Add(1)
		defer now.Add(-1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	var names strings.Builder
	for i := range projects {
		fmt.Fprintf(&names, "    p%04d: {}\n", i)
	}
	t.Setenv("PASSWORD", "Harbor12345")
	f.text = "domain: h.example.org\ndatacenters: { dc1: { harbor: \"" + srv.URL + "\" } }\nharbor: { username: admin, password: \"env:PASSWORD\" }\nprojects:\n  multi-dc:\n" + names.String()
	f.apply(t, Options{})
	calls.Store(0)
	most.Store(0)
	slow.Store(true)
	plan := f.settled(t)
	if n := calls.Load(); n > projects+25 || plan.Objects != 2*projects {
		t.Errorf("%d calls for %d projects of %d objects", n, projects, plan.Objects)
	}
	if n := most.Load(); n < 2*atOnce || n > readsAtOnce {
		t.Errorf("%d calls at once", n)
	}
}

// Whatever there is more of than a page holds is read to its end.
func TestListsAreReadToTheirEnd(t *testing.T) {
	const more = pageSize + 5
	f := newTestFleet(t)
	f.apply(t, Options{})
	h := f.harbors["dc1"]
	project := found(t, h, "/projects", "multi-dc-repo1")
	w := with(found(t, h, webhooks, "breakwater"), "id", 0)
	p := with(found(t, h, policies, pulls), "id", 0, "enabled", false)
	for i := range more {
		name := fmt.Sprintf("a-%03d", i) // before what is ours, and after it
		call(t, h, "POST", "/projects", map[string]any{"project_name": name})
		call(t, h, "POST", "/registries", map[string]any{"name": name, "type": "docker-registry", "url": "https://quay.io"})
		call(t, h, "POST", policies, with(p, "name", name, "description", ""))
		call(t, h, "POST", webhooks, with(w, "name", name))
		access := []any{map[string]any{"resource": "repository", "action": "pull"}}
		for _, level := range []string{"system", "project"} {
			call(t, h, "POST", "/robots", map[string]any{"name": "z-" + name, "level": level, "duration": -1, "permissions": []any{map[string]any{"kind": "project", "namespace": "multi-dc-repo1", "access": access}}})
		}
		call(t, h, "POST", "/projects/"+id(project)+"/members", map[string]any{"role_id": 3, "member_group": map[string]any{"group_name": name, "group_type": 3}})
		makeRule(t, h, "multi-dc-repo1", "matches", "a/**", name)
	}
	hh, err := newHarbor(h.URL(), "admin", "Harbor12345", nil)
	if err != nil {
		t.Fatal(err)
	}
	have, err := hh.read(t.Context(), "dc1", nil)
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for k := range have.entries {
		count[k.Kind]++
	}
	for _, kind := range []string{kindProject, kindRegistry, kindPolicy, kindMember, kindImmutable} {
		if count[kind] < more {
			t.Errorf("of %d only %d are read: %s", more, count[kind], kind)
		}
	}
	if count[kindRobot] < 2*more || len(have.quotas) < more || have.get(kindWebhook, "multi-dc-repo1 breakwater") == nil {
		t.Errorf("%d robots, %d quotas, %v", count[kindRobot], len(have.quotas), have.get(kindWebhook, "multi-dc-repo1 breakwater"))
	}
	f.settled(t)
}
