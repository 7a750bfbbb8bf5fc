package lists_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/fetch"
	"example.org/breakwater/proxy/lists"
	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/proxy/share"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/registry"
)

// saved is what outlasts Lists.
type saved struct {
	tags      map[string][]string
	referrers map[string][]json.RawMessage
}

func (s *saved) TagList(repo string) []string          { return s.tags[repo] }
func (s *saved) PutTagList(repo string, tags []string) { s.tags[repo] = tags }
func (s *saved) Referrers(repo string, d digest.Digest) []json.RawMessage {
	return s.referrers[repo+d.String()]
}
func (s *saved) PutReferrers(repo string, d digest.Digest, all []json.RawMessage) {
	s.referrers[repo+d.String()] = all
}

// before makes Lists in front of what stands in Harbor's place.
func before(t *testing.T, harbor http.HandlerFunc) (*lists.Lists, *saved) {
	t.Helper()
	srv := httptest.NewServer(harbor)
	t.Cleanup(srv.Close)
	client, err := registry.NewSource(registry.SourceConfig{URL: srv.URL, Trusted: true})
	if err != nil {
		t.Fatal(err)
	}
	own := source.New(t.Context(), source.Config{Name: "harbor", Kind: source.Harbor, Registry: client, Now: time.Now, Metrics: source.NewMetrics(nil)})
	s := &saved{map[string][]string{}, map[string][]json.RawMessage{}}
	return &lists.Lists{Routes: source.NewRoutes(own, nil, nil, namespace.NewTable(nil)), State: s, Deadline: 5 * time.Second, Bodies: share.New(64<<20, 64<<20)}, s
}

func question(repo string, kind registry.Kind) fetch.Question {
	project, _, _ := strings.Cut(repo, "/")
	return fetch.Question{Request: registry.Request{Method: http.MethodGet, Kind: kind, Repo: repo, Digest: digest.FromString("subject")}, Namespace: namespace.NewTable(nil).Of(project)}
}

// What sources send of lists takes so much memory and no more, and gives it back.
func TestASourcesListsAreBounded(t *testing.T) {
	l, s := before(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if strings.Contains(r.URL.Path, "/tags/list") {
			fmt.Fprintf(w, `{"tags":["%s"]}`, strings.Repeat(`a","`, 30_000))
			return
		}
		fmt.Fprintf(w, `{"manifests":[{"digest":%q,"a":%q}]}`, digest.FromString("a"), strings.Repeat("a", 200<<10))
	})
	for what, ask := range map[string]func() error{
		"tags": func() error { _, err := l.Tags(t.Context(), question("multi-dc-x/app", registry.KindTags)); return err },
		"referrers": func() error {
			_, err := l.Referrers(t.Context(), question("multi-dc-x/app", registry.KindReferrers))
			return err
		},
	} {
		l.Bodies = share.New(1<<20, 64<<10)
		if err := ask(); !outcome.IsDontKnow(err) || err == nil {
			t.Errorf("%s, of a source that sends more than its share: %v", what, err)
		}
		l.Bodies = share.New(1<<20, 1<<20)
		for range 10 {
			if err := ask(); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
		}
	}
	if len(s.tags) != 1 || len(s.referrers) != 1 {
		t.Errorf("%d lists of tags and %d of referrers are remembered", len(s.tags), len(s.referrers))
	}
}

// A list without an end is cut off: a source is read for so many pages.
func TestAListWithoutAnEndIsNotReadForEver(t *testing.T) {
	pages := 0
	l, _ := before(t, func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.URL.Path, "/tags/list") {
			return
		}
		pages++
		w.Header().Set("Link", fmt.Sprintf(`</v2/multi-dc-x/app/tags/list?n=1&last=%d>; rel="next"`, pages))
		fmt.Fprintf(w, `{"tags":["v%d"]}`, pages)
	})
	list, err := l.Tags(t.Context(), question("multi-dc-x/app", registry.KindTags))
	if err != nil || pages != 100 || len(list.All) != 100 {
		t.Errorf("%d pages, %d tags, %v", pages, len(list.All), err)
	}
}
