package lists

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/proxy/share"
	"example.org/breakwater/registry"
)

// A list is read to its end, by whatever words a registry has for the next page.
func TestEveryPageIsRead(t *testing.T) {
	w := newWorld(t)
	at := path(demo)
	w.harbor.Say(at+"?n=1000", linked(list("a", "b"), at+"?n=1000&next_page=gAAA%3D"))
	w.harbor.Say(at+"?n=1000&next_page=gAAA%3D", linked(list("c"), "https://elsewhere.example.org"+at+"?last=c")) // it is asked here all the same
	w.harbor.Say(at+"?last=c", list("d"))
	got, err := w.Tags(t.Context(), question(demo))
	if err != nil || !slices.Equal(got.All, []string{"a", "b", "c", "d"}) {
		t.Errorf("%+v, %v", got, err)
	}
	if len(w.harbor.Asked()) != 3 {
		t.Errorf("%d pages were asked for", len(w.harbor.Asked()))
	}
}

// A page that names itself as the next is the last.
func TestAPageThatIsItsOwnNext(t *testing.T) {
	w := newWorld(t)
	w.harbor.Say(path(demo), linked(list("a"), path(demo)+"?n=1000"))
	got, err := w.Tags(t.Context(), question(demo))
	if err != nil || !slices.Equal(got.All, []string{"a"}) || len(w.harbor.Asked()) != 1 {
		t.Errorf("%+v, %v, asked %d times", got, err, len(w.harbor.Asked()))
	}
}

// pages has Harbor say a list of so many pages.
func (w *world) pages(n int, page func(i int) trial.Answer) {
	for i := range n {
		at, next := fmt.Sprintf("%s?page=%d", path(demo), i), fmt.Sprintf("%s?page=%d", path(demo), i+1)
		if i == 0 {
			at = path(demo) + "?n=1000"
		}
		a := page(i)
		if i+1 < n {
			a = linked(a, next)
		}
		w.harbor.Say(at, a)
	}
}

// No list is longer than 100 pages or 16 MiB: a registry that never ends is read no further.
func TestAListIsBounded(t *testing.T) {
	w := newWorld(t)
	w.pages(200, func(i int) trial.Answer { return list(fmt.Sprintf("v%03d", i)) })
	if got, err := w.Tags(t.Context(), question(demo)); err != nil || len(got.All) != 100 {
		t.Errorf("%d tags, %v", len(got.All), err)
	}
	padding := strings.Repeat(" ", 1<<20-100) // a page is a mebibyte, less what else is in it
	for pages, want := range map[int]int{15: http.StatusOK, 17: http.StatusServiceUnavailable} {
		w := newWorld(t)
		w.pages(pages, func(i int) trial.Answer {
			return trial.Answer{Body: fmt.Sprintf(`{"tags":["v%d"],%s"x":0}`, i, padding)}
		})
		if _, err := w.Tags(t.Context(), question(demo)); status(err) != want {
			t.Errorf("%d MiB: %v, want %d", pages, err, want)
		}
	}
}

// What is remembered of one repo is bounded: 10,000 tags.
func TestWhatIsRememberedIsBounded(t *testing.T) {
	for _, n := range []int{10_000, 10_001} {
		w := newWorld(t)
		all := make([]string, n)
		for i := range all {
			all[i] = fmt.Sprintf("v%05d", i)
		}
		w.harbor.Say(path(demo), list(all...))
		if got, err := w.Tags(t.Context(), question(demo)); err != nil || len(got.All) != n {
			t.Errorf("%d of %d tags, %v", len(got.All), n, err)
		}
		if remembers := len(w.tags[demo]) > 0; remembers != (n == 10_000) {
			t.Errorf("%d tags: remembered %t", n, remembers)
		}
	}
}

// A source that is known to be down is not waited for where others can be asked.
func TestWhoIsDownIsNotAsked(t *testing.T) {
	w := newWorld(t)
	w.mad1.Say(path(demo), list("v1"))
	w.harbor.Close()
	w.Routes.Harbor.Suspect()
	trial.Until(t, func() error {
		if w.Routes.Harbor.Usable() {
			return errors.New("the breaker is closed")
		}
		return nil
	})
	got, err := w.Tags(t.Context(), question(demo))
	if err != nil || !slices.Equal(got.All, []string{"v1"}) {
		t.Errorf("%+v, %v", got, err)
	}
}

// The client's credentials go to a source that relays them, and to no other.
func TestTagsAreAskedForByTheEdgeItself(t *testing.T) {
	w := newWorld(t)
	w.harbor.Say(path(demo), list("v1"))
	q := question(demo)
	q.Authorization = "Bearer the-clients"
	for _, relay := range []bool{false, true} {
		w.Routes.Harbor.Relay = relay
		if _, err := w.Tags(t.Context(), q); err != nil {
			t.Fatal(err)
		}
		last := w.harbor.Asked()[len(w.harbor.Asked())-1]
		if relayed := last.Header.Get("Authorization") == q.Authorization; relayed != relay {
			t.Errorf("relay %t: %q", relay, last.Header.Get("Authorization"))
		}
	}
	if last := w.harbor.Asked()[0]; last.Method != http.MethodGet || last.URL.Query().Get("n") != "1000" {
		t.Errorf("%s %s", last.Method, last.URL)
	}
}

// What sources send of lists takes so much memory and no more, and gives it back.
func TestASourcesListsAreBounded(t *testing.T) {
	w := newWorld(t)
	subject := digest.FromString("subject")
	q := question(demo)
	q.Request.Kind, q.Request.Digest = registry.KindReferrers, subject
	w.harbor.Say(path(demo), list(slices.Repeat([]string{"a"}, 30_000)...))
	w.harbor.Say("/v2/"+demo+"/referrers/"+subject.String(), trial.Answer{Body: fmt.Sprintf(`{"manifests":[{"digest":%q,"a":%q}]}`, digest.FromString("a"), strings.Repeat("a", 200<<10))})
	for what, ask := range map[string]func() error{
		"tags":      func() error { _, err := w.Tags(t.Context(), question(demo)); return err },
		"referrers": func() error { _, err := w.Lists.Referrers(t.Context(), q); return err },
	} {
		w.Bodies = share.New(1<<20, 64<<10)
		if err := ask(); !outcome.IsDontKnow(err) || err == nil {
			t.Errorf("%s, of a source that sends more than its share: %v", what, err)
		}
		w.Bodies = share.New(1<<20, 1<<20)
		for range 10 {
			if err := ask(); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
		}
	}
	if len(w.tags) != 1 || len(w.referrers) != 1 {
		t.Errorf("%d lists of tags and %d of referrers are remembered", len(w.tags), len(w.referrers))
	}
}
