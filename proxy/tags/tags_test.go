package tags_test

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/proxy/tags"
	"example.org/breakwater/registry"
)

const freshness = time.Minute

var (
	v1, v2 = digest.FromString("v1"), digest.FromString("v2")
	latest = tags.Key{Repo: "multi-dc-demo/app", Reference: "latest"}
	asked  = tags.Question{Key: latest}
)

func no() error { return registry.Errorf(registry.CodeManifestUnknown, "there is no such manifest") }

func policy() error { return &registry.Error{Status: 412, Code: "PROJECTPOLICYVIOLATION"} }

func notSaid() error {
	e := registry.Errorf(registry.CodeNameUnknown, "not there, or needs credentials")
	e.Cause = outcome.ErrRefused
	return e
}

// saved is what outlasts a cache: a tags.State.
type saved map[tags.Key]digest.Digest

func (m saved) Tag(repo, reference string) (digest.Digest, string, string, bool) {
	d, ok := m[tags.Key{Repo: repo, Reference: reference}]
	return d, "type", "harbor", ok
}

func (m saved) PutTag(repo, reference string, d digest.Digest, _, _ string, _ time.Time) {
	m[tags.Key{Repo: repo, Reference: reference}] = d
}

func (m saved) Kept(string, string) (_ digest.Digest, _ string, _ time.Time, _ bool) {
	return "", "", time.Time{}, false
}
func (m saved) PutKept(string, string, digest.Digest, string, time.Time) {}
func (m saved) DropKept(string, string)                                  {}
func (m saved) Gone(string) map[string]time.Time                         { return nil }
func (m saved) LetGo(digest.Digest)                                      {}

func (m saved) DropTag(repo, reference string) {
	delete(m, tags.Key{Repo: repo, Reference: reference})
}

func (m saved) DropDigest(repo string, d digest.Digest) {
	for key, at := range m {
		if key.Repo == repo && at == d {
			delete(m, key)
		}
	}
}

// source answers revalidations after a while, and counts them.
type source struct {
	after time.Duration
	found tags.Found
	err   error
	calls atomic.Int32
}

func holds(d digest.Digest) *source {
	return &source{found: tags.Found{Entry: tags.Entry{Digest: d, MediaType: "type", Source: "harbor"}}}
}

func (s *source) ask(context.Context, tags.Entry) (tags.Found, error) {
	s.calls.Add(1)
	found, err := s.found, s.err
	time.Sleep(s.after)
	return found, err
}

// revalidate asks, and waits for the answer.
func revalidate(c *tags.Cache, q tags.Question, s *source) *tags.Revalidation {
	seen, _, _ := c.Get(q.Key, freshness)
	r, _ := c.Revalidate(q, seen, freshness, s.ask)
	<-r.Done
	return r
}

func inBubble(t *testing.T, f func(t *testing.T, c *tags.Cache, m saved)) {
	synctest.Test(t, func(t *testing.T) {
		m := saved{}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		f(t, tags.New(ctx, time.Now, m), m)
	})
}

func is(t *testing.T, what string, c *tags.Cache, want digest.Digest, fresh bool) {
	t.Helper()
	e, known, isFresh := c.Get(latest, freshness)
	if known != (want != "") || e.Digest != want || isFresh != fresh {
		t.Errorf("%s: %s, known %v, fresh %v; want %s, fresh %v", what, e.Digest, known, isFresh, want, fresh)
	}
}

func TestAnAnswerIsFreshFromWhenItWasAskedFor(t *testing.T) {
	inBubble(t, func(t *testing.T, c *tags.Cache, _ saved) {
		is(t, "before", c, "", false)
		s := holds(v1)
		s.after = 10 * time.Second
		revalidate(c, asked, s)
		is(t, "at once", c, v1, true)
		time.Sleep(freshness - s.after - time.Nanosecond)
		is(t, "a minute after the question, less a moment", c, v1, true)
		time.Sleep(time.Nanosecond)
		is(t, "a minute after the question", c, v1, false)
		if e, known, fresh := c.Get(tags.Key{Repo: latest.Repo, Reference: v1.String()}, time.Hour); !known || !fresh || e.Digest != v1 {
			t.Error("the digest that the client asks for next is not known")
		}
	})
}

func TestThoseWhoWaitShareOneRevalidation(t *testing.T) {
	inBubble(t, func(t *testing.T, c *tags.Cache, _ saved) {
		s := holds(v1)
		s.after = time.Second
		first, joined := c.Revalidate(asked, tags.Entry{}, freshness, s.ask)
		if joined {
			t.Error("the first joined")
		}
		for range 10 {
			if r, joined := c.Revalidate(asked, tags.Entry{}, freshness, s.ask); !joined || r != first {
				t.Error("another one was begun")
			}
		}
		// A peer's answer is not a client's: nobody else is asked for it.
		if r, joined := c.Revalidate(tags.Question{Key: latest, OwnOnly: true}, tags.Entry{}, freshness, s.ask); joined || r == first {
			t.Error("a peer joined a client's")
		}
		<-first.Done
		if n := s.calls.Load(); n != 2 || first.Entry.Digest != v1 || first.Err != nil {
			t.Errorf("%d questions; %s, %v", n, first.Entry.Digest, first.Err)
		}
		// Who read before it ended, and asks behind it, is served by it.
		if r, joined := c.Revalidate(asked, tags.Entry{}, freshness, s.ask); !joined || r.Entry.Digest != v1 {
			t.Error("what has just been found is asked for again")
		}
	})
}

// Nobody is shown a tag older than a push that was already answered.
func TestReadYourWrites(t *testing.T) {
	inBubble(t, func(t *testing.T, c *tags.Cache, m saved) {
		revalidate(c, asked, holds(v1))
		time.Sleep(time.Second)
		slow := holds(v1)
		slow.after = 5 * time.Second
		before, _ := c.Revalidate(asked, tags.Entry{Checked: time.Now()}, freshness, slow.ask)
		time.Sleep(time.Second)
		c.Written(latest.Repo, latest.Reference)
		is(t, "after the write", c, "", false)
		if _, ok := m[latest]; ok {
			t.Error("the older copy is remembered")
		}
		c.Pushed(latest, tags.Entry{Digest: v2, MediaType: "type", Source: "harbor"})
		is(t, "after the push", c, v2, false)
		time.Sleep(time.Nanosecond)
		s := holds(v2)
		r, joined := c.Revalidate(asked, tags.Entry{}, freshness, s.ask)
		if joined || r == before {
			t.Error("a question from before the write was joined")
		}
		<-r.Done
		is(t, "after the question", c, v2, true)
		<-before.Done
		synctest.Wait()
		is(t, "after the answer from before the write", c, v2, true)
	})
}

// An answer from before a write says nothing of what is there since, also where nobody
// has asked again.
func TestAnAnswerThatAWriteHasOvertaken(t *testing.T) {
	inBubble(t, func(t *testing.T, c *tags.Cache, m saved) {
		slow := holds(v1)
		slow.after = 5 * time.Second
		r, _ := c.Revalidate(asked, tags.Entry{}, freshness, slow.ask)
		time.Sleep(time.Second)
		c.Written(latest.Repo, latest.Reference)
		<-r.Done
		synctest.Wait()
		if r.Entry.Digest != v1 {
			t.Error("those who asked before the write have no answer")
		}
		is(t, "after the answer", c, "", false)
		if _, ok := m[latest]; ok {
			t.Error("the older copy is remembered")
		}
	})
}

// What was deleted is served by nobody: under none of its tags, nor by its digest.
func TestADeletedManifestIsForgottenUnderEveryReference(t *testing.T) {
	inBubble(t, func(t *testing.T, c *tags.Cache, m saved) {
		other := tags.Key{Repo: "multi-dc-demo/other", Reference: "latest"}
		kept := tags.Key{Repo: latest.Repo, Reference: "kept"}
		for key, d := range map[tags.Key]digest.Digest{latest: v1, {Repo: latest.Repo, Reference: "stable"}: v1, other: v1, kept: v2} {
			revalidate(c, tags.Question{Key: key}, holds(d))
		}
		time.Sleep(time.Second)
		c.Written(latest.Repo, "")
		c.Deleted(latest.Repo, v1)
		for _, reference := range []string{"latest", "stable", v1.String()} {
			key := tags.Key{Repo: latest.Repo, Reference: reference}
			if _, known, _ := c.Get(key, time.Hour); known {
				t.Errorf("%s is known", reference)
			}
			if _, ok := m[key]; ok {
				t.Errorf("%s outlasts a restart", reference)
			}
		}
		for _, key := range []tags.Key{other, kept} {
			if _, known, _ := c.Get(key, time.Hour); !known {
				t.Errorf("%v is forgotten", key)
			}
		}
	})
}

// A write that moved nothing for certain leaves the copy, which is believed no longer.
func TestAWriteThatMayHaveBeenDone(t *testing.T) {
	inBubble(t, func(t *testing.T, c *tags.Cache, _ saved) {
		revalidate(c, asked, holds(v1))
		time.Sleep(time.Second)
		c.Written(latest.Repo, "")
		is(t, "after it", c, v1, false)
		time.Sleep(time.Second)
		revalidate(c, asked, holds(v1))
		is(t, "once it was asked for", c, v1, true)
		c.Written("multi-dc-demo/other", latest.Reference)
		is(t, "after another repo's write", c, v1, true)
	})
}

// An answer that comes late does not undo a newer one.
func TestALateAnswerIsNotTakenOver(t *testing.T) {
	inBubble(t, func(t *testing.T, c *tags.Cache, _ saved) {
		slow := holds(v1)
		slow.after = 10 * time.Second
		late, _ := c.Revalidate(tags.Question{Key: latest, OwnOnly: true}, tags.Entry{}, freshness, slow.ask)
		time.Sleep(time.Second)
		revalidate(c, asked, holds(v2))
		<-late.Done
		synctest.Wait()
		is(t, "after the late answer", c, v2, true)
	})
}

func TestANoIsRememberedForAMoment(t *testing.T) {
	for name, c := range map[string]struct {
		err       error
		freshness time.Duration
		lasts     time.Duration
		forgets   bool
	}{
		"a no":                             {no(), time.Minute, 5 * time.Second, true},
		"no longer than a tag is believed": {no(), time.Second, time.Second, true},
		"not at all where tags are always asked for": {no(), 0, 0, true},
		"a no that was not said":                     {notSaid(), time.Minute, 5 * time.Second, false},
		"a don't-know":                               {outcome.DontKnow(io.EOF), time.Minute, 0, false},
		"no answer":                                  {io.EOF, time.Minute, 0, false},
		"a refusal by policy":                        {policy(), time.Minute, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, cache *tags.Cache, m saved) {
				revalidate(cache, asked, holds(v1))
				time.Sleep(time.Hour)
				r, _ := cache.Revalidate(asked, tags.Entry{Checked: time.Now()}, c.freshness, (&source{err: c.err}).ask)
				<-r.Done
				if !errors.Is(r.Err, c.err) {
					t.Fatal(r.Err)
				}
				if _, known, _ := cache.Get(latest, freshness); known == c.forgets {
					t.Errorf("the copy is held: %v", known)
				}
				if _, remembered := m[latest]; remembered == c.forgets {
					t.Errorf("the copy outlasts a restart: %v", remembered)
				}
				if got := cache.Negative(asked) != nil; got != (c.lasts > 0) {
					t.Errorf("remembered: %v", got)
				}
				if c.lasts == 0 {
					return
				}
				s := holds(v2)
				if r, _ := cache.Revalidate(asked, tags.Entry{Checked: time.Now()}, c.freshness, s.ask); r.Err == nil || s.calls.Load() != 0 {
					t.Error("it is asked for again at once")
				}
				time.Sleep(c.lasts - time.Nanosecond)
				if cache.Negative(asked) == nil {
					t.Error("forgotten too early")
				}
				time.Sleep(time.Nanosecond)
				if cache.Negative(asked) != nil {
					t.Error("remembered for too long")
				}
			})
		})
	}
}

func TestAWriteEndsANo(t *testing.T) {
	inBubble(t, func(t *testing.T, c *tags.Cache, _ saved) {
		revalidate(c, asked, &source{err: no()})
		time.Sleep(time.Second)
		c.Written("multi-dc-demo/other", "latest")
		if c.Negative(asked) == nil {
			t.Error("another repo's write ended it")
		}
		c.Written(latest.Repo, "other")
		if c.Negative(asked) != nil {
			t.Error("it is still remembered")
		}
	})
}

// A peer's question says nothing of what other datacenters hold.
func TestANoToAPeerForgetsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, c *tags.Cache, _ saved) {
		revalidate(c, asked, holds(v1))
		time.Sleep(time.Hour)
		peers := tags.Question{Key: latest, OwnOnly: true}
		revalidate(c, peers, &source{err: no()})
		is(t, "after it", c, v1, false)
		if c.Negative(peers) == nil || c.Negative(asked) != nil {
			t.Error("a peer's no is a client's")
		}
	})
}

func TestARefusalIsRememberedUntilItIsAnsweredOtherwise(t *testing.T) {
	inBubble(t, func(t *testing.T, c *tags.Cache, _ saved) {
		refused := func() bool {
			e, _, _ := c.Get(latest, freshness)
			return e.Refused
		}
		revalidate(c, asked, holds(v1))
		time.Sleep(time.Hour)
		revalidate(c, asked, &source{err: policy()})
		if !refused() {
			t.Error("a refusal is not remembered")
		}
		time.Sleep(time.Second)
		revalidate(c, asked, holds(v1))
		if refused() {
			t.Error("it is still refused")
		}
	})
}

// What a peer only remembers serves those who wait, and is believed no longer.
func TestAStaleAnswerIsNeverFresh(t *testing.T) {
	inBubble(t, func(t *testing.T, c *tags.Cache, _ saved) {
		s := holds(v1)
		s.found.Stale = true
		if r := revalidate(c, asked, s); r.Err != nil || r.Entry.Digest != v1 {
			t.Error("those who wait have nothing")
		}
		is(t, "after it", c, v1, false)
	})
}

func TestARestartKnowsWhatWasSeenAndBelievesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, c *tags.Cache, m saved) {
		revalidate(c, asked, holds(v1))
		again := tags.New(t.Context(), time.Now, m)
		is(t, "after a restart", again, v1, false)
		if _, known, _ := tags.New(t.Context(), time.Now, nil).Get(latest, freshness); known {
			t.Error("without a state something is known")
		}
	})
}
