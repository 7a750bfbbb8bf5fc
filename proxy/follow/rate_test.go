package follow_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/follow"
	"example.org/breakwater/proxy/version"
)

// Large content is carried three at a time, and holds up no tag whose content is there.
func TestLargeContentHoldsUpNoTag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		var carried, most atomic.Int64
		s.blob = func(ctx context.Context) {
			defer carried.Add(-1)
			if n := carried.Add(1); n > most.Load() {
				most.Store(n)
			}
			select {
			case <-time.After(10 * time.Minute):
			case <-ctx.Done():
			}
		}
		pass(time.Second)
		for i := range 5 {
			s.heard(fmt.Sprint("large", i), fmt.Sprint("large", i))
		}
		pass(time.Minute)
		d := s.image("small")
		s.harbor.set(map[string]digest.Digest{d.String(): d})
		s.learn("small", d, false)
		if pass(time.Second); s.harbor.at("small") != d || carried.Load() != 3 {
			t.Errorf("it has %q under it, while %d are carried", s.harbor.at("small"), carried.Load())
		}
		pass(time.Hour)
		for i := range 5 {
			if tag := fmt.Sprint("large", i); s.harbor.at(tag) == "" {
				t.Errorf("%s is not brought", tag)
			}
		}
		if most.Load() != 3 || carried.Load() != 0 {
			t.Errorf("%d were carried at once", most.Load())
		}
	})
}

// What takes more than a quarter of an hour is given up, and tried again.
func TestContentThatNeverEndsIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		var took []time.Duration
		s.blob = func(ctx context.Context) {
			begun := time.Now()
			<-ctx.Done()
			took = append(took, time.Since(begun))
		}
		pass(time.Second)
		s.heard("v1", "one")
		pass(time.Hour)
		if len(took) < 3 || took[0] != 15*time.Minute {
			t.Errorf("it was given up after %v", took)
		}
	})
}

// Harbor is not asked about more than fifty tags a second, though all are to be looked at.
func TestHarborIsNotAskedForAllAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := version.New(version.Config{Datacenter: "par1", Log: slog.New(slog.DiscardHandler), Now: time.Now})
		has := map[string]digest.Digest{}
		for i := range 300 { // from before a restart
			tag := fmt.Sprint("v", i)
			has[tag] = digest.FromString(tag)
			l.Write(repo, tag, has[tag], "type", l.Begin(repo, tag))
		}
		begun := time.Now()
		s := newSite(t, func(cfg *follow.Config) { cfg.Ledger = l })
		s.harbor.set(has)
		pass(6 * time.Second)
		seconds := map[int]int{}
		s.harbor.do(func() {
			for _, at := range s.harbor.looks {
				seconds[int(at.Sub(begun)/time.Second)]++
			}
		})
		for i := range 5 {
			if n := seconds[i]; n > 51 || n < 49 {
				t.Errorf("in second %d it is asked %d times", i, n)
			}
		}
	})
}

// What is pushed while all is looked at, after a restart or because Harbor was away, does not
// wait for that.
func TestWhatIsNewIsLookedAtFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := version.New(version.Config{Datacenter: "par1", Log: slog.New(slog.DiscardHandler), Now: time.Now})
		has := map[string]digest.Digest{}
		for i := range 3000 { // a minute's
			tag := fmt.Sprint("v", i)
			has[tag] = digest.FromString(tag)
			l.Write(repo, tag, has[tag], "type", l.Begin(repo, tag))
		}
		s := newSite(t, func(cfg *follow.Config) { cfg.Ledger = l })
		s.ledger = l
		s.harbor.set(has)
		pass(time.Second)
		d := s.image("new")
		s.harbor.set(map[string]digest.Digest{d.String(): d})
		l.Learn("mad1", []version.Announced{{Repo: repo, Reference: "new", Record: version.Record{Digest: d, MediaType: "type", Version: version.Version{Time: l.Begin(repo, "").Version.Time + 1, Datacenter: "mad1"}}}}, false, nil)
		s.follower.Changed(version.Key{Repo: repo, Reference: "new"}, l.Get(version.Key{Repo: repo, Reference: "new"}), false)
		if pass(time.Second); s.harbor.at("new") != d {
			t.Errorf("after a second it has %q", s.harbor.at("new"))
		}
		pass(2 * time.Minute)
		n := 0
		if s.harbor.do(func() { n = len(s.harbor.looks) }); n < 3000 {
			t.Errorf("of 3000 tags %d were looked at", n)
		}
	})
}

// What Harbor does not take is tried at longer and longer times, half a minute at most, and
// nobody who sees that it lags makes that quicker.
func TestHowOftenIsTried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.harbor.do(func() { s.harbor.refuses = http.StatusInternalServerError })
		pass(time.Second)
		s.heard("v1", "one")
		for range 3600 {
			pass(100 * time.Millisecond)
			s.follower.Lagging(version.Key{Repo: repo, Reference: "v1"}, "sha256:other")
		}
		looks := s.harbor.looks
		for i := 2; i < len(looks); i++ {
			before, after := looks[i-1].Sub(looks[i-2]), looks[i].Sub(looks[i-1])
			if after+50*time.Millisecond < min(before*14/10, 30*time.Second) || after > 30*time.Second+50*time.Millisecond || after > before*16/10 {
				t.Errorf("%v after the one before, and %v after that", before, after)
			}
		}
		if first, last := looks[1].Sub(looks[0]), looks[len(looks)-1].Sub(looks[len(looks)-2]); first < time.Second || first > 1100*time.Millisecond || last < 30*time.Second {
			t.Errorf("first after %v, in the end after %v", first, last)
		}
	})
}

// An own push that Harbor has lost is given back at once: no replication brings it.
func TestAnOwnPushIsGivenBackAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		pass(time.Second)
		d := s.pushed("v1", "one")
		pass(time.Minute)
		s.harbor.wrote()
		s.harbor.do(func() { clear(s.harbor.has) })
		s.follower.Lagging(version.Key{Repo: repo, Reference: "v1"}, "sha256:other")
		pass(time.Second / 2)
		want := []string{"POST /v2/" + repo + "/blobs/uploads/", "PUT /v2/" + repo + "/blobs/uploads/1", "PUT /v2/" + repo + "/manifests/v1"}
		if all := s.harbor.wrote(); s.harbor.at("v1") != d || !slices.Equal(all, want) {
			t.Errorf("it has %q; wrote %q", s.harbor.at("v1"), all)
		}
		s.harbor.do(func() { clear(s.harbor.has) }) // but not its blobs
		s.follower.Lagging(version.Key{Repo: repo, Reference: "v1"}, "sha256:other")
		pass(time.Minute)
		if all := s.harbor.wrote(); s.harbor.at("v1") != d || !slices.Equal(all, want[2:]) {
			t.Errorf("its blobs are there, and it wrote %q", all)
		}
		s.harbor.do(func() {
			clear(s.harbor.has)
			s.harbor.says = map[string]said{"HEAD /v2/" + repo + "/blobs/" + digest.FromString("one").String(): {status: http.StatusInternalServerError}}
		})
		s.follower.Lagging(version.Key{Repo: repo, Reference: "v1"}, "sha256:other")
		pass(time.Minute)
		if all := s.harbor.wrote(); len(all) > 0 {
			t.Errorf("it does not say whether it has the blobs, and it wrote %q", all)
		}
	})
}

// What nobody asks about for ninety days is forgotten, and then followed no more.
func TestWhatNobodyAsksAboutIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, func(c *follow.Config) { c.Pace = time.Minute }) // it looks for them every 60 hours
		key := version.Key{Repo: repo, Reference: "v1"}
		s.pushed("v1", "one")
		if pass(89 * 24 * time.Hour); !s.ledger.Get(key).Known() {
			t.Error("it is forgotten within ninety days")
		}
		if pass(4 * 24 * time.Hour); s.ledger.Get(key).Known() {
			t.Error("it is not forgotten")
		}
		s.harbor.do(func() { s.harbor.looks = nil })
		pass(24 * time.Hour)
		if n := len(s.harbor.looks); n > 0 {
			t.Errorf("it is looked at %d times", n)
		}
	})
}

// A gauge says how many are given up: no more of what is forgotten.
func TestWhatIsForgottenIsNotGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.harbor.do(func() { s.harbor.refuses = http.StatusForbidden })
		for i := range 3 {
			s.heard(fmt.Sprint("v", i), "one")
		}
		pass(time.Minute)
		if n := s.value(t, givenUp, ""); n != 3 {
			t.Fatalf("%v are given up", n)
		}
		key := func(i int) version.Key { return version.Key{Repo: repo, Reference: fmt.Sprint("v", i)} }
		s.ledger.Retire(key(0), s.ledger.Get(key(0)).Version)
		s.follower.Removed(key(1))
		s.follower.Removed(key(1))
		if n := s.value(t, givenUp, ""); n != 1 {
			t.Errorf("%v are given up", n)
		}
	})
}

// What could not be done for hours is done within half a minute of when it can be.
func TestWhatFailedForHoursIsDoneSoon(t *testing.T) {
	one := digest.FromString("one")
	for name, ill := range map[string]func(s *site, err error){
		"the manifest cannot be read": func(s *site, err error) { s.unread = err },
		"no blob is taken":            func(s *site, err error) { s.harbor.fails(err, "POST /v2/"+repo+"/blobs/uploads/") },
		"no tag is taken":             func(s *site, err error) { s.harbor.fails(err, "PUT /v2/"+repo+"/manifests/v1") },
		"nobody says what it has":     func(s *site, err error) { s.harbor.fails(err, "HEAD /v2/"+repo+"/manifests/v1") },
		"nor whether it has a blob":   func(s *site, err error) { s.harbor.fails(err, "HEAD /v2/"+repo+"/blobs/"+one.String()) },
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t)
			set := func(err error) {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.elsewhere = true // it is not gone
				ill(s, err)
			}
			set(errors.New("not now"))
			pass(time.Second)
			d := s.heard("v1", "one")
			pass(3 * time.Hour)
			before := s.harbor.at("v1")
			set(nil)
			pass(31 * time.Second)
			if got := s.harbor.at("v1"); got != d || before == d {
				t.Errorf("%s: it has %q, and had %q", name, got, before)
			}
		})
	}
}
