package lists

import (
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/breakwater/internal/trial"
)

// hangs is of a source that answers its probe, and nothing else as long as the test runs.
var hangs = trial.Answer{Never: true}

// Who hangs does not keep back the list that another source has given. The test would not end
// if who hangs were waited for: it is probed, and alive.
func TestTagsWhereASourceHangs(t *testing.T) {
	unknown := notFound("repository cache-hub/nginx not found")
	for name, c := range map[string]struct {
		repo                    string
		known                   []string
		harbor, mad1, drp1, hub trial.Answer
		want                    string
	}{
		"Harbor, and a peer has it":                {demo, nil, hangs, list("v1"), notFound("x"), hangs, "v1"},
		"Harbor and a peer":                        {demo, nil, hangs, list("v1"), hangs, hangs, "v1"},
		"a peer, and another has it":               {demo, nil, notFound("x"), list("v1"), hangs, hangs, "v1"},
		"a peer, and something is remembered":      {demo, []string{"v0"}, notFound("x"), list("v1"), hangs, hangs, "v0 v1"},
		"Harbor, and the upstream has it":          {nginx, nil, hangs, unknown, unknown, list("v1"), "v1"},
		"Harbor, and a peer has the cache's":       {nginx, nil, hangs, list("v1"), unknown, hangs, "v1"},
		"a peer, and the upstream has it":          {nginx, nil, unknown, hangs, unknown, list("v1"), "v1"},
		"all but the upstream, which has no such":  {nginx, nil, hangs, hangs, hangs, notFound("x"), "404"},
		"all but the upstream, which wants a user": {nginx, []string{"v0"}, hangs, hangs, hangs, refuse, "v0"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.Deadline = 50 * time.Millisecond
			w.harbor.Say(path(c.repo), c.harbor)
			w.mad1.Say(path(c.repo), c.mad1)
			w.drp1.Say(path(c.repo), c.drp1)
			w.hub.Say(path("nginx"), c.hub)
			if c.known != nil {
				w.tags[c.repo] = c.known
			}
			got, err := w.Tags(t.Context(), question(c.repo))
			said := strings.Join(got.All, " ")
			if status(err) == 404 {
				said = "404"
			}
			if said != c.want {
				t.Errorf("%q, %v, want %q", said, err, c.want)
			}
		})
	}
}

// Nor does it keep back referrers, nor that there are none where somebody could tell.
func TestReferrersWhereASourceHangs(t *testing.T) {
	for name, c := range map[string]struct {
		repo                    string
		known                   string
		harbor, mad1, drp1, hub trial.Answer
		want                    string
	}{
		"Harbor, and a peer has one":                 {demo, "", hangs, index("sig"), index(), hangs, "sig"},
		"a peer, and Harbor has none":                {demo, "", index(), index(), hangs, hangs, ""},
		"a peer, and another has one":                {demo, "", index(), index("sig"), hangs, hangs, "sig"},
		"a peer, and Harbor and the upstream none":   {nginx, "", index(), hangs, index(), index(), ""},
		"the upstream, and Harbor has one":           {nginx, "", index("sig"), hangs, index(), hangs, "sig"},
		"the upstream, and more is remembered":       {nginx, "old", index("sig"), index(), index(), hangs, "sig old"},
		"Harbor, and the upstream has one":           {nginx, "", hangs, hangs, hangs, index("sig"), "sig"},
		"Harbor and the upstream, and a peer has it": {nginx, "", hangs, index("sig"), hangs, hangs, "sig"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.Deadline = 50 * time.Millisecond
			w.harbor.Say(api(c.repo), c.harbor)
			w.mad1.Say(api(c.repo), c.mad1)
			w.drp1.Say(api(c.repo), c.drp1)
			w.hub.Say(api("nginx"), c.hub)
			if c.known != "" {
				w.PutReferrers(c.repo, signed, append(w.remembered.Referrers(c.repo, signed), descriptorOf(c.known)))
			}
			got, err := w.Lists.Referrers(t.Context(), referring(c.repo))
			if said := strings.Join(names(got.All), " "); err != nil || said != c.want || got.Merged != (c.known != "") {
				t.Errorf("%q, merged %t, %v, want %q", said, got.Merged, err, c.want)
			}
		})
	}
}

// A source that is slow, and the only one that has the list, is waited for: others have been
// asked beside it by then, and have none.
func TestASlowListIsWaitedFor(t *testing.T) {
	w := newWorld(t)
	w.Deadline = 50 * time.Millisecond
	slow, send := later(list("v1"))
	w.harbor.Say(path(demo), slow)
	go func() {
		until(t, "the others are not asked", func() bool { return w.mad1.AskedFor("GET "+path(demo))*w.drp1.AskedFor("GET "+path(demo)) > 0 })
		send()
	}()
	if got, err := w.Tags(t.Context(), question(demo)); err != nil || !slices.Equal(got.All, []string{"v1"}) || got.Source != "harbor" {
		t.Errorf("%+v, %v", got, err)
	}
}
