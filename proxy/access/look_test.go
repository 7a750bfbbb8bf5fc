package access_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"example.org/breakwater/proxy/access"
	"example.org/breakwater/registry"
)

// listing is a Harbor whose list has every project with one id. It can be slow, or fail.
type listing struct {
	asked  atomic.Int64
	id     atomic.Int64
	takes  atomic.Int64 // nanoseconds
	failed atomic.Bool
}

func (l *listing) answer(r *http.Request) (*http.Response, error) {
	if r.URL.Path != "/api/v2.0/projects" {
		return says(http.StatusNotFound, `{"errors":[{"code":"BLOB_UNKNOWN"}]}`), nil
	}
	l.asked.Add(1)
	id := l.id.Load()
	select {
	case <-time.After(time.Duration(l.takes.Load())):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	if l.failed.Load() {
		return nil, io.ErrUnexpectedEOF
	}
	return says(http.StatusOK, fmt.Sprintf(`[{"name":%q,"project_id":%d}]`, r.URL.Query().Get("q")[len("name="):], id)), nil
}

// look expects how long one takes, how often Harbor is asked, and what is known then.
func (l *listing) look(t *testing.T, when string, look func(), check *access.Checker, waits time.Duration, asks, known int64) {
	t.Helper()
	before, began := l.asked.Load(), time.Now()
	look()
	waited := time.Since(began)
	if asked := l.asked.Load() - before; waited != waits || asked != asks || check.Project("a/x") != known {
		t.Errorf("%s: after %v and %d questions it is %d, want %v, %d, %d", when, waited, asked, check.Project("a/x"), waits, asks, known)
	}
}

// Harbor is asked for a project in use every ten seconds, and not for five after it did not
// answer. Nobody waits for more than half a second, and what comes later counts.
func TestHowOftenAProjectIsAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		harbor := &listing{}
		harbor.id.Store(7)
		check := bubble(t, harbor.answer, nil)
		look := func() { check.Look(t.Context(), "a/x") }
		harbor.look(t, "first", look, check, 0, 1, 7)
		harbor.id.Store(8)
		time.Sleep(10*time.Second - 1)
		harbor.look(t, "within ten seconds", look, check, 0, 0, 7)
		time.Sleep(time.Nanosecond)
		harbor.look(t, "after them", look, check, 0, 1, 8)
		harbor.look(t, "of another one", func() { check.Look(t.Context(), "b/x") }, check, 0, 1, 8)
		harbor.look(t, "now", func() { check.LookNow(t.Context(), "a/x") }, check, 0, 0, 8) // nothing is newer
		time.Sleep(time.Nanosecond)
		harbor.look(t, "now, later", func() { check.LookNow(t.Context(), "a/x") }, check, 0, 1, 8)

		harbor.failed.Store(true)
		time.Sleep(30 * time.Second)
		harbor.look(t, "it fails", look, check, 0, 1, 8)
		time.Sleep(5*time.Second - 1)
		harbor.look(t, "it has failed", look, check, 0, 0, 8)
		time.Sleep(time.Nanosecond)
		harbor.look(t, "it fails again", look, check, 0, 1, 8)
		harbor.failed.Store(false)
		harbor.id.Store(9)
		time.Sleep(5 * time.Second)
		harbor.look(t, "it is well", look, check, 0, 1, 9)

		harbor.takes.Store(int64(2 * time.Second))
		harbor.id.Store(10)
		time.Sleep(30 * time.Second)
		harbor.look(t, "it is slow", look, check, 500*time.Millisecond, 1, 9)
		harbor.look(t, "it is still slow", look, check, 0, 0, 9)
		time.Sleep(2 * time.Second)
		harbor.look(t, "the answer is there", look, check, 0, 0, 10)

		harbor.takes.Store(int64(time.Minute))
		time.Sleep(30 * time.Second)
		gone, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		harbor.look(t, "the client goes", func() { check.Look(gone, "a/x") }, check, 100*time.Millisecond, 1, 10)
		time.Sleep(10*time.Second - 100*time.Millisecond - 1)
		harbor.look(t, "the question goes on without it", look, check, 0, 0, 10)
		time.Sleep(time.Nanosecond)
		synctest.Wait() // it is given up
		harbor.look(t, "the next one", look, check, 500*time.Millisecond, 1, 10)
		time.Sleep(time.Minute)
	})
}

// Any number of requests share one question; who needs an answer that is newer than the
// question under way has another one asked, once.
func TestOneQuestionForAllWhoCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		harbor := &listing{}
		harbor.id.Store(7)
		harbor.takes.Store(int64(100 * time.Millisecond))
		check := bubble(t, harbor.answer, nil)
		var all sync.WaitGroup
		come := func(n int, look func(context.Context, string)) {
			for range n {
				all.Go(func() { look(t.Context(), "a/x") })
			}
			synctest.Wait()
		}
		harbor.look(t, "all at once", func() { come(50, check.Look); all.Wait() }, check, 100*time.Millisecond, 1, 7)
		time.Sleep(time.Minute)
		harbor.look(t, "some for what is new", func() {
			come(20, check.Look)
			time.Sleep(50 * time.Millisecond)
			harbor.id.Store(8)
			come(20, check.LookNow)
			all.Wait()
		}, check, 200*time.Millisecond, 2, 8)
	})
}

// What a project is, is written where it outlasts the process: at once where it is another
// one, every ten minutes else.
func TestWhenAProjectIsWritten(t *testing.T) {
	for name, keep := range map[string]func(*access.Config, *counted){
		"its own":         func(cfg *access.Config, disk *counted) { cfg.Projects = disk },
		"of the members":  func(cfg *access.Config, disk *counted) { cfg.Members = disk },
		"of the grants":   func(cfg *access.Config, disk *counted) { cfg.Grants = disk },
		"its own, before": func(cfg *access.Config, disk *counted) { cfg.Projects, cfg.Members = disk, newCounted() },
	} {
		synctest.Test(t, func(t *testing.T) {
			harbor, disk := &listing{}, newCounted()
			check := bubble(t, harbor.answer, func(cfg *access.Config) { keep(cfg, disk) })
			for i, step := range []struct {
				after time.Duration
				id    int64
				puts  int
			}{
				{0, 7, 1}, {time.Minute, 7, 0}, {9*time.Minute - 1, 7, 0}, {time.Minute, 7, 1}, {time.Minute, 7, 0}, {time.Minute, 8, 1}, {9 * time.Minute, 8, 0}, {time.Minute, 8, 1},
			} {
				time.Sleep(step.after)
				harbor.id.Store(step.id)
				before := disk.puts
				check.Look(t.Context(), "a/x")
				if id, asked, _, _ := disk.Project("a"); id != step.id || disk.puts-before != step.puts || step.puts == 1 && !asked.Equal(time.Now()) {
					t.Errorf("%s, step %d: written %d times, it is %d as of %v", name, i, disk.puts-before, id, asked)
				}
			}
			before := harbor.asked.Load()
			next := bubble(t, harbor.answer, func(cfg *access.Config) { keep(cfg, disk) })
			if next.Look(t.Context(), "a/x"); next.Project("a/x") != 8 || harbor.asked.Load() != before {
				t.Errorf("%s: after a restart it is %d, and Harbor is asked %d times", name, next.Project("a/x"), harbor.asked.Load()-before)
			}
		})
	}
}

// counted counts what is written of projects, members and grants.
type counted struct {
	named
	disk
	holder
	puts int
}

func newCounted() *counted {
	return &counted{named: named{all: map[string]namedProject{}}, disk: disk{grants: map[string]time.Time{}}, holder: holder{all: map[string]int64{}}}
}

func (c *counted) PutProject(name string, id int64, asked, created, since time.Time) {
	c.puts++
	c.named.PutProject(name, id, asked, created, since)
}

// A project was made again when Harbor says so, by this edge's clock, and not before the old
// one was last seen.
func TestWhenAProjectWasMadeAgain(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	for name, row := range map[string]struct {
		harborAhead time.Duration
		noDate      bool
		created     time.Time // by Harbor's clock
		want        time.Time
	}{
		"the clocks are the same":   {0, false, now.Add(50 * time.Minute), now.Add(50 * time.Minute)},
		"Harbor is two hours ahead": {2 * time.Hour, false, now.Add(170 * time.Minute), now.Add(50 * time.Minute)},
		"Harbor is behind":          {-2 * time.Hour, false, now.Add(-70 * time.Minute), now.Add(50 * time.Minute)},
		"by a second":               {-time.Second, false, now.Add(50 * time.Minute), now.Add(50 * time.Minute)},
		"by three":                  {-3 * time.Second, false, now.Add(50 * time.Minute), now.Add(50*time.Minute + 3*time.Second)},
		"it does not say":           {2 * time.Hour, true, now.Add(170 * time.Minute), now.Add(170 * time.Minute)},
		"before it was seen last":   {0, false, now.Add(-time.Minute), now},
	} {
		c, p := &clock{now}, &project{}
		old := now.Add(-time.Hour)
		p.created.Store(&old)
		p.id.Store(7)
		check := before(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Date", c.at.Add(row.harborAhead).UTC().Format(http.TimeFormat))
			if row.noDate {
				w.Header()["Date"] = nil
			}
			p.ServeHTTP(w, r)
		}, func(cfg *access.Config) { cfg.Now = c.now })
		check.Look(t.Context(), "a/x")
		p.created.Store(&row.created)
		p.id.Store(8)
		c.at = now.Add(time.Hour)
		check.Look(t.Context(), "a/x")
		if got := check.Since("a/x"); !got.Equal(row.want) {
			t.Errorf("%s: %v, want %v", name, got.Sub(now), row.want.Sub(now))
		}
		c.at = c.at.Add(time.Minute)
		check.Look(t.Context(), "a/x")
		if got := check.Since("a/x"); !got.Equal(row.want) {
			t.Errorf("%s: asked again it is %v", name, got.Sub(now))
		}
	}
}

// A token may be a minute older than its project, as in Harbor; one that is shown for the
// first time has Harbor asked which project it is.
func TestATokenIsOfItsProject(t *testing.T) {
	c, p := &clock{time.Now().Truncate(time.Second)}, &project{public: "false"}
	made := c.at.Add(-time.Hour)
	p.created.Store(&made)
	p.id.Store(7)
	var asked atomic.Int64
	check := before(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		p.ServeHTTP(w, r)
	}, verifying(c, fleetKey()))
	pulls := func(raw string) int {
		_, err := check.Allow(t.Context(), access.Query{Authorization: "Bearer " + raw, Repos: []string{"a/x"}, Action: "pull"})
		return statusOf(err)
	}
	old := signed(t, fleetKey(), c.at.Add(-time.Minute), nil)
	for range 3 {
		if got := pulls(old); got != 200 || asked.Load() != 1 {
			t.Errorf("%d, asked %d times for one token", got, asked.Load())
		}
		c.at = c.at.Add(time.Second)
	}
	made = c.at
	p.created.Store(&made)
	p.id.Store(8)
	for ago, want := range map[time.Duration]int{60 * time.Second: 200, 61 * time.Second: 401, 0: 200} {
		if got := pulls(signed(t, fleetKey(), made.Add(-ago), nil)); got != want {
			t.Errorf("a token from %v before its project: %d, want %d", ago, got, want)
		}
	}
	if got := pulls(old); got != 401 || asked.Load() != 2 {
		t.Errorf("the old one's users get %d, after %d questions", got, asked.Load())
	}
}

// A token that is too long to be remembered, or that is over but for Harbor's leeway, is verified
// each time: it is shown for the first time once all the same.
func TestATokenIsShownForTheFirstTimeOnce(t *testing.T) {
	c, p := &clock{time.Now().Truncate(time.Second)}, &project{public: "false"}
	p.created.Store(&c.at)
	p.id.Store(7)
	var asked atomic.Int64
	check := before(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		p.ServeHTTP(w, r)
	}, verifying(c, fleetKey()))
	scopes := []registry.Access{{Type: "repository", Name: "a/x", Actions: []string{"pull"}}}
	for i := range 100 {
		scopes = append(scopes, registry.Access{Type: "repository", Name: fmt.Sprintf("a/%050d", i), Actions: []string{"pull"}})
	}
	for name, raw := range map[string]string{
		"long": signed(t, fleetKey(), c.at, jwt.MapClaims{"access": scopes}),
		"over": signed(t, fleetKey(), c.at, jwt.MapClaims{"exp": c.at.Add(-30 * time.Second).Unix()}),
	} {
		asked.Store(0)
		c.at = c.at.Add(time.Second)
		for range 5 {
			_, err := check.Allow(t.Context(), access.Query{Authorization: "Bearer " + raw, Repos: []string{"a/x"}, Action: "pull"})
			if err != nil || asked.Load() != 1 {
				t.Errorf("%s: Harbor is asked %d times, %v", name, asked.Load(), err)
			}
			c.at = c.at.Add(time.Second)
		}
	}
}
