package tags_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/tags"
)

// counted is a State that counts what it is given.
type counted struct {
	saved
	puts map[tags.Key]int
}

func (c *counted) PutTag(repo, reference string, d digest.Digest, mediaType, source string, at time.Time) {
	c.puts[tags.Key{Repo: repo, Reference: reference}]++
	c.saved.PutTag(repo, reference, d, mediaType, source, at)
}

// A tag is saved when it says something new, and once a day while it does not: what is in
// use is told from what is old.
func TestATagIsSavedWhenItSaysSomethingNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &counted{saved{}, map[tags.Key]int{}}
		c := tags.New(t.Context(), time.Now, m)
		other := holds(v1)
		other.found.Entry.MediaType = "another type"
		for _, step := range []struct {
			what  string
			after time.Duration
			has   *source
			saves int
		}{
			{"the first time", 0, holds(v1), 1},
			{"the same again", time.Hour, holds(v1), 0},
			{"within a day", 23*time.Hour - time.Second, holds(v1), 0},
			{"after a day", 2 * time.Second, holds(v1), 1},
			{"and again within one", 23*time.Hour + 59*time.Minute, holds(v1), 0},
			{"another type", time.Second, other, 1},
			{"and that again", time.Second, other, 0},
			{"another digest", time.Second, holds(v2), 1},
			{"a day after it", 24*time.Hour + time.Second, holds(v2), 1},
		} {
			time.Sleep(step.after)
			before := m.puts[latest]
			revalidate(c, asked, step.has)
			synctest.Wait()
			if got := m.puts[latest] - before; got != step.saves {
				t.Errorf("%s: saved %d times", step.what, got)
			}
		}
	})
}

// A reference that is read without being asked for anew, as a digest is, is saved once a day too.
func TestAReferenceInUseIsSavedOnceADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &counted{saved{}, map[tags.Key]int{}}
		c := tags.New(t.Context(), time.Now, m)
		revalidate(c, asked, holds(v1))
		synctest.Wait()
		for _, step := range []struct {
			after time.Duration
			saves int
		}{{23 * time.Hour, 0}, {2 * time.Hour, 1}, {23 * time.Hour, 0}, {100 * 24 * time.Hour, 1}} {
			time.Sleep(step.after)
			before := m.puts[latest]
			for range 3 {
				is(t, "in use", c, v1, false)
			}
			if got := m.puts[latest] - before; got != step.saves {
				t.Errorf("after %v: saved %d times", step.after, got)
			}
		}
	})
}

// A delete takes nothing else out of memory: it is believed as before.
func TestADeleteLeavesTheOthersFresh(t *testing.T) {
	inBubble(t, func(t *testing.T, c *tags.Cache, _ saved) {
		kept, other := tags.Key{Repo: latest.Repo, Reference: "kept"}, tags.Key{Repo: "multi-dc-demo/other", Reference: "latest"}
		for key, d := range map[tags.Key]digest.Digest{latest: v1, kept: v2, other: v1} {
			revalidate(c, tags.Question{Key: key}, holds(d))
		}
		c.Deleted(latest.Repo, v1)
		for _, key := range []tags.Key{kept, other} {
			if _, known, fresh := c.Get(key, freshness); !known || !fresh {
				t.Errorf("%v: known %t, fresh %t", key, known, fresh)
			}
		}
		is(t, "what was deleted", c, "", false)
	})
}

// Where a tag is not believed without asking, neither is its absence.
func TestANoIsNotRememberedForLongerThanAYes(t *testing.T) {
	inBubble(t, func(t *testing.T, c *tags.Cache, _ saved) {
		for freshness, remembered := range map[time.Duration]bool{0: false, time.Nanosecond: true} {
			q := tags.Question{Key: tags.Key{Repo: latest.Repo, Reference: freshness.String()}}
			r, _ := c.Revalidate(q, tags.Entry{}, freshness, (&source{err: no()}).ask)
			<-r.Done
			synctest.Wait()
			if got := c.Negative(q) != nil; got != remembered {
				t.Errorf("believed for %v: its absence is remembered: %t", freshness, got)
			}
		}
	})
}

// A caller that read an older entry is given what has been found since, without asking.
func TestWhatWasFoundSinceIsAsGood(t *testing.T) {
	inBubble(t, func(t *testing.T, c *tags.Cache, _ saved) {
		revalidate(c, asked, holds(v1))
		seen, _, _ := c.Get(latest, freshness)
		time.Sleep(time.Second)
		again, _ := c.Revalidate(asked, seen, freshness, holds(v2).ask)
		<-again.Done
		synctest.Wait()
		never := holds(v1)
		if r, joined := c.Revalidate(asked, seen, freshness, never.ask); !joined || r.Entry.Digest != v2 || never.calls.Load() != 0 {
			t.Errorf("%v, joined %t, asked %d times", r.Entry, joined, never.calls.Load())
		} else {
			<-r.Done
		}
		now, _, _ := c.Get(latest, freshness)
		if r, joined := c.Revalidate(asked, now, freshness, never.ask); joined {
			t.Error("nothing was found since")
		} else {
			<-r.Done
		}
	})
}
