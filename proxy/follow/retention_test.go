package follow_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/version"
)

// What retention removed is not brought back, and something older that comes under the tag is
// set right all the same.
func TestWhatComesInPlaceOfWhatRetentionRemovedIsSetRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		old := s.pushed("v1", "old")
		d := s.pushed("v1", "new")
		pass(time.Minute)
		s.harbor.do(func() { delete(s.harbor.has, "v1") })
		s.follower.Removed(version.Key{Repo: repo, Reference: "v1"})
		s.harbor.wrote()
		pass(24 * time.Hour)
		if all := s.harbor.wrote(); len(all) > 0 {
			t.Errorf("what retention removed: wrote %q", all)
		}
		s.harbor.set(map[string]digest.Digest{"v1": old, old.String(): old})
		s.follower.Lagging(version.Key{Repo: repo, Reference: "v1"}, "sha256:other")
		if pass(time.Minute); s.harbor.at("v1") != d {
			t.Errorf("Harbor has %s under the tag, which is older", s.harbor.at("v1"))
		}
	})
}

// Word of retention counts as well while a look at the tag is due, as after an outage of Harbor.
func TestWhatRetentionRemovesBeforeALookIsNotBroughtBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.pushed("v1", "one")
		pass(time.Minute)
		s.harbor.wrote()
		s.harbor.do(func() { delete(s.harbor.has, "v1") })
		s.follower.Lagging(version.Key{Repo: repo, Reference: "v1"}, "")
		s.follower.Removed(version.Key{Repo: repo, Reference: "v1"})
		pass(24 * time.Hour)
		if all := s.harbor.wrote(); len(all) > 0 {
			t.Errorf("wrote %q", all)
		}
	})
}

// Harbor tells that its retention removed a manifest, while it lacks a tag of it that it could
// not be given yet: a rebuilt one is filled again.
func TestRetentionTakesNoTagThatHarborWasNotGivenYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.harbor.do(func() { s.harbor.down = true })
		d := s.heard("v1", "one")
		pass(10 * time.Second)
		s.follower.Removed(version.Key{Repo: repo, Reference: "v1"})
		s.harbor.do(func() { s.harbor.down = false })
		if pass(time.Minute); s.harbor.at("v1") != d {
			t.Errorf("Harbor has %q", s.harbor.at("v1"))
		}
	})
}
