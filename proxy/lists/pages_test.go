package lists

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
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

// Pages that lead in a circle end it, where they bring nothing new.
func TestPagesInACircle(t *testing.T) {
	at := path(demo)
	for name, c := range map[string]struct {
		say  map[string]trial.Answer
		want []string
		asks int
	}{
		"itself": {map[string]trial.Answer{at: linked(list("a"), at+"?n=1000")}, []string{"a"}, 2},
		"of two": {map[string]trial.Answer{at: linked(list("b", "a"), at+"?x=1"), at + "?x=1": linked(list("c"), at+"?n=1000"),
			at + "?last=c&n=1000": list("d")}, []string{"a", "b", "c", "d"}, 3},
		"of two that end":                 {map[string]trial.Answer{at: linked(list("a"), at+"?x=1"), at + "?x=1": linked(list("b"), at+"?n=1000")}, []string{"a", "b"}, 3},
		"always the same, by other names": {map[string]trial.Answer{at: linked(list("a"), at+"?x=1"), at + "?x=1": linked(list("a"), at+"?x=2")}, []string{"a"}, 2},
		"an empty page, and more behind":  {map[string]trial.Answer{at: linked(list(), at+"?x=1"), at + "?x=1": list("a")}, []string{"a"}, 2},
		"an empty page that is its own":   {map[string]trial.Answer{at: linked(list(), at+"?n=1000")}, []string{}, 1},
		"no tags at all":                  {map[string]trial.Answer{at: {Body: `{"name":"x","tags":null}`}}, []string{}, 1},
		"left out":                        {map[string]trial.Answer{at: {Body: `{"name":"x"}`}}, []string{}, 1},
	} {
		w := newWorld(t)
		for to, a := range c.say {
			w.harbor.Say(to, a)
		}
		got, err := w.Tags(t.Context(), question(demo))
		if err != nil || !slices.Equal(got.All, c.want) || len(w.harbor.Asked()) != c.asks {
			t.Errorf("%s: %+v, %v, asked %d times", name, got, err, len(w.harbor.Asked()))
		}
	}
}

// The next page is found in whatever way a registry writes its Link, and asked for where
// this one was.
func TestTheNextPage(t *testing.T) {
	at := path(demo)
	for _, links := range [][]string{
		{"<" + at + `?last=b&n=2>; rel="next"`},
		{"<" + at + `?n=2&last=b>;rel=next`},
		{"<" + at + `?n=2&last=b>; REL="Next"`},
		{"<" + at + `?n=2&last=b>`},
		{`<?last=b&n=2>; rel="next"`},
		{"<http://elsewhere.example.org:80" + at + `?n=2&last=b>; rel="next"`},
		{"<https://elsewhere.example.org:443" + at + `?n=2&last=b#x>; title="a, b"; rel="last next"`},
		{"<://[" + at + `?n=2&last=b>; rel='next'`},
		{at + `?n=2&last=b; rel="next"`},
		{"<" + at + `?n=2>; rel="first", <` + at + `?last=b&n=2>; rel="next"`},
		{"<" + at + `?n=2>; rel="prev", <` + at + `?x=1,2>; title="next, a" ; rel=last`, "<" + at + `?last=b&n=2>; rel="next"`},
		{"<" + at + `?n=1000>; rel="next"`, ""}, // it does not say after what
		{"<" + at + `?n=2>; rel="next"`},
		{"<" + at + `>; rel="next"`},
	} {
		w := newWorld(t)
		first := list("b", "a")
		first.Header = http.Header{"Link": links}
		w.harbor.Say(at+"?n=1000", first)
		w.harbor.Say(at+"?last=b&n=2", list("c", "b"))
		w.harbor.Say(at+"?last=a&n=1000", list("c", "b"))
		w.harbor.Say(at+"?last=a&n=2", list("c", "b"))
		w.harbor.Say(at+"?n=2", first)
		if got, err := w.Tags(t.Context(), question(demo)); err != nil || !slices.Equal(got.All, []string{"a", "b", "c"}) {
			t.Errorf("%q: %+v, %v", links, got, err)
		}
	}
	for _, links := range [][]string{nil, {""}, {","}, {"<" + at + `?last=b&n=2>; rel="prev"`}, {"<" + at + `?last=b&n=2>; rel="nextpage"`}, {"<"}} {
		w := newWorld(t)
		only := list("a")
		only.Header = http.Header{"Link": links}
		w.harbor.Say(at, only)
		if got, err := w.Tags(t.Context(), question(demo)); err != nil || !slices.Equal(got.All, []string{"a"}) || len(w.harbor.Asked()) > 2 {
			t.Errorf("%q: %+v, %v, asked %d times", links, got, err, len(w.harbor.Asked()))
		}
	}
}

// Pages of a size that a registry refuses are asked for in a smaller one, and then in the
// registry's own. Which one it takes is remembered, unless it may have been broken.
func TestAPageSizeThatIsRefused(t *testing.T) {
	refusal := func(status int, code string) trial.Answer {
		return trial.Answer{Status: status, Body: fmt.Sprintf(`{"errors":[{"code":%q,"message":"x"}]}`, code)}
	}
	for name, c := range map[string]struct {
		refuses trial.Answer
		takes   string // the query that it takes, "" for none
		first   []string
		then    int // how many of the first it is asked again
	}{
		"a size":                        {refusal(400, "PAGINATION_NUMBER_INVALID"), "n=100", []string{"n=1000", "n=100"}, 1},
		"any size":                      {refusal(400, "PAGINATION_NUMBER_INVALID"), "", []string{"n=1000", "n=100", ""}, 1},
		"in its own words":              {refusal(422, "UNPROCESSABLE"), "n=100", []string{"n=1000", "n=100"}, 1},
		"without words":                 {trial.Answer{Status: 416}, "", []string{"n=1000", "n=100", ""}, 1},
		"by the code":                   {refusal(405, "PAGINATION_NUMBER_INVALID"), "n=100", []string{"n=1000", "n=100"}, 1},
		"as a fault":                    {refusal(500, "UNKNOWN"), "", []string{"n=1000", "n=100", ""}, 3},
		"everything":                    {refusal(400, "NAME_INVALID"), "none", []string{"n=1000", "n=100", ""}, 3},
		"who is broken is not asked on": {trial.Answer{Status: 503}, "none", []string{"n=1000"}, 1},
		"nor who has no such repo":      {refusal(404, "NAME_UNKNOWN"), "none", []string{"n=1000"}, 1},
	} {
		w := newWorld(t)
		w.harbor.Say(path(nginx), trial.Answer{Status: 404, Body: `{"errors":[{"code":"NOT_FOUND","message":"repository cache-hub/nginx not found"}]}`})
		at := path("nginx")
		for _, query := range []string{"?n=1000", "?n=100", ""} {
			w.hub.Say(at+query, c.refuses)
		}
		if c.takes != "none" {
			w.hub.Say(strings.TrimSuffix(at+"?"+c.takes, "?"), list("b", "a"))
		}
		var asked []string
		for range 2 {
			got, err := w.Tags(t.Context(), question(nginx))
			if (err == nil) != (c.takes != "none") || err == nil && !slices.Equal(got.All, []string{"a", "b"}) {
				t.Errorf("%s: %+v, %v", name, got, err)
			}
		}
		for _, r := range w.hub.Asked() {
			if r.URL.Path == at {
				asked = append(asked, r.URL.RawQuery)
			}
		}
		if want := append(slices.Clone(c.first), c.first[len(c.first)-c.then:]...); !slices.Equal(asked, want) {
			t.Errorf("%s: asked %q, want %q", name, asked, want)
		}
	}
}

// The size that a source takes in one project says nothing of its others.
func TestAPageSizeIsRememberedByProject(t *testing.T) {
	w := newWorld(t)
	w.harbor.Say(path(nginx)+"?n=1000", trial.Answer{Status: http.StatusBadRequest})
	for _, repo := range []string{nginx, demo} {
		w.harbor.Say(path(repo), list("a"))
		if _, err := w.Tags(t.Context(), question(repo)); err != nil {
			t.Fatal(err)
		}
	}
	if asked := w.harbor.Asked(); len(asked) != 3 || asked[2].URL.Query().Get("n") != "1000" {
		t.Errorf("asked %d times, at last %s", len(asked), asked[len(asked)-1].URL)
	}
}

// A page of HTML, and JSON that says something else, are no list.
func TestWhatIsNoList(t *testing.T) {
	for _, body := range []string{"<html>", "", "[]", "null", "7", `{"errors":[{"code":"DENIED"}]}`, `{"tags":7}`, `{"tags":[7]}`, `{"tags":["a"`} {
		w := newWorld(t)
		w.harbor.Say(path(demo), trial.Answer{Header: http.Header{"Content-Type": {"text/html"}}, Body: body})
		if got, err := w.Tags(t.Context(), question(demo)); status(err) != http.StatusServiceUnavailable {
			t.Errorf("%q: %+v, %v", body, got, err)
		}
	}
	w := newWorld(t) // and a label is nothing
	w.harbor.Say(path(demo), trial.Answer{Header: http.Header{"Content-Type": {"text/html"}}, Body: `{"tags":["a"]}`})
	if got, err := w.Tags(t.Context(), question(demo)); err != nil || !slices.Equal(got.All, []string{"a"}) {
		t.Errorf("%+v, %v", got, err)
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

// No list is longer than 1,000 pages, 100,000 entries or 16 MiB: a registry that never ends is
// read no further, and a part of its list is not told for the whole.
func TestAListIsBounded(t *testing.T) {
	for pages, want := range map[int]int{1000: http.StatusOK, 1001: http.StatusServiceUnavailable} {
		w := newWorld(t)
		w.pages(pages, func(i int) trial.Answer { return list(fmt.Sprintf("v%04d", i)) })
		if got, err := w.Tags(t.Context(), question(demo)); status(err) != want || err == nil && len(got.All) != pages {
			t.Errorf("%d pages: %d tags, %v", pages, len(got.All), err)
		}
	}
	for n, want := range map[int]int{10_000: http.StatusOK, 10_001: http.StatusServiceUnavailable} {
		w := newWorld(t)
		w.pages(10, func(i int) trial.Answer {
			tags := make([]string, n)
			for at := range tags {
				tags[at] = fmt.Sprintf("v%d-%d", i, at)
			}
			return list(tags...)
		})
		if got, err := w.Tags(t.Context(), question(demo)); status(err) != want || err == nil && len(got.All) != 10*n {
			t.Errorf("%d tags: %d, %v", 10*n, len(got.All), err)
		}
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

// A client's page is n tags after last, which may be a tag that was deleted.
func TestAClientsPage(t *testing.T) {
	all := []string{"a", "c", "e", "g"}
	for query, want := range map[string]string{
		"": "[a c e g] ", "n=": "[a c e g] ", "n=2": "[a c] last=c&n=2", "n=4": "[a c e g] ", "n=9": "[a c e g] ", "n=0": "[] ", "n=2&last=a": "[c e] last=e&n=2",
		"n=2&last=d": "[e g] ", "last=g": "[] ", "last=z": "[] ", "n=1&last=0": "[a] last=a&n=1", "n=x": "400", "n=-1": "400", "n=1.5": "400", "n=99999999999999999999": "400",
	} {
		q, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		part, next, err := Page(all, q)
		got := fmt.Sprint(part, " ", next.Encode())
		if err != nil {
			got = fmt.Sprint(status(err))
		}
		if got != want {
			t.Errorf("%q: %s, want %s", query, got, want)
		}
	}
}
