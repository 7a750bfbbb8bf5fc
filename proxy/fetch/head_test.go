package fetch

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy/tags"
)

// A HEAD that is refused may be refused for its method: a GET tells what is there. Only who
// is down, or has had enough, is not asked twice. What HEAD says that is of no use does not
// count.
func TestAHeadThatDoesNotTell(t *testing.T) {
	held, d := manifest("held")
	moved, movedDigest := manifest("moved")
	named := func(status int, digest string) trial.Answer {
		return trial.Answer{Status: status, Header: http.Header{"Docker-Content-Digest": {digest}}}
	}
	cases := map[string]struct {
		head  trial.Answer
		tells bool // that the source cannot say now
	}{
		"200 and no digest":           {named(200, ""), false},
		"200 and no digest of a kind": {named(200, "sha256:short"), false},
		"200 and no bytes":            {trial.Answer{Status: 200, Header: http.Header{"Content-Length": {"0"}}}, false},
		"204":                         {trial.Answer{Status: 204}, false},
		"called a page":               {trial.Answer{Header: http.Header{"Content-Type": {"text/html"}}}, false},
	}
	for _, status := range []int{400, 401, 403, 404, 405, 406, 410, 415, 451, 501} {
		cases[fmt.Sprint(status)] = struct {
			head  trial.Answer
			tells bool
		}{trial.Answer{Status: status}, false}
	}
	for _, status := range []int{429, 500, 502, 503, 504, 520, 522, 530} {
		cases[fmt.Sprint(status)] = struct {
			head  trial.Answer
			tells bool
		}{trial.Answer{Status: status}, true}
	}
	w := newWorld(t)
	if err := w.Store.Put(d, []byte(held)); err != nil {
		t.Fatal(err)
	}
	at := 0
	for name, c := range cases {
		for _, get := range []trial.Answer{serve(moved), serve(moved, "Docker-Content-Digest", "")} {
			at++
			q := tagOf(demo)
			q.Request.Tag = fmt.Sprintf("v%d", at)
			path := "/v2/" + demo + "/manifests/" + q.Request.Tag
			w.harbor.Say("HEAD "+path, c.head)
			w.harbor.Say("GET "+path, get)
			want := movedDigest
			if c.tells {
				want = ""
			}
			found, err := w.askManifest(t.Context(), q, q.Route(w.Routes)[0], tags.Entry{Digest: d})
			if found.Entry.Digest != want || (err != nil) != c.tells {
				t.Errorf("%s: what is held is now %q, %v", name, found.Entry.Digest, err)
			}
			has, err := w.tagAt(t.Context(), q, q.Route(w.Routes)[0])
			if has != want || (err != nil) != c.tells {
				t.Errorf("%s: the tag is %q, %v", name, has, err)
			}
		}
	}
	q := tagOf(demo) // bytes that are not what the source calls them are nobody's
	path := "/v2/" + demo + "/manifests/v1"
	w.harbor.Say("HEAD "+path, named(200, digest.FromString("x").String()))
	w.harbor.Say("GET "+path, serve(moved, "Docker-Content-Digest", digest.FromString("y").String()))
	if found, err := w.askManifest(t.Context(), q, q.Route(w.Routes)[0], tags.Entry{Digest: d}); status(err) != 503 || !strings.Contains(err.Error(), "digest") {
		t.Errorf("%+v, %v", found.Entry, err)
	}
}

// A manifest that HEAD calls a page may be one; what GET calls so, and is none, is not.
func TestAPageToHeadAndGet(t *testing.T) {
	held, d := manifest("held")
	w := newWorld(t)
	if err := w.Store.Put(d, []byte(held)); err != nil {
		t.Fatal(err)
	}
	q := tagOf(demo)
	w.harbor.Say("/v2/"+demo+"/manifests/v1", trial.Answer{Header: http.Header{"Content-Type": {"text/html"}}, Body: "<html>"})
	if found, err := w.askManifest(t.Context(), q, q.Route(w.Routes)[0], tags.Entry{Digest: d}); status(err) != 503 {
		t.Errorf("what is held is now %+v, %v", found.Entry, err)
	}
	if has, err := w.tagAt(t.Context(), q, q.Route(w.Routes)[0]); status(err) != 503 {
		t.Errorf("the tag is %q, %v", has, err)
	}
}
