package follow_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/follow"
	"example.org/breakwater/proxy/version"
)

// What Harbor has under a tag is what it says; where its policy forbids the pull, or it leaves
// the digest out, its API says it. Nothing but a registry's own 404 is a no.
func TestWhatHarborHasUnderATag(t *testing.T) {
	d := digest.FromString("one")
	with := func(value string) http.Header { return http.Header{"Docker-Content-Digest": {value}} }
	for name, c := range map[string]struct {
		head   said
		get    *said // nil: it is not asked so
		listed string
		want   digest.Digest
		fails  bool
	}{
		"a digest":                            {said{status: 200, header: with(d.String())}, nil, "", d, false},
		"no digest":                           {said{status: 200}, nil, d.String(), d, false},
		"a digest that is none":               {said{status: 200, header: with("sha256:short")}, nil, d.String(), d, false},
		"no digest anywhere":                  {said{status: 200}, nil, "", "", true},
		"forbidden by its policy":             {said{status: 412, header: with(d.String())}, nil, "", d, false},
		"the same, and no digest":             {said{status: 412}, nil, d.String(), d, false},
		"nothing":                             {said{status: 404}, nil, d.String(), "", false},
		"an ingress' 404":                     {said{status: 404, body: "<html>"}, nil, d.String(), "", true},
		"401":                                 {said{status: 401}, nil, d.String(), "", true},
		"403":                                 {said{status: 403}, nil, d.String(), "", true},
		"429":                                 {said{status: 429}, nil, d.String(), "", true},
		"500":                                 {said{status: 500}, nil, d.String(), "", true},
		"a method that is not known":          {said{status: 405}, &said{status: 200, header: with(d.String())}, "", d, false},
		"a method that is not implemented":    {said{status: 501}, &said{status: 200, header: with(d.String())}, "", d, false},
		"the same, and no digest to GET":      {said{status: 501}, &said{status: 200}, d.String(), d, false},
		"the same, and nothing is there":      {said{status: 501}, &said{status: 404}, d.String(), "", false},
		"the same, and an ingress' 404":       {said{status: 501}, &said{status: 404, body: "<html>"}, d.String(), "", true},
		"a bad request, and a digest to GET":  {said{status: 400}, &said{status: 200, header: with(d.String())}, "", d, false},
		"forbidden, and a digest to GET":      {said{status: 403}, &said{status: 200, header: with(d.String())}, "", d, false},
		"a page's 404, and a digest to GET":   {said{status: 404, body: "<html>"}, &said{status: 200, header: with(d.String())}, "", d, false},
		"429, whatever a GET would say":       {said{status: 429}, &said{status: 200, header: with(d.String())}, d.String(), "", true},
		"an outage, whatever a GET would say": {said{status: 503}, &said{status: 200, header: with(d.String())}, d.String(), "", true},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t)
			s.harbor.do(func() {
				s.harbor.says = map[string]said{"HEAD /v2/" + repo + "/manifests/v1": c.head, "GET /v2/" + repo + "/manifests/v1": {status: 500}}
				if c.get != nil {
					s.harbor.says["GET /v2/"+repo+"/manifests/v1"] = *c.get
				}
				if c.listed != "" {
					s.harbor.lists = map[string]string{artifacts + "/v1?with_tag=true": asJSON(artifact{Digest: c.listed})}
				}
			})
			if got, err := s.follower.Has(t.Context(), repo, "v1"); got != c.want || (err != nil) != c.fails {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		})
	}
}

// A Harbor that does not answer for a quarter of a minute is probed, and given up when it does
// not answer that either.
func TestAHarborThatHangsIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.harbor.do(func() { s.harbor.takes = time.Hour })
		begun := time.Now()
		if _, err := s.follower.Has(t.Context(), repo, "v1"); err == nil || time.Since(begun) != 16*time.Second { // a probe has a second
			t.Errorf("after %v: %v", time.Since(begun), err)
		}
		if pass(5 * time.Second); s.source.Usable() {
			t.Error("it is not suspected")
		}
	})
}

// What the clock of a Harbor said that gives no prompt answer is told in this edge's own all the
// same, from its fastest one.
func TestATimeOfASlowHarborsClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ahead = -5 * time.Minute
		s := newSite(t)
		fastest := time.Hour
		for _, takes := range []time.Duration{5 * time.Second, 3 * time.Second, 4 * time.Second} {
			s.harbor.do(func() { s.harbor.ahead, s.harbor.takes = ahead, takes })
			fastest = min(fastest, takes)
			if _, err := s.follower.Has(t.Context(), repo, "v1"); err != nil {
				t.Fatal(err)
			}
			now := time.Now()
			if early := now.Sub(s.follower.Here(now.Add(ahead))); early < 0 || early > fastest+time.Second {
				t.Errorf("an answer took %v: %v too early", takes, early)
			}
		}
	})
}

// What Harbor's clock said is told in this edge's own, no later and two seconds earlier at most.
func TestATimeOfHarborsClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		for _, ahead := range []time.Duration{2 * time.Hour, -2 * time.Hour, 1500 * time.Millisecond} {
			s.harbor.do(func() { s.harbor.ahead = ahead })
			if _, err := s.follower.Has(t.Context(), repo, "v1"); err != nil {
				t.Fatal(err)
			}
			pass(300 * time.Millisecond)
			s.harbor.do(func() { s.harbor.ahead, s.harbor.takes = 100*time.Hour, 2*time.Second })
			if _, err := s.follower.Has(t.Context(), repo, "v1"); err != nil { // a slow answer says nothing
				t.Fatal(err)
			}
			s.harbor.do(func() { s.harbor.takes = 0 })
			now := time.Now()
			if early := now.Sub(s.follower.Here(now.Add(ahead))); early < 0 || early > 2*time.Second {
				t.Errorf("ahead by %v: %v too early", ahead, early)
			}
		}
		if at := s.follower.Here(time.Time{}); !at.IsZero() {
			t.Errorf("no time is %v", at)
		}
	})
}

// What Harbor answers to a delete: what is not there is deleted; a digest that an index names
// which was deleted too is deleted after that; other refusals end it, and errors do not.
func TestHowADeleteIsAnswered(t *testing.T) {
	one, index, other := digest.FromString("one"), digest.FromString("index"), digest.FromString("other")
	names := func(parent digest.Digest, parts ...digest.Digest) string {
		var all []string
		for _, d := range parts {
			all = append(all, fmt.Sprintf(`{"child_digest":%q}`, d))
		}
		return fmt.Sprintf(`{"digest":%q,"references":[%s]}`, parent, strings.Join(all, ","))
	}
	for name, c := range map[string]struct {
		status     int
		artifacts  string // that Harbor lists; "": it errs
		tag        bool
		abandoned  bool
		again      bool // it is tried again
		takesIndex bool
	}{
		"it is done":                         {200, "[]", false, false, false, false},
		"it is not there":                    {404, "[]", false, false, true, false}, // what is looked at next time
		"an index names it, that is deleted": {412, "[" + names(other, other) + "," + names(index, other, one) + "," + names(index, one) + "]", false, false, true, true},
		"an index names it":                  {412, "[" + names(index, one) + "," + names(other, one) + "]", false, true, false, false},
		"another names another":              {412, "[" + names(index, other) + "]", false, true, false, false},
		"nothing names it":                   {412, "[]", false, true, false, false},
		"nobody can say what names it":       {412, "", false, true, false, false},
		"a tag that is immutable":            {412, "[" + names(index, one) + "]", true, true, false, false},
		"no permission":                      {403, "[" + names(index, one) + "]", false, true, false, false},
		"an error":                           {500, "[]", false, false, true, false},
		"a limiter":                          {429, "[]", false, false, true, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t)
			pass(time.Second)
			s.learn(index.String(), "", false)
			pass(time.Minute)
			s.harbor.set(map[string]digest.Digest{one.String(): one, "v1": one})
			path := "DELETE " + artifacts + "/" + one.String()
			key := version.Buried(repo, one)
			if c.tag {
				path, key = path+"/tags/v1", version.Key{Repo: repo, Reference: "v1"}
			}
			s.harbor.do(func() {
				s.harbor.lists = map[string]string{artifacts + "?page=1&page_size=100": c.artifacts}
				if c.status != 200 {
					s.harbor.says = map[string]said{path: {status: c.status}}
				}
			})
			s.learn(key.Reference, "", false)
			pass(time.Minute)
			all := s.harbor.wrote()
			tries := 0
			for _, r := range all {
				if r == path {
					tries++
				}
			}
			if got := s.value(t, givenUp, "") == 1; got != c.abandoned || tries > 1 != c.again || tries == 0 {
				t.Errorf("%s: given up %t, after %d tries", name, got, tries)
			}
			if got := slices.Contains(all, "DELETE "+artifacts+"/"+index.String()); got != c.takesIndex {
				t.Errorf("%s: the index is deleted: %t", name, got)
			}
			s.harbor.do(func() { s.harbor.says = nil })
			if pass(time.Minute); (s.harbor.at(one.String()) == "") == c.abandoned && !c.tag {
				t.Errorf("%s: in the end it is there: %s", name, s.harbor.at(one.String()))
			}
		})
	}
}

// What is deleted and comes back time and again is left alone after twenty times.
func TestADeleteThatIsUndoneTimeAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		pass(time.Second)
		d := s.image("one")
		s.harbor.set(map[string]digest.Digest{"v1": d})
		s.harbor.do(func() {
			s.harbor.says = map[string]said{"DELETE " + artifacts + "/" + d.String() + "/tags/v1": {status: http.StatusOK}} // and it is there still
		})
		s.learn("v1", "", false)
		pass(time.Hour)
		if n := len(s.harbor.wrote()); n != 21 || s.value(t, givenUp, "") != 1 {
			t.Errorf("it was deleted %d times; given up: %v", n, s.value(t, givenUp, ""))
		}
	})
}

// What an edge has pushed is offered until Harbor has taken it, and once; what is deleted
// again at once is not.
func TestAPublicationIsTriedUntilItIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		pass(time.Second)
		d := s.image("one")
		path := "PUT /v2/" + repo + "/manifests/" + d.String()
		s.harbor.do(func() { s.harbor.says = map[string]said{path: {status: http.StatusInternalServerError}} })
		s.pushed("v1", "one")
		pass(time.Second - 1)
		if all := s.harbor.wrote(); len(all) > 0 {
			t.Errorf("before a second has passed: %q", all)
		}
		pass(10 * time.Second)
		if n := len(s.harbor.wrote()); n < 3 {
			t.Errorf("it was tried %d times", n)
		}
		s.harbor.do(func() { s.harbor.says = nil })
		pass(24 * time.Hour)
		if all := s.harbor.wrote(); !slices.Equal(all, []string{path}) {
			t.Errorf("when it is taken: %q", all)
		}
		read := func(err error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.unread = err
		}
		read(errors.New("nobody can say"))
		d = s.pushed("v3", "three")
		if pass(time.Minute); s.harbor.at("v3") != d || len(s.harbor.wrote()) > 0 {
			t.Error("what cannot be read is written")
		}
		read(nil)
		pass(time.Minute)
		if all := s.harbor.wrote(); !slices.Equal(all, []string{"PUT /v2/" + repo + "/manifests/" + d.String()}) {
			t.Errorf("when it can be read: %q", all)
		}
		s.pushed("v2", "two")
		pass(time.Second / 2)
		s.ledger.Delete(version.Key{Repo: repo, Reference: "v2"}, s.ledger.Begin(repo, "").Version)
		pass(time.Hour)
		if slices.ContainsFunc(s.harbor.wrote(), func(r string) bool { return strings.HasPrefix(r, "PUT") }) {
			t.Error("what was deleted at once is published")
		}
	})
}

// While other edges are not heard of, what Harbor has and nobody knows gets half a minute: one
// of them may know it.
func TestAnEdgeThatIsAloneHasMorePatience(t *testing.T) {
	for complete, want := range map[bool]time.Duration{true: 10 * time.Second, false: 30 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t, func(c *follow.Config) { c.Complete = func() bool { return complete } })
			pass(time.Second)
			d := s.heard("v1", "one")
			strange := s.image("strange")
			s.harbor.set(map[string]digest.Digest{"v1": strange, d.String(): d})
			pass(want - 1)
			if got := s.harbor.at("v1"); got != strange {
				t.Errorf("complete %t: it is not met with patience", complete)
			}
			pass(want)
			if got := s.harbor.at("v1"); got != d {
				t.Errorf("complete %t: it has %s", complete, got)
			}
		})
	}
}
