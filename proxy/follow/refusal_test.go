package follow_test

import (
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"example.org/breakwater/proxy/follow"
	"example.org/breakwater/proxy/version"
)

// Quota, immutable tags and missing rights end it until the next push; what passes by
// itself is tried again.
func TestWhichRefusalsEndIt(t *testing.T) {
	for status, final := range map[int]bool{
		http.StatusForbidden: true, http.StatusPreconditionFailed: true, http.StatusMethodNotAllowed: true, http.StatusRequestEntityTooLarge: true,
		http.StatusUnauthorized: false, http.StatusNotFound: false, http.StatusBadRequest: false, http.StatusTooManyRequests: false, http.StatusInternalServerError: false,
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t)
			s.harbor.do(func() { s.harbor.refuses = status })
			d := s.heard("v1", "one")
			pass(2 * time.Minute)
			if got := s.value(t, givenUp, "") == 1; got != final {
				t.Errorf("%d: given up %t", status, got)
			}
			s.harbor.do(func() { s.harbor.refuses = 0 })
			pass(5 * time.Minute)
			if got := s.harbor.at("v1") == d; got == final {
				t.Errorf("%d: Harbor has it when it takes it again: %t", status, got)
			}
		})
	}
}

// A 401 is final where it says what is missing; without that Harbor's database is down.
func TestAMissingPermissionEndsIt(t *testing.T) {
	for challenge, final := range map[string]bool{`Bearer realm="http://harbor/service/token"`: true, "": false} {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t)
			s.harbor.do(func() {
				s.harbor.says = map[string]said{"POST /v2/" + repo + "/blobs/uploads/": {status: http.StatusUnauthorized, header: http.Header{"Www-Authenticate": {challenge}}}}
			})
			s.heard("v1", "one")
			pass(2 * time.Minute)
			if got := s.value(t, givenUp, "") == 1; got != final {
				t.Errorf("%q: given up %t", challenge, got)
			}
		})
	}
}

// A look goes on past a repo that went meanwhile, and no further than where Harbor errs.
func TestALookPastARepoThatIsGone(t *testing.T) {
	const other = repositories + "/gone/artifacts?page=1&page_size=100&with_tag=true"
	for name, c := range map[string]struct {
		first string // what Harbor says of the first repo: "404", or an error
		asked bool   // for the second
	}{"gone": {"404", true}, "an error": {"", false}, "empty": {"[]", true}} {
		synctest.Test(t, func(t *testing.T) {
			var adopted adoptions
			s := adopting(t, true, &adopted)
			pass(time.Second)
			s.harbor.do(func() {
				s.harbor.lists = map[string]string{
					repositories + "?page=1&page_size=100":            asJSON([]map[string]string{{"name": "multi-dc-demo/gone"}, {"name": "elsewhere/app"}, {"name": "multi-dc-demo/Wrong"}, {"name": repo}}),
					artifacts + "?page=1&page_size=100&with_tag=true": "[]",
				}
				if c.first != "404" {
					s.harbor.lists[other] = c.first
				}
			})
			pass(61 * time.Minute)
			want := []string{"GET " + repositories, "GET " + repositories + "/gone/artifacts"}
			if c.asked {
				want = append(want, "GET "+artifacts)
			}
			if all := s.harbor.wrote(); !slices.Equal(all, want) {
				t.Errorf("%s: asked for are %q", name, all)
			}
		})
	}
}

// What is asked of Harbor's API cannot be had where it errs or sends something else.
func TestWhatHarborsAPIDoesNotSay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		at := artifacts + "/v1?with_tag=true"
		for name, list := range map[string]string{"an error": "", "no JSON": "<html>", "no digest": "{}", "another digest": `{"digest":"sha256:short"}`} {
			s.harbor.do(func() { s.harbor.lists = map[string]string{at: list} })
			if d, _, err := s.follower.Tags(t.Context(), repo, "v1"); err == nil {
				t.Errorf("%s: %s", name, d)
			}
		}
		s.harbor.do(func() { s.harbor.down = true })
		if _, err := s.follower.Has(t.Context(), repo, "v1"); err == nil {
			t.Error("a Harbor that is down has it")
		}
		if _, _, err := s.follower.Tags(t.Context(), repo, "v1"); err == nil {
			t.Error("a Harbor that is down has tags")
		}
	})
}

// What has been forgotten is followed no more, and what is settled is looked at seldom.
func TestHowOftenIsLooked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, func(c *follow.Config) { c.Publish = func() bool { return false } })
		s.pushed("v1", "one")
		pass(24 * time.Hour)
		s.harbor.do(func() {
			looks := s.harbor.looks
			if len(looks) < 10 {
				t.Fatalf("%d looks in a day", len(looks))
			}
			for i := 2; i < len(looks); i++ {
				before, after := looks[i-1].Sub(looks[i-2]), looks[i].Sub(looks[i-1])
				if after < min(before*14/10, 6*time.Hour) || after > 6*time.Hour+time.Second || after > before*16/10+time.Second {
					t.Errorf("%v after the one before, and %v after that", before, after)
				}
			}
			if first := looks[1].Sub(looks[0]); first < time.Second || first > 1100*time.Millisecond {
				t.Errorf("the second look is after %v", first)
			}
			s.harbor.looks = nil
		})
		s.ledger.Retire(version.Key{Repo: repo, Reference: "v1"}, s.ledger.Get(version.Key{Repo: repo, Reference: "v1"}).Version)
		pass(24 * time.Hour)
		s.harbor.do(func() {
			if len(s.harbor.looks) > 1 {
				t.Errorf("what is forgotten is looked at %d times", len(s.harbor.looks))
			}
		})
	})
}

// What was given up stays so when Harbor comes back; the next push begins anew.
func TestWhatWasGivenUpStaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.harbor.do(func() { s.harbor.refuses = http.StatusForbidden })
		s.heard("v1", "one")
		pass(time.Minute)
		if s.value(t, givenUp, "") != 1 {
			t.Fatal("it is not given up")
		}
		s.harbor.do(func() { s.harbor.down, s.harbor.refuses = true, 0 })
		s.source.Suspect()
		pass(5 * time.Second)
		s.harbor.do(func() { s.harbor.down = false })
		pass(10 * time.Minute)
		if got := s.harbor.at("v1"); got != "" || s.value(t, givenUp, "") != 1 {
			t.Errorf("Harbor has %s", got)
		}
		d := s.heard("v1", "two")
		pass(time.Minute)
		if got := s.harbor.at("v1"); got != d || s.value(t, givenUp, "") != 0 {
			t.Errorf("Harbor has %q after the next push", got)
		}
	})
}

// What is retired while it waits to be followed is left alone.
func TestWhatIsRetiredIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.heard("v1", "one")
		key := version.Key{Repo: repo, Reference: "v1"}
		s.ledger.Retire(key, s.ledger.Get(key).Version)
		pass(time.Hour)
		if all := s.harbor.wrote(); len(all) > 0 {
			t.Errorf("wrote %q", all)
		}
	})
}
