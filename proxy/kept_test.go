package proxy_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/state"
	"example.org/breakwater/registry"
)

const (
	day       = 24 * time.Hour
	keptImage = "cache-dockerhub/library/app"
	deleted   = "breakwater; hit; fwd=stale; detail=deleted-upstream"
)

// keeper is one datacenter whose cache keeps what its upstream deletes, with a clock that
// can be moved, and an edge that can be started again.
type keeper struct {
	*site
	later  atomic.Int64
	state  string
	keep   time.Duration
	freeze []namespace.Frozen
	fresh  time.Duration
	memory *state.DB
	config *proxy.Config
}

func newKeeper(t *testing.T, keep time.Duration, freeze ...namespace.Frozen) *keeper {
	t.Helper()
	k := &keeper{state: filepath.Join(t.TempDir(), "state.db"), keep: keep, freeze: freeze, fresh: time.Nanosecond}
	k.site = newSite(t)
	k.edge.Close()
	k.dir = t.TempDir()
	k.start(t)
	return k
}

// start starts an edge over what was remembered.
func (k *keeper) start(t *testing.T) {
	t.Helper()
	if k.memory != nil {
		k.edge.Close()
		k.memory.Close()
		k.config.Store.Close()
	}
	k.tokens.Clear()
	k.edge = startEdge(t, k.harbor.URL(), k.dir, &k.harbor.Key().PublicKey, func(a *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
		memory, err := state.Open(k.state, p.Log)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { memory.Close() })
		k.memory, k.config, a.Members, a.Projects, p.State = memory, p, memory, memory, memory
		upstream, err := registry.NewSource(registry.SourceConfig{URL: k.hub.URL()})
		if err != nil {
			t.Fatal(err)
		}
		p.Upstreams = map[string]*registry.Source{"cache-dockerhub": upstream}
		p.Namespaces = []namespace.Namespace{{Project: "cache-dockerhub", Kind: namespace.Cache, DockerHub: true, Keep: k.keep, Freeze: k.freeze}}
		p.Freshness = func(namespace.Kind) time.Duration { return k.fresh }
		p.Now = func() time.Time { return time.Now().Add(time.Duration(k.later.Load())) }
	})
}

// deletes has the upstream say of all manifests that there are none.
func (k *keeper) deletes(t *testing.T) {
	t.Helper()
	if err := k.hub.SetFaults(lab.Fault{Name: "404", Path: "/manifests/"}); err != nil {
		t.Fatal(err)
	}
}

func (k *keeper) pull(t *testing.T) answer {
	t.Helper()
	return k.do(t, http.MethodGet, manifests(keptImage), k.anonymous(t, keptImage))
}

func (k *keeper) wants(t *testing.T, what string, status int, cache string) answer {
	t.Helper()
	a := k.pull(t)
	if got := a.header.Get("Cache-Status"); a.status != status || !strings.HasPrefix(got, cache) {
		t.Errorf("%s: %d, %q, want %d, %q: %.200s", what, a.status, got, status, cache, a.body)
	}
	return a
}

// What its upstream deletes a cache gives on for as long as it is told to, counted from when
// the delete was first heard, whatever the digest, and however often the edge is started.
func TestWhatItsUpstreamDeletesIsKept(t *testing.T) {
	k := newKeeper(t, 30*day)
	img := image(t, 1000, 1)
	raw, _ := img.RawManifest()
	mustPush(t, k.hub.URL(), "library/app:v1", img, authn.Anonymous)
	k.wants(t, "all well", http.StatusOK, "breakwater; fwd=miss; detail=harbor")
	layer, content := layerOf(t, img)
	same(t, "its layer", k.do(t, http.MethodGet, "/v2/"+keptImage+"/blobs/"+layer, k.anonymous(t, keptImage)), content)
	k.later.Add(int64(10 * day)) // before it is deleted no clock runs
	k.deletes(t)
	a := k.wants(t, "deleted", http.StatusOK, deleted)
	same(t, "deleted", a, raw)
	if since, err := time.Parse(time.RFC3339, a.header.Get("Breakwater-Deleted-Upstream")); err != nil || time.Now().Add(10*day).Sub(since).Abs() > time.Minute {
		t.Errorf("deleted since %q, %v", a.header.Get("Breakwater-Deleted-Upstream"), err)
	}
	k.start(t)
	k.later.Add(int64(20 * day))
	same(t, "by its digest", k.do(t, http.MethodGet, "/v2/"+keptImage+"/manifests/"+digestOf(t, img), k.anonymous(t, keptImage)), raw)
	same(t, "its layer", k.do(t, http.MethodGet, "/v2/"+keptImage+"/blobs/"+layer, k.anonymous(t, keptImage)), content)
	k.wants(t, "20 days after", http.StatusOK, deleted)
	k.later.Add(int64(10*day - time.Minute))
	k.wants(t, "a minute before the end", http.StatusOK, deleted)
	k.later.Add(int64(2 * time.Minute))
	k.wants(t, "30 days after", http.StatusNotFound, "breakwater; fwd=miss; detail=error")
}

// A delete ends where the upstream has it again, and a refusal is none.
func TestWhatIsDeletedAndWhatIsNot(t *testing.T) {
	k := newKeeper(t, namespace.Forever)
	mustPush(t, k.hub.URL(), "library/app:v1", image(t, 1000, 1), authn.Anonymous)
	k.wants(t, "all well", http.StatusOK, "breakwater; fwd=miss")
	k.deletes(t)
	k.wants(t, "deleted", http.StatusOK, deleted)
	k.later.Add(int64(1000 * day))
	first := k.wants(t, "long after", http.StatusOK, deleted).header.Get("Breakwater-Deleted-Upstream")
	tags, _ := k.site.tags(t, keptImage, "", k.anonymous(t, keptImage))
	if len(tags) != 1 || tags[0] != "v1" {
		t.Errorf("listed are %q", tags)
	}
	if x := k.explained(t); x.Deleted == nil || !strings.Contains(x.Answer, "keep_deleted is forever") || !strings.HasPrefix(first, x.Deleted.Since.UTC().Format("2006-01-02T15:04")) {
		t.Errorf("explained as %+v, deleted since %s", x, first)
	}
	if err := k.hub.SetFaults(); err != nil {
		t.Fatal(err)
	}
	k.wants(t, "there again", http.StatusOK, "breakwater; fwd=stale; detail=harbor")
	if x := k.explained(t); x.Deleted != nil {
		t.Errorf("explained as %+v", x)
	}
	for _, refusal := range []string{"401", "403", "429", "500"} {
		if err := k.hub.SetFaults(lab.Fault{Name: refusal, Path: "/manifests/"}); err != nil {
			t.Fatal(err)
		}
		k.later.Add(int64(2 * time.Hour))
		if a := k.pull(t); a.status != http.StatusOK || a.header.Get("Breakwater-Deleted-Upstream") != "" {
			t.Errorf("an upstream's %s: %d, deleted since %q", refusal, a.status, a.header.Get("Breakwater-Deleted-Upstream"))
		}
	}
}

// Where nothing is said of deletes, what the upstream has deleted is gone, as ever; and so is what
// was kept, once nothing is said of them any more.
func TestWithoutKeepDeletedADeleteCounts(t *testing.T) {
	k := newKeeper(t, 0)
	mustPush(t, k.hub.URL(), "library/app:v1", image(t, 1000, 1), authn.Anonymous)
	k.wants(t, "all well", http.StatusOK, "breakwater; fwd=miss")
	k.deletes(t)
	k.wants(t, "deleted", http.StatusNotFound, "breakwater; fwd=miss; detail=error")
	if err := k.hub.SetFaults(); err != nil {
		t.Fatal(err)
	}
	k.keep = day
	k.start(t)
	k.wants(t, "there again", http.StatusOK, "breakwater; fwd=miss")
	k.deletes(t)
	k.wants(t, "deleted, and kept", http.StatusOK, deleted)
	k.keep = 0
	k.start(t)
	k.wants(t, "kept no longer", http.StatusNotFound, "breakwater; fwd=miss; detail=error")
}

// A Harbor that gives on what its upstream has deleted does not say so: the edge hears it of
// the upstream, and ends it in time.
func TestAHarborThatKeepsItTooHidesNoDelete(t *testing.T) {
	k := newKeeper(t, day)
	img := image(t, 1000, 1)
	mustPush(t, k.hub.URL(), "library/app:v1", img, authn.Anonymous)
	k.harborKeeps(t)
	k.wants(t, "all well", http.StatusOK, "breakwater; fwd=miss")
	layer, _ := layerOf(t, img)
	config, err := img.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	for _, blob := range []string{layer, config.String()} { // Harbor keeps what it has whole
		k.do(t, http.MethodGet, "/v2/"+keptImage+"/blobs/"+blob, k.anonymous(t, keptImage))
	}
	k.deletes(t)
	k.wants(t, "Harbor says it is there", http.StatusOK, "breakwater; fwd=stale; detail=harbor")
	k.later.Add(int64(2 * time.Hour))
	k.wants(t, "the upstream was asked", http.StatusOK, deleted)
	k.later.Add(int64(23 * time.Hour))
	k.wants(t, "within the day", http.StatusOK, deleted)
	k.later.Add(int64(2 * time.Hour))
	for range 3 { // and it does not begin again
		k.wants(t, "after a day", http.StatusNotFound, "breakwater; ")
		k.later.Add(int64(2 * time.Hour))
	}
	if err := k.hub.SetFaults(); err != nil {
		t.Fatal(err)
	}
	k.later.Add(int64(2 * time.Hour))
	k.wants(t, "there again", http.StatusOK, "breakwater; fwd=")
}

// A frozen tag is what it was first, whatever its upstream makes of it, until it is let go.
func TestAFrozenTagStaysAsItIs(t *testing.T) {
	k := newKeeper(t, 0, namespace.Frozen{Image: "app", Tag: "v*"})
	first, second := image(t, 1000, 1), image(t, 1000, 2)
	raw, _ := first.RawManifest()
	mustPush(t, k.hub.URL(), "library/app:v1", first, authn.Anonymous)
	k.wants(t, "all well", http.StatusOK, "breakwater; fwd=miss")
	mustPush(t, k.hub.URL(), "library/app:v1", second, authn.Anonymous)
	asked := k.hub.Requests()["HEAD /v2/library/app/manifests/v1"]
	a := k.wants(t, "moved", http.StatusOK, "breakwater; ")
	same(t, "moved", a, raw)
	if cache := a.header.Get("Cache-Status"); !strings.HasSuffix(cache, "; frozen") {
		t.Error(cache)
	}
	k.later.Add(int64(100 * day))
	k.start(t)
	same(t, "after a restart", k.pull(t), raw)
	k.deletes(t)
	same(t, "deleted", k.pull(t), raw)
	if now := k.hub.Requests()["HEAD /v2/library/app/manifests/v1"]; now != asked {
		t.Errorf("the upstream was asked for the tag %d times", now-asked)
	}
	if x := k.explained(t); !x.Frozen || !strings.Contains(x.Answer, "frozen at this digest") {
		t.Errorf("explained as %+v", x)
	}
	if err := k.hub.SetFaults(); err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(k.admin(t)+"/purge?digest="+digestOf(t, first), "", nil)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(err, resp)
	}
	resp.Body.Close()
	raw, _ = second.RawManifest()
	same(t, "let go", k.pull(t), raw)
}

// admin is the address of the edge's admin listener.
func (k *keeper) admin(t *testing.T) string {
	t.Helper()
	mux := http.NewServeMux()
	k.edge.Config.Handler.(*proxy.Handler).Admin(mux)
	admin := httptest.NewServer(mux)
	t.Cleanup(admin.Close)
	return admin.URL
}

// harborKeeps tells the cache in Harbor to keep what the upstream deletes.
func (k *keeper) harborKeeps(t *testing.T) {
	t.Helper()
	username, password := k.harbor.Admin()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, k.harbor.URL()+"/api/v2.0/projects/cache-dockerhub/metadatas/proxy_cache_local_on_not_found",
		strings.NewReader(`{"proxy_cache_local_on_not_found":"true"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(username, password)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Body.Close(); resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
}

type explained struct {
	Answer  string
	Frozen  bool
	Deleted *struct{ Since time.Time } `json:"deleted_upstream"`
}

func (k *keeper) explained(t *testing.T) (x explained) {
	t.Helper()
	resp, err := http.Get(k.admin(t) + "/explain?ref=" + url.QueryEscape(keptImage+":v1"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&x); err != nil {
		t.Fatal(err)
	}
	return x
}
