package lists

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy/fetch"
	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/share"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/registry"
)

var (
	broken = trial.Answer{Status: 500}
	refuse = trial.Answer{Status: 401, Body: `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`}
	// policy is Harbor's.
	policy = trial.Answer{Status: 412, Body: `{"errors":[{"code":"PROJECTPOLICYVIOLATION","message":"not scanned"}]}`}
)

// notFound is Harbor's own 404.
func notFound(message string) trial.Answer {
	return trial.Answer{Status: 404, Body: `{"errors":[{"code":"NOT_FOUND","message":"` + message + `"}]}`}
}

// linked is a page that names the next one.
func linked(page trial.Answer, next string) trial.Answer {
	page.Header = http.Header{"Link": {"<" + next + `>; rel="next"`}}
	return page
}

// remembered is a State in memory.
type remembered struct {
	mu        sync.Mutex
	tags      map[string][]string
	referrers map[string][]json.RawMessage
}

func (m *remembered) TagList(repo string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.tags[repo]
}

func (m *remembered) PutTagList(repo string, tags []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tags[repo] = tags
}

func (m *remembered) Referrers(repo string, d digest.Digest) []json.RawMessage {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.referrers[repo+"@"+d.String()]
}

func (m *remembered) PutReferrers(repo string, d digest.Digest, all []json.RawMessage) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.referrers[repo+"@"+d.String()] = all
}

// world is a Harbor, two peers and an upstream, and the lists made of what they say.
type world struct {
	*Lists
	*remembered
	harbor, mad1, drp1, hub *trial.Registry
}

var table = namespace.NewTable([]namespace.Namespace{
	{Project: "cache-hub", Kind: namespace.Cache},
	{Project: "multi-dc-away", Kind: namespace.MultiDC, Homes: []string{"mad1"}, Away: true},
	{Project: "multi-dc-twice", Kind: namespace.MultiDC, Homes: []string{"drp1", "mad1"}, Away: true},
	{Project: "repl-core", Kind: namespace.Repl, Rules: []namespace.Rule{{From: "cache-hub", Name: "**"}}},
})

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{remembered: &remembered{tags: map[string][]string{}, referrers: map[string][]json.RawMessage{}}}
	begin := func(name string, kind source.Kind) (*trial.Registry, *source.Source) {
		s := trial.NewRegistry(t)
		r, err := registry.NewSource(registry.SourceConfig{URL: s.URL, Trusted: true})
		if err != nil {
			t.Fatal(err)
		}
		return s, source.New(t.Context(), source.Config{Name: name, Kind: kind, Datacenter: strings.TrimPrefix(name, "peer-"), Registry: r})
	}
	var harbor, mad1, drp1, hub *source.Source
	w.harbor, harbor = begin("harbor", source.Harbor)
	w.mad1, mad1 = begin("peer-mad1", source.Peer)
	w.drp1, drp1 = begin("peer-drp1", source.Peer)
	w.hub, hub = begin("upstream-hub", source.Upstream)
	routes := source.NewRoutes(harbor, []*source.Source{mad1, drp1}, map[string]*source.Source{"cache-hub": hub}, table)
	w.Lists = &Lists{Context: t.Context(), Routes: routes, State: w.remembered, Deadline: time.Minute, Bodies: share.New(64<<20, 64<<20)}
	return w
}

// others gives every source but Harbor the same word.
func (w *world) others(path string, a trial.Answer) {
	for _, s := range []*trial.Registry{w.mad1, w.drp1, w.hub} {
		s.Say(path, a)
	}
}

func question(repo string) fetch.Question {
	r := registry.Request{Method: http.MethodGet, Kind: registry.KindTags, Repo: repo}
	return fetch.Question{Request: r, Namespace: table.Of(r.Project())}
}

func list(tags ...string) trial.Answer {
	body, _ := json.Marshal(map[string]any{"name": "x", "tags": tags})
	return trial.Answer{Body: string(body)}
}

// status is what a client is told: 200 where there is a list.
func status(err error) int {
	var e *registry.Error
	switch {
	case err == nil:
		return http.StatusOK
	case errors.As(err, &e):
		return e.Status
	}
	return http.StatusInternalServerError
}

const demo, away, nginx, core = "multi-dc-demo/app", "multi-dc-away/app", "cache-hub/nginx", "repl-core/nginx"

func path(repo string) string { return "/v2/" + repo + "/tags/list" }

// tagCase is what sources say, and what becomes of it.
type tagCase struct {
	repo      string
	known     []string
	say       func(w *world)
	want      List[string]
	status    int      // 0: 200
	remembers []string // nil: what was known
}

var tagCases = map[string]tagCase{
	"Harbor's own is the word": {repo: demo, known: []string{"v0", "v1"},
		say:  func(w *world) { w.harbor.Say(path(demo), list("v2", "v1", "v2")); w.others(path(demo), list("v9")) },
		want: List[string]{All: []string{"v1", "v2"}, Source: "harbor"}, remembers: []string{"v1", "v2"}},
	"an empty list is one": {repo: demo, known: []string{"v0"},
		say:  func(w *world) { w.harbor.Say(path(demo), trial.Answer{Body: `{"name":"x","tags":null}`}) },
		want: List[string]{All: []string{}, Source: "harbor"}, remembers: []string{}},
	"a cache's that lacks nothing is the word": {repo: nginx, known: []string{"v1"},
		say:  func(w *world) { w.harbor.Say(path(nginx), list("v1", "v2")); w.others(path("nginx"), list("v9")) },
		want: List[string]{All: []string{"v1", "v2"}, Source: "harbor"}, remembers: []string{"v1", "v2"}},
	"a cache's that shrank is completed by the upstream": {repo: nginx, known: []string{"v1", "v7"},
		say:  func(w *world) { w.harbor.Say(path(nginx), list("v1")); w.hub.Say(path("nginx"), list("v3", "v2")) },
		want: List[string]{All: []string{"v1", "v2", "v3"}, Source: "upstream-hub"}, remembers: []string{"v1", "v2", "v3"}},
	"and where that errs by what is remembered": {repo: nginx, known: []string{"v1", "v7"},
		say:  func(w *world) { w.harbor.Say(path(nginx), list("v2")); w.hub.Say(path("nginx"), broken) },
		want: List[string]{All: []string{"v1", "v2", "v7"}, Merged: true}},
	"and where that refuses": {repo: nginx, known: []string{"v1", "v7"},
		say:  func(w *world) { w.harbor.Say(path(nginx), list("v2")); w.hub.Say(path("nginx"), refuse) },
		want: List[string]{All: []string{"v1", "v2", "v7"}, Merged: true}},
	"but not where it says no": {repo: nginx, known: []string{"v1", "v7"},
		say:  func(w *world) { w.harbor.Say(path(nginx), list("v2")) },
		want: List[string]{All: []string{"v2"}, Source: "harbor"}, remembers: []string{"v2"}},
	"a repo that Harbor has not is the peers'": {repo: demo, known: []string{"v7"},
		say:  func(w *world) { w.mad1.Say(path(demo), list("v2", "v1")); w.drp1.Say(path(demo), list("v3", "v2")) },
		want: List[string]{All: []string{"v1", "v2", "v3"}, Source: "a peer"}, remembers: []string{"v1", "v2", "v3"}},
	"one that cannot say may have what is remembered": {repo: demo, known: []string{"v7"},
		say:  func(w *world) { w.mad1.Say(path(demo), list("v2", "v1")); w.drp1.Say(path(demo), broken) },
		want: List[string]{All: []string{"v1", "v2", "v7"}, Source: "peer-mad1"}, remembers: []string{"v1", "v2", "v7"}},
	"nobody has it": {repo: demo, known: []string{"v7"}, say: func(*world) {}, status: 404},
	"nobody can say, and something is remembered": {repo: demo, known: []string{"v7"},
		say:  func(w *world) { w.harbor.Say(path(demo), broken); w.others(path(demo), broken) },
		want: List[string]{All: []string{"v7"}, Stale: true}},
	"nobody can say, and it had none": {repo: demo, known: []string{},
		say:  func(w *world) { w.harbor.Say(path(demo), broken); w.others(path(demo), broken) },
		want: List[string]{All: []string{}, Stale: true}},
	"nobody can say": {repo: demo, say: func(w *world) { w.harbor.Say(path(demo), broken) }, status: 503},
	"Harbor's cache cannot know, and the upstream has it": {repo: nginx,
		say: func(w *world) {
			w.harbor.Say(path(nginx), notFound("repository cache-hub/nginx not found"))
			w.hub.Say(path("nginx"), list("v1"))
		},
		want: List[string]{All: []string{"v1"}, Source: "upstream-hub"}, remembers: []string{"v1"}},
	"the upstream's no by Harbor's mouth is final": {repo: nginx, known: []string{"v7"},
		say: func(w *world) {
			w.harbor.Say(path(nginx), notFound("resource not found: nginx"))
			w.others(path("nginx"), list("v1"))
			w.others(path(nginx), list("v1"))
		}, status: 404},
	"Harbor's policy is final": {repo: demo, known: []string{"v7"},
		say: func(w *world) { w.harbor.Say(path(demo), policy); w.others(path(demo), list("v1")) }, status: 412},
	"the tags of the cache that it comes from are not its own": {repo: core,
		say: func(w *world) { w.harbor.Say(path(nginx), list("v1")); w.hub.Say(path("nginx"), list("v2")) }, status: 404},
	"a project that is held elsewhere is there and here": {repo: away, known: []string{"v0"},
		say: func(w *world) {
			w.harbor.Say(path(away), list("v2"))
			w.mad1.Say(path(away), list("v1"))
			w.drp1.Say(path(away), list("v9"))
		},
		want: List[string]{All: []string{"v1", "v2"}, Source: "peer-mad1"}, remembers: []string{"v1", "v2"}},
	"one that is to hold it is new": {repo: "multi-dc-twice/app",
		say: func(w *world) {
			w.mad1.Say(path("multi-dc-twice/app"), list("v2"))
			w.drp1.Say(path("multi-dc-twice/app"), list("v1", "v2"))
		},
		want: List[string]{All: []string{"v1", "v2"}, Source: "peer-drp1"}, remembers: []string{"v1", "v2"}},
	"it is not here": {repo: away, known: []string{"v0"},
		say:  func(w *world) { w.mad1.Say(path(away), list("v1")); w.drp1.Say(path(away), list("v9")) },
		want: List[string]{All: []string{"v1"}, Source: "peer-mad1"}, remembers: []string{"v1"}},
	"it is here, and did not get there yet": {repo: away,
		say:  func(w *world) { w.harbor.Say(path(away), list("v2")) },
		want: List[string]{All: []string{"v2"}, Source: "harbor"}, remembers: []string{"v2"}},
	"where it is held cannot say, and others may know": {repo: away, known: []string{"v0"},
		say: func(w *world) {
			w.harbor.Say(path(away), list("v2"))
			w.mad1.Say(path(away), broken)
			w.drp1.Say(path(away), list("v9"))
		},
		want: List[string]{All: []string{"v0", "v2", "v9"}, Source: "peer-drp1"}, remembers: []string{"v0", "v2", "v9"}},
	"a page is no list": {repo: demo, say: func(w *world) { w.harbor.Say(path(demo), trial.Answer{Body: "<html>"}) }, status: 503},
}

// What the lists of a repo's sources become, and what is remembered.
func TestTags(t *testing.T) {
	for name, c := range tagCases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if c.known != nil {
				w.tags[c.repo] = c.known
			}
			c.say(w)
			got, err := w.Tags(t.Context(), question(c.repo))
			if c.want.Source == "a peer" && strings.HasPrefix(got.Source, "peer-") {
				got.Source = "a peer"
			}
			if status(err) != max(c.status, http.StatusOK) {
				t.Errorf("%v, want %d", err, c.status)
			}
			if err == nil && (!slices.Equal(got.All, c.want.All) || got.All == nil || got.Source != c.want.Source || got.Merged != c.want.Merged || got.Stale != c.want.Stale) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			if c.remembers == nil {
				c.remembers = c.known
			}
			if !slices.Equal(w.tags[c.repo], c.remembers) {
				t.Errorf("remembers %q, want %q", w.tags[c.repo], c.remembers)
			}
		})
	}
}

func TestOfType(t *testing.T) {
	all := []json.RawMessage{descriptorOf("sig"), descriptorOf("sbom"), json.RawMessage(`7`)}
	for filter, want := range map[string]int{"": 3, "sig": 1, "none": 0} {
		if got := OfType(all, filter); len(got) != want || got == nil {
			t.Errorf("%q: %s", filter, got)
		}
	}
}
