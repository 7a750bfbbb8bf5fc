package follow_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/follow"
	"example.org/breakwater/proxy/version"
)

// What was pushed elsewhere is brought: Harbor's own replication gets some seconds for the
// content, and then it is taken there before the tag.
func TestWhatWasPushedElsewhereIsBrought(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		pass(time.Second)
		d := s.heard("v1", "one")
		pass(13 * time.Second) // five tries
		if all := s.harbor.wrote(); len(all) > 0 {
			t.Errorf("its content may still come by replication, and it wrote %q", all)
		}
		pass(time.Second)
		want := []string{"POST /v2/" + repo + "/blobs/uploads/", "PUT /v2/" + repo + "/blobs/uploads/1", "PUT /v2/" + repo + "/manifests/v1"}
		if all := s.harbor.wrote(); !slices.Equal(all, want) || s.harbor.at("v1") != d {
			t.Errorf("it has %s; wrote %q, want %q", s.harbor.at("v1"), all, want)
		}
		if s.value(t, followed, "brought") != 1 || s.value(t, followed, "") != 1 {
			t.Error("it is not counted as brought")
		}
		d = s.image("two") // replication has brought the content, not the tag
		s.harbor.set(map[string]digest.Digest{d.String(): d})
		s.learn("v1", d, false)
		pass(time.Second)
		if all := s.harbor.wrote(); !slices.Equal(all, want[2:]) || s.harbor.at("v1") != d {
			t.Errorf("the content is there: wrote %q", all)
		}
	})
}

// What is only claimed is not given to Harbor.
func TestAClaimWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		d := s.image("one")
		s.learn("v1", d, true)
		pass(time.Hour / 2)
		if all := s.harbor.wrote(); len(all) > 0 {
			t.Errorf("wrote %q", all)
		}
	})
}

// A tag that something has put back is restored, at longer and longer times between looks.
func TestATagThatIsPutBackIsRestored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		old := s.pushed("v1", "old")
		pass(time.Second)
		d := s.pushed("v1", "new")
		pass(time.Minute)
		s.harbor.wrote()
		s.harbor.set(map[string]digest.Digest{"v1": old})
		pass(time.Minute)
		if s.harbor.at("v1") != d || !slices.Equal(s.harbor.wrote(), []string{"PUT /v2/" + repo + "/manifests/v1"}) || s.value(t, followed, "restored") != 1 {
			t.Errorf("it has %s", s.harbor.at("v1"))
		}
		pass(7 * 24 * time.Hour)
		var last time.Duration
		looks := s.harbor.looks
		for i := len(looks) - 20; i < len(looks)-1; i++ {
			wait := looks[i+1].Sub(looks[i])
			if wait > 6*time.Hour+time.Second || i > 1 && wait+time.Second < last {
				t.Errorf("look %d comes %v after the one before it, that %v after its own", i, wait, last)
			}
			last = wait
		}
		if last < 6*time.Hour || len(looks) > 100 {
			t.Errorf("in the end it looks every %v, %d times in all", last, len(looks))
		}
		s.harbor.set(map[string]digest.Digest{"v1": old})
		s.follower.Lagging(version.Key{Repo: repo, Reference: "v1"}, "sha256:other")
		if pass(time.Second); s.harbor.at("v1") != d {
			t.Error("somebody has seen it, and it is not looked at")
		}
	})
}

func TestWhatWasDeletedElsewhereIsDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		d := s.pushed("v1", "one")
		s.pushed("v2", "one")
		other := s.pushed("v3", "three")
		pass(time.Minute)
		s.harbor.wrote()
		s.learn("v1", "", false)
		pass(time.Second)
		artifacts := "DELETE /api/v2.0/projects/multi-dc-demo/repositories/team%252Fapp/artifacts/"
		if all := s.harbor.wrote(); !slices.Equal(all, []string{artifacts + d.String() + "/tags/v1"}) || s.harbor.at("v1") != "" || s.harbor.at("v2") != d {
			t.Errorf("a tag: %q, it has %v", all, s.harbor.has)
		}
		s.learn(d.String(), "", false)
		pass(time.Minute)
		if all := s.harbor.wrote(); !slices.Equal(all, []string{artifacts + d.String()}) || s.harbor.at("v2") != "" || s.harbor.at("v3") != other {
			t.Errorf("a digest: %q, it has %v", all, s.harbor.has)
		}
		if s.value(t, followed, "deleted") != 2 {
			t.Error("they are not counted")
		}
		s.harbor.set(map[string]digest.Digest{"v1": d, d.String(): d}) // a backup
		pass(24 * time.Hour)
		if s.harbor.at("v1") != "" || s.harbor.at(d.String()) != "" {
			t.Error("what a backup brought back stays")
		}
		s.pushed("v4", "one") // pushed again: no delete any more
		pass(24 * time.Hour)
		if s.harbor.at("v4") != d || s.harbor.at(d.String()) != d {
			t.Error("it was pushed again, and deleted")
		}
	})
}

// Harbor has a push before it has a version. A delete that is older, and that Harbor is just
// given, does not take it.
func TestADeleteDoesNotTakeWhatIsBeingPushed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var pushing atomic.Bool
		s := newSite(t, func(c *follow.Config) { c.Pushing = func(string, digest.Digest) bool { return pushing.Load() } })
		d := s.pushed("v1", "one")
		pass(time.Minute)
		pushing.Store(true)
		s.learn("v1", "", false)
		s.learn(d.String(), "", false)
		pass(time.Minute)
		if s.harbor.at("v1") != d || s.harbor.at(d.String()) != d {
			t.Error("what is being pushed was deleted")
		}
		s.pushed("v1", "one")
		pushing.Store(false)
		pass(time.Hour)
		if s.harbor.at("v1") != d || s.harbor.at(d.String()) != d {
			t.Error("what was pushed was deleted")
		}
		pushing.Store(true)
		s.learn("v1", "", false)
		pass(time.Minute)
		pushing.Store(false) // that push came to nothing
		pass(time.Minute)
		if s.harbor.at("v1") != "" {
			t.Error("a delete is forgotten because something was pushed")
		}
	})
}

// Some refusals are final until the next push; a gauge says so.
func TestARefusalEndsIt(t *testing.T) {
	for status, final := range map[int]bool{http.StatusForbidden: true, http.StatusPreconditionFailed: true, http.StatusInternalServerError: false, http.StatusTooManyRequests: false} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t)
				s.harbor.do(func() { s.harbor.refuses = status })
				s.heard("v1", "one")
				pass(time.Hour / 2)
				n := len(s.harbor.wrote())
				if gave := s.value(t, givenUp, "") == 1; gave != final || final && n != 1 || !final && n < 10 {
					t.Errorf("given up: %v, after %d tries", gave, n)
				}
				s.follower.Lagging(version.Key{Repo: repo, Reference: "v1"}, "sha256:other")
				pass(time.Minute)
				if n := len(s.harbor.wrote()); final && n > 0 {
					t.Errorf("it was given up, and tried %d times more", n)
				}
				s.follower.Removed(version.Key{Repo: repo, Reference: "v1"})
				if n := s.value(t, givenUp, ""); n != 0 {
					t.Errorf("retention has removed it: %v are given up", n)
				}
				s.harbor.do(func() { s.harbor.refuses = 0 })
				d := s.heard("v1", "two")
				pass(time.Minute)
				if s.harbor.at("v1") != d || s.value(t, givenUp, "") != 0 {
					t.Errorf("after the next push it has %s, given up: %v", s.harbor.at("v1"), s.value(t, givenUp, ""))
				}
			})
		})
	}
}

// Something else that writes the tag time and again wins after 20 times.
func TestATagThatIsPutBackTimeAndAgainIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		old := s.pushed("v1", "old")
		pass(time.Second)
		s.harbor.do(func() { s.harbor.putBack = old })
		s.pushed("v1", "new")
		s.harbor.set(map[string]digest.Digest{"v1": old})
		pass(time.Second)
		s.harbor.wrote()
		pass(48 * time.Hour)
		n := len(s.harbor.wrote())
		if n < 15 || n > 21 || s.value(t, givenUp, "") != 1 || s.value(t, followed, "restored") > 21 {
			t.Errorf("it wrote the tag %d times; given up: %v", n, s.value(t, givenUp, ""))
		}
		pass(48 * time.Hour)
		if n := len(s.harbor.wrote()); n > 0 {
			t.Errorf("it was given up, and written %d times more", n)
		}
		s.harbor.do(func() { s.harbor.putBack = "" })
		d := s.pushed("v1", "newest")
		s.harbor.set(map[string]digest.Digest{"v1": old})
		pass(time.Minute)
		if s.harbor.at("v1") != d || s.value(t, givenUp, "") != 0 {
			t.Error("after the next push it is left alone still")
		}
	})
}

// A Harbor that was away may come back as another one: all is looked at.
func TestAfterHarborWasDownAllIsLookedAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		want := map[string]digest.Digest{}
		for i := range 10 {
			tag := fmt.Sprint("v", i)
			want[tag] = s.pushed(tag, tag)
		}
		pass(52 * time.Minute) // the next looks are far away
		s.harbor.do(func() { s.harbor.down = true })
		s.source.Suspect()
		pass(5 * time.Minute)
		s.harbor.do(func() {
			s.harbor.down = false
			clear(s.harbor.has)
			clear(s.harbor.blobs)
			s.harbor.requests = nil
		})
		pass(time.Minute)
		for tag, d := range want {
			if s.harbor.at(tag) != d {
				t.Errorf("%s is %q", tag, s.harbor.at(tag))
			}
		}
	})
}

// What no Harbor has an hour after its push was removed by retention: it is forgotten, and
// not brought back. What another Harbor has is brought, and who cannot say keeps it.
func TestWhatNoHarborHas(t *testing.T) {
	for name, c := range map[string]struct {
		elsewhere     bool
		unsure        error
		age           time.Duration
		kept, brought bool
	}{
		"no Harbor":            {age: 2 * time.Hour},
		"another one":          {age: 2 * time.Hour, elsewhere: true, kept: true, brought: true},
		"who cannot say":       {age: 2 * time.Hour, unsure: errors.New("down"), kept: true},
		"no Harbor, but young": {age: time.Minute, kept: true, brought: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t)
				d := s.pushed("v1", "one")
				pass(c.age)
				s.mu.Lock()
				s.elsewhere, s.unsure = c.elsewhere, c.unsure
				s.mu.Unlock()
				s.harbor.do(func() { clear(s.harbor.has) })
				s.follower.Lagging(version.Key{Repo: repo, Reference: "v1"}, "sha256:other")
				pass(time.Minute)
				r := s.ledger.Get(version.Key{Repo: repo, Reference: "v1"})
				if r.Known() != c.kept || (s.harbor.at("v1") == d) != c.brought {
					t.Errorf("the ledger has %v, Harbor %q", r, s.harbor.at("v1"))
				}
			})
		})
	}
}

// An own push is written by its digest too, for replications that carry content alone.
func TestAnOwnPushIsPublished(t *testing.T) {
	for name, publish := range map[string]bool{"a fleet": true, "one datacenter": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, func(cfg *follow.Config) { cfg.Publish = func() bool { return publish } })
				d := s.pushed("v1", "one")
				pass(24 * time.Hour)
				var want []string
				if publish {
					want = []string{"PUT /v2/" + repo + "/manifests/" + d.String()}
				}
				if all := s.harbor.wrote(); !slices.Equal(all, want) {
					t.Errorf("wrote %q, want %q", all, want)
				}
				d = s.heard("v2", "two")
				pass(time.Hour)
				for _, r := range s.harbor.wrote() {
					if strings.HasSuffix(r, d.String()) {
						t.Errorf("what another edge pushed is published: %s", r)
					}
				}
			})
		})
	}
}

// What Harbor's retention removed, or what is newer at Harbor, is left as it is.
func TestWhatIsLeftToHarbor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.pushed("removed", "one")
		old := s.image("doubted")
		s.pushed("v1", "one")
		pass(time.Minute)
		s.harbor.wrote()
		s.accepts = old
		s.harbor.set(map[string]digest.Digest{"v1": old})
		s.harbor.do(func() { delete(s.harbor.has, "removed") })
		s.follower.Removed(version.Key{Repo: repo, Reference: "removed"})
		pass(24 * time.Hour)
		if all := s.harbor.wrote(); len(all) > 0 || s.harbor.at("v1") != old {
			t.Errorf("wrote %q", all)
		}
		d := s.heard("removed", "two")
		if pass(time.Minute); s.harbor.at("removed") != d {
			t.Error("it was pushed again, and is not brought")
		}
	})
}

// After a restart everything is looked at once.
func TestAfterARestartAllIsLookedAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		old := s.pushed("v1", "old")
		d := s.pushed("v1", "one")
		pass(24 * time.Hour)
		s.harbor.set(map[string]digest.Digest{"v1": old})
		newSite(t, func(cfg *follow.Config) { cfg.Ledger, cfg.Harbor, cfg.Content = s.ledger, s.source, s.from })
		pass(time.Second)
		if s.harbor.at("v1") != d {
			t.Errorf("it has %s", s.harbor.at("v1"))
		}
	})
}
