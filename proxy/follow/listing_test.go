package follow_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/follow"
	"example.org/breakwater/proxy/version"
)

const (
	repositories = "/api/v2.0/projects/multi-dc-demo/repositories"
	artifacts    = repositories + "/team%252Fapp/artifacts"
)

// artifact is one as Harbor's API lists it: its digest, and when it and its tags were
// pushed.
type artifact struct {
	Digest string    `json:"digest"`
	Pushed time.Time `json:"push_time"`
	Tags   []tag     `json:"tags"`
}

type tag struct {
	Name   string    `json:"name"`
	Pushed time.Time `json:"push_time"`
}

func asJSON(v any) string {
	text, _ := json.Marshal(v)
	return string(text)
}

// lists has Harbor's API list the repo's artifacts.
func (h *harbor) listsArtifacts(all ...artifact) {
	h.do(func() {
		h.lists = map[string]string{
			repositories + "?page=1&page_size=100":            asJSON([]map[string]string{{"name": repo}, {"name": "multi-dc-demo/Wrong"}, {"name": "elsewhere/app"}}),
			artifacts + "?page=1&page_size=100&with_tag=true": asJSON(all),
			artifacts + "?page=1&page_size=100":               asJSON(all),
		}
		for _, a := range all {
			h.lists[artifacts+"/"+a.Digest+"?with_tag=true"] = asJSON(a)
			for _, tag := range a.Tags {
				h.lists[artifacts+"/"+tag.Name+"?with_tag=true"] = asJSON(a)
			}
		}
	})
}

// adoptions are what was found to be news.
type adoptions struct {
	mu  sync.Mutex
	all []string
}

func (a *adoptions) list() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.all)
}

// adopting is a site whose project is looked through, and what was adopted.
func adopting(t *testing.T, owns bool, adopted *adoptions) *site {
	return newSite(t, func(c *follow.Config) {
		c.Projects = func() []string { return []string{"multi-dc-demo"} }
		c.OwnsTags = func(project string) bool { return owns && project == "multi-dc-demo" }
		c.Adopt = func(_ context.Context, key version.Key, d digest.Digest) error {
			adopted.mu.Lock()
			defer adopted.mu.Unlock()
			adopted.all = append(adopted.all, key.Repo+":"+key.Reference+" "+d.String())
			return errors.New("it is said again at the next look")
		}
	})
}

// Once an hour Harbor is looked through for what nobody told of.
func TestOnceAnHourHarborIsLookedThrough(t *testing.T) {
	const news, put = "news", "put back"
	for name, c := range map[string]struct {
		owns bool
		// what Harbor has under v1 half an hour later: another digest, with these times; nil
		// is what it had
		has  func(pushed time.Time) *artifact
		want string // news, put or nothing
	}{
		"a push past the edges":                 {true, func(at time.Time) *artifact { return &artifact{Pushed: at, Tags: []tag{{"v1", at}}} }, news},
		"where replications put tags":           {false, func(at time.Time) *artifact { return &artifact{Pushed: at, Tags: []tag{{"v1", at}}} }, put},
		"a tag that was put before the version": {true, func(at time.Time) *artifact { return &artifact{Pushed: at, Tags: []tag{{"v1", at.Add(-time.Hour)}}} }, put},
		"a manifest from before the version":    {true, func(at time.Time) *artifact { return &artifact{Pushed: at.Add(-time.Hour), Tags: []tag{{"v1", at}}} }, put},
		"another tag's time": {true, func(at time.Time) *artifact {
			return &artifact{Pushed: at, Tags: []tag{{"v0", at}, {"v1", at.Add(-time.Hour)}}}
		}, put},
		"no news": {true, func(time.Time) *artifact { return nil }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var adopted adoptions
				s := adopting(t, c.owns, &adopted)
				pass(2 * time.Hour) // the clock is ahead of all times
				d := s.pushed("v1", "one")
				other := s.image("other")
				pass(30 * time.Minute)
				s.harbor.wrote()
				listed := artifact{Digest: d.String(), Pushed: time.Now(), Tags: []tag{{"v1", time.Now()}}}
				if a := c.has(time.Now()); a != nil {
					listed = *a
					listed.Digest = other.String()
					s.harbor.set(map[string]digest.Digest{"v1": other, other.String(): other})
				}
				s.harbor.listsArtifacts(listed, artifact{Digest: "sha256:short", Tags: []tag{{"v7", time.Now()}}}, artifact{Digest: d.String(), Tags: []tag{{"not a tag", time.Now()}}})
				pass(40 * time.Minute)
				isNews := slices.Contains(adopted.list(), repo+":v1 "+other.String())
				isPut := s.harbor.at("v1") == d && slices.ContainsFunc(s.harbor.wrote(), func(r string) bool { return strings.HasSuffix(r, "/manifests/v1") })
				if isNews != (c.want == news) || isPut != (c.want == put) {
					t.Errorf("news %t (%q), put back %t; want %q", isNews, adopted.list(), isPut, c.want)
				}
			})
		})
	}
}

// What had no version is what Harbor says, but for what was put since the last look.
func TestWhatHadNoVersionIsNewsWhenItIsPut(t *testing.T) {
	for _, owns := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			var adopted adoptions
			s := adopting(t, owns, &adopted)
			d := s.image("one")
			pass(30 * time.Minute)
			s.harbor.listsArtifacts(artifact{Digest: d.String(), Pushed: time.Now(), Tags: []tag{{"v1", time.Now()}}})
			pass(time.Hour)
			if len(adopted.list()) > 0 {
				t.Errorf("at the first look: %q", adopted.list())
			}
			pass(time.Hour)
			if len(adopted.list()) > 0 {
				t.Errorf("it was there at the last look: %q", adopted.list())
			}
			s.harbor.listsArtifacts(artifact{Digest: d.String(), Pushed: time.Now(), Tags: []tag{{"v1", time.Now()}}})
			pass(time.Hour)
			if want := []string{repo + ":v1 " + d.String()}; owns != slices.Equal(adopted.list(), want) {
				t.Errorf("owns %t: %q", owns, adopted.list())
			}
		})
	}
}

// Lists are read to their end, and an error of Harbor's ends a look, not the looks.
func TestALookReadsEveryPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var adopted adoptions
		s := adopting(t, true, &adopted)
		page := func(from, to int) string {
			var all []artifact
			for i := from; i < to; i++ {
				all = append(all, artifact{Digest: digest.FromString(fmt.Sprint(i)).String()})
			}
			return asJSON(all)
		}
		at := func(n int) string { return fmt.Sprintf("%s?page=%d&page_size=100", artifacts, n) }
		s.harbor.do(func() {
			s.harbor.lists = map[string]string{at(1): page(0, 100), at(2): page(100, 200), at(3): page(200, 201)}
		})
		if all := s.follower.Digests(t.Context(), repo); len(all) != 201 || all[200] != digest.FromString("200") {
			t.Errorf("%d digests", len(all))
		}
		s.harbor.do(func() { s.harbor.lists[at(3)] = page(0, 0) })
		if all := s.follower.Digests(t.Context(), repo); len(all) != 200 {
			t.Errorf("%d digests", len(all))
		}
		s.harbor.do(func() { delete(s.harbor.lists, at(2)) }) // the repo went meanwhile
		if all := s.follower.Digests(t.Context(), repo); len(all) != 100 {
			t.Errorf("%d digests", len(all))
		}
		s.harbor.do(func() { s.harbor.lists[at(2)] = ""; s.harbor.requests = nil })
		if all := s.follower.Digests(t.Context(), repo); len(all) != 100 || len(s.harbor.wrote()) != 2 {
			t.Errorf("%d digests", len(all))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if all := s.follower.Digests(ctx, repo); len(all) != 0 || len(s.harbor.wrote()) != 0 {
			t.Errorf("who is gone is given %d digests", len(all))
		}
		s.harbor.do(func() { s.harbor.lists = map[string]string{repositories + "?page=1&page_size=100": ""} })
		pass(61 * time.Minute)
		d := s.image("one")
		s.harbor.listsArtifacts(artifact{Digest: d.String(), Pushed: time.Now(), Tags: []tag{{"v1", time.Now()}}})
		pass(time.Hour)
		if len(adopted.list()) != 1 {
			t.Errorf("the look after one that failed: %q", adopted.list())
		}
	})
}

// An artifact's digest and its tags, as Harbor's API has them.
func TestTheTagsOfAnArtifact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		d := digest.FromString("one")
		s.harbor.listsArtifacts(artifact{Digest: d.String(), Tags: []tag{{Name: "v1"}, {Name: "not a tag"}, {Name: "v2"}}}, artifact{Digest: "short", Tags: []tag{{Name: "bad"}}})
		if got, tags, err := s.follower.Tags(t.Context(), repo, "v1"); err != nil || got != d || !slices.Equal(tags, []string{"v1", "v2"}) {
			t.Errorf("%s, %q, %v", got, tags, err)
		}
		for _, reference := range []string{"v3", "bad"} {
			if _, _, err := s.follower.Tags(t.Context(), repo, reference); err == nil {
				t.Errorf("%s: it is somewhere", reference)
			}
		}
	})
}

// What Harbor has that nobody knows is met with some patience: its webhook may be on its
// way. Where no replication puts tags, its own times say then whether it is news.
func TestWhatNobodyKnowsIsMetWithPatience(t *testing.T) {
	for name, c := range map[string]struct {
		owns    bool
		pushed  time.Duration // after the version
		adopted bool
		unsaid  bool // its API errs
	}{
		"a push past the edges":       {true, time.Minute, true, false},
		"what was there before":       {true, -time.Minute, false, false},
		"where replications put tags": {false, time.Minute, false, false},
		"nobody says when":            {true, time.Minute, false, true},
	} {
		for _, deleted := range []string{"", "the tag", "its digest"} {
			t.Run(name+" "+deleted, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var adopted adoptions
					s := adopting(t, c.owns, &adopted)
					pass(time.Hour + time.Minute)
					d := s.heard("v1", "one")
					want := d
					if pass(time.Second); deleted != "" {
						want = ""
						pass(2 * time.Minute) // the delete is what counts
						s.learn(map[string]string{"the tag": "v1", "its digest": d.String()}[deleted], "", false)
					}
					strange := s.image("strange")
					s.harbor.set(map[string]digest.Digest{"v1": strange, strange.String(): strange, d.String(): want})
					at := time.Now().Add(c.pushed)
					s.harbor.listsArtifacts(artifact{Digest: strange.String(), Pushed: at, Tags: []tag{{"v0", at.Add(-time.Hour)}, {"v1", at}}})
					if c.unsaid {
						s.harbor.do(func() { s.harbor.lists[artifacts+"/"+strange.String()+"?with_tag=true"] = "" })
					}
					pass(9 * time.Second)
					if s.harbor.at("v1") != strange || len(adopted.list()) > 0 {
						t.Error("it is not waited for")
					}
					pass(50 * time.Second)
					if got := len(adopted.list()) > 0; got != c.adopted || (s.harbor.at("v1") == want) == (c.adopted || c.unsaid) {
						t.Errorf("adopted %q, Harbor has %s", adopted.list(), s.harbor.at("v1"))
					}
				})
			})
		}
	}
}

// What was deleted and is in Harbor again may have been pushed past the edges: its webhook is
// waited for, each time, before it is deleted again.
func TestWhatIsThereAgainIsMetWithPatience(t *testing.T) {
	for _, byTag := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t)
			d := s.pushed("v1", "one")
			reference := d.String()
			if byTag {
				reference = "v1"
			}
			pass(time.Minute)
			s.learn(reference, "", false)
			pass(3 * time.Second)
			if has := s.harbor.at(reference); has != "" {
				t.Errorf("Harbor has %s, which is deleted at once", has)
			}
			for range 2 {
				s.harbor.set(map[string]digest.Digest{reference: d, d.String(): d})
				s.follower.Lagging(version.Key{Repo: repo, Reference: reference}, d)
				if pass(9 * time.Second); s.harbor.at(reference) != d {
					t.Error("it is not waited for")
				}
				if pass(30 * time.Second); s.harbor.at(reference) != "" {
					t.Error("it stays")
				}
			}
		})
	}
}
