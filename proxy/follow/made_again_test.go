package follow_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/follow"
	"example.org/breakwater/proxy/version"
)

// What Harbor lacks may be of a project that was deleted and made again, which nobody has
// noticed: before Harbor is given content, and before it is given the tag, the edge looks.
// Nor is it given what its retention has removed in the meantime.
func TestNothingIsGivenToAnotherProject(t *testing.T) {
	for name, c := range map[string]struct {
		look   int // at which it ends
		ends   func(s *site, key version.Key)
		blobs  bool
		wanted int // manifests
	}{
		"made again, before content":           {1, func(s *site, key version.Key) { s.ledger.Retire(key, s.ledger.Get(key).Version) }, false, 0},
		"made again, while content is carried": {2, func(s *site, key version.Key) { s.ledger.Retire(key, s.ledger.Get(key).Version) }, true, 0},
		"removed by retention meanwhile":       {2, func(s *site, key version.Key) { s.follower.Removed(key) }, true, 0},
		"nobody says which project it is":      {-1, nil, false, 0},
		"nothing of that":                      {0, nil, true, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				key, looks := version.Key{Repo: repo, Reference: "v1"}, 0
				var s *site
				s = newSite(t, func(cfg *follow.Config) {
					cfg.Look = func(context.Context, string) bool {
						if looks++; looks == c.look {
							c.ends(s, key)
						}
						return c.look >= 0
					}
				})
				pass(time.Second)
				s.heard("v1", "one")
				pass(time.Minute)
				blobs, manifests := false, 0
				for _, request := range s.harbor.wrote() {
					blobs = blobs || request == "PUT /v2/"+repo+"/blobs/uploads/1"
					if request == "PUT /v2/"+repo+"/manifests/v1" {
						manifests++
					}
				}
				if blobs != c.blobs || manifests != c.wanted {
					t.Errorf("content is given %v, the tag %d times", blobs, manifests)
				}
			})
		})
	}
}

// A project may be made again between the last look at it and the write: what was given to it is
// taken back.
func TestWhatAnotherProjectWasGivenIsTakenBack(t *testing.T) {
	for name, c := range map[string]struct {
		again bool
		then  string // pushed into the new project at once
	}{"made again": {true, ""}, "made again, and pushed to": {true, "two"}, "the same": {false, ""}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				key, lost := version.Key{Repo: repo, Reference: "v1"}, false
				var s *site
				s = newSite(t, func(cfg *follow.Config) {
					cfg.Look = func(context.Context, string) bool {
						if lost && s.harbor.at("v1") != "" && c.again {
							s.ledger.Retire(key, s.ledger.Get(key).Version)
							if c.then != "" {
								s.harbor.set(map[string]digest.Digest{"v1": s.image(c.then)})
							}
						}
						return true
					}
				})
				pass(time.Second)
				want := s.pushed("v1", "one")
				pass(time.Minute)
				s.harbor.do(func() { delete(s.harbor.has, "v1") })
				lost = true
				s.follower.Lagging(key, "")
				switch pass(time.Hour); {
				case c.then != "":
					want = s.image(c.then)
				case c.again:
					want = ""
				}
				if got := s.harbor.at("v1"); got != want {
					t.Errorf("Harbor has %q, want %q; written: %q", got, want, s.harbor.wrote())
				}
			})
		})
	}
}
