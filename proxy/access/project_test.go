package access_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/access"
	"example.org/breakwater/registry"
)

// named is what outlasts a Checker of projects: an access.Projects.
type named struct {
	mu  sync.Mutex
	all map[string]namedProject
}

type namedProject struct {
	id                    int64
	asked, created, since time.Time
}

func (n *named) PutProject(name string, id int64, asked, created, since time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all[name] = namedProject{id, asked, created, since}
}

func (n *named) Project(name string) (id int64, asked, created, since time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.all[name]
	return p.id, p.asked, p.created, p.since
}

// A project that has another id is another project, and one with a higher id was made again
// after it: Harbor counts. What is not said, or was said more than a day ago, is not known.
func TestWhichProjectHasAName(t *testing.T) {
	made := time.Now().Add(-time.Hour).Truncate(time.Second)
	listed := func(id int64, created time.Time) string {
		return fmt.Sprintf(`[{"name":"a","project_id":%d,"creation_time":%q}]`, id, created.Format(time.RFC3339Nano))
	}
	for name, c := range map[string]struct {
		status, then int // of the list of projects; 0: there is no answer
		first, next  string
		after        time.Duration // until it is asked for again
		known        bool          // the second time
		same, again  bool          // it counts as the same project; as one that was made again
	}{
		"the same":                         {200, 200, listed(7, made), listed(7, made), time.Minute, true, true, false},
		"another one":                      {200, 200, listed(7, made), listed(9, made.Add(time.Minute)), time.Minute, true, false, true},
		"another Harbor's":                 {200, 200, listed(7, made), listed(3, made.Add(time.Minute)), time.Minute, true, false, false},
		"none any more":                    {200, 200, listed(7, made), `[]`, time.Minute, false, false, false},
		"Harbor is ill":                    {200, 500, listed(7, made), ``, time.Minute, true, true, false},
		"Harbor is ill, for 23 hours":      {200, 500, listed(7, made), ``, 23 * time.Hour, true, true, false},
		"Harbor is ill, for a day":         {200, 500, listed(7, made), ``, 24 * time.Hour, false, false, false},
		"a limiter":                        {200, 429, listed(7, made), ``, time.Minute, true, true, false},
		"the robot may list no longer":     {200, 403, listed(7, made), `{}`, time.Minute, true, true, false},
		"a page":                           {200, 200, listed(7, made), `<html>`, time.Minute, true, true, false},
		"a registry without a list":        {404, 404, `404 page not found`, `404 page not found`, time.Minute, true, true, false},
		"one that the robot may see later": {200, 200, `[]`, listed(7, made), time.Minute, true, false, false},
		"Harbor was ill from the start":    {500, 500, ``, ``, time.Minute, false, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			clock, disk := &clock{time.Now()}, &named{all: map[string]namedProject{}}
			var status atomic.Int64
			body := atomic.Value{}
			say := func(code int, text string) {
				status.Store(int64(code))
				body.Store(text)
			}
			say(c.status, c.first)
			harbor := func(w http.ResponseWriter, _ *http.Request) {
				w.Header()["Date"] = nil // whole seconds, of another clock
				w.WriteHeader(int(status.Load()))
				io.WriteString(w, body.Load().(string)) //nolint:errcheck // the client has gone
			}
			life := func() *access.Checker {
				return before(t, harbor, func(cfg *access.Config) { cfg.Now, cfg.Projects = clock.now, disk })
			}
			check := life()
			check.Look(t.Context(), "a/x")
			first := check.Project("a/x")
			say(c.then, c.next)
			clock.at = clock.at.Add(c.after)
			check.Look(t.Context(), "a/x")
			for _, check := range []*access.Checker{check, life()} {
				if id := check.Project("a/x"); (id != 0) != c.known || (id != 0 && id == first) != c.same {
					t.Errorf("it is %d, and was %d", id, first)
				}
				if since := check.Since("a/x"); since.IsZero() == c.again {
					t.Errorf("made again: %v", since)
				}
			}
		})
	}
}

// What a repo of a project held does not count while nobody knows which project has the name.
func TestWhatAnUnknownProjectHeldIsProvenAgain(t *testing.T) {
	check := before(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, nil)
	d := digest.FromString("content")
	if check.Join("a/x", d); check.Member("a/x", d) || check.ProjectHolds("a", d) {
		t.Error("it counts")
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// An outage may begin when nobody has come for days: which projects there are is known then.
func TestProjectsAreLookedAtThoughNobodyComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		harbor, err := registry.NewSource(registry.SourceConfig{URL: "http://harbor", Username: "edge", Password: secret, Wrap: func(http.RoundTripper) http.RoundTripper {
			return roundTrip(func(r *http.Request) (*http.Response, error) {
				if down.Load() {
					return nil, io.ErrUnexpectedEOF
				}
				name := strings.TrimPrefix(r.URL.Query().Get("q"), "name=")
				return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(fmt.Sprintf(`[{"name":%q,"project_id":7}]`, name)))}, nil
			})
		}})
		if err != nil {
			t.Fatal(err)
		}
		check, err := access.New(access.Config{Harbor: harbor})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		go check.Watch(ctx, func() []string { return []string{"declared"} })
		check.Look(t.Context(), "used/x")
		time.Sleep(72 * time.Hour)
		down.Store(true)
		time.Sleep(22 * time.Hour)
		if check.Project("declared/x") != 7 || check.Project("used/x") != 7 || check.Project("other/x") != 0 {
			t.Error(check.Project("declared/x"), check.Project("used/x"), check.Project("other/x"))
		}
		time.Sleep(2 * time.Hour)
		if check.Project("declared/x") != 0 || check.Project("used/x") != 0 {
			t.Error("what nobody has seen for a day is known")
		}
		stop()
		synctest.Wait()
	})
}
