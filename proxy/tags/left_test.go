package tags_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"example.org/breakwater/proxy/tags"
)

// Who has waited in vain is in nobody's way: the next begins another revalidation, and what the
// first one finds in the end is taken over.
func TestARevalidationThatIsForsaken(t *testing.T) {
	inBubble(t, func(t *testing.T, c *tags.Cache, _ saved) {
		after := func(d time.Duration) func(context.Context, tags.Entry) (tags.Found, error) {
			return func(context.Context, tags.Entry) (tags.Found, error) {
				time.Sleep(d)
				return tags.Found{Entry: tags.Entry{Digest: v1}}, nil
			}
		}
		of := tags.Question{Key: tags.Key{Repo: "cache-x/app", Reference: "v1"}}
		first, _ := c.Revalidate(of, tags.Entry{}, freshness, after(30*time.Second))
		waits, joined := c.Revalidate(of, tags.Entry{}, freshness, after(time.Second))
		if !joined {
			t.Fatal("it is not joined")
		}
		first.Forsake()
		first.Leave()
		second, joined := c.Revalidate(of, tags.Entry{}, freshness, after(time.Second))
		if joined {
			t.Fatal("it is joined")
		}
		<-second.Done
		second.Leave()
		if e, known, _ := c.Get(of.Key, freshness); !known || e.Digest != v1 {
			t.Errorf("%+v", e)
		}
		<-waits.Done
		if waits.Leave(); waits.Err != nil || waits.Entry.Digest != v1 {
			t.Errorf("who still waits gets %v, %v", waits.Entry, waits.Err)
		}
	})
}

// A revalidation that nobody waits for goes on for the next who asks; but who comes and goes
// again, however often, keeps no more than so many of them busy.
func TestRevalidationsThatNobodyWaitsForAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, c *tags.Cache, _ saved) {
		var busy atomic.Int64
		ask := func(ctx context.Context, _ tags.Entry) (tags.Found, error) {
			busy.Add(1)
			defer busy.Add(-1)
			select {
			case <-time.After(30 * time.Second):
				return tags.Found{Entry: tags.Entry{Digest: v1}}, nil
			case <-ctx.Done():
				return tags.Found{}, ctx.Err()
			}
		}
		of := func(i int) tags.Question {
			return tags.Question{Key: tags.Key{Repo: "cache-x/app", Reference: fmt.Sprint("v", i)}}
		}
		stays, _ := c.Revalidate(of(0), tags.Entry{}, freshness, ask)
		for i := range 1000 {
			r, _ := c.Revalidate(of(i+1), tags.Entry{}, freshness, ask)
			r.Leave()
		}
		time.Sleep(time.Second)
		if n := busy.Load(); n != 256+1 {
			t.Errorf("%d are busy", n)
		}
		joins, joined := c.Revalidate(of(1), tags.Entry{}, freshness, ask)
		if !joined {
			t.Error("one that was left is not joined")
		}
		again, joined := c.Revalidate(of(1000), tags.Entry{}, freshness, ask)
		if joined {
			t.Error("one that was ended is joined")
		}
		<-joins.Done
		<-stays.Done
		<-again.Done
		for _, r := range []*tags.Revalidation{joins, stays, again} {
			if r.Err != nil || r.Entry.Digest != v1 {
				t.Errorf("%v, %v", r.Entry, r.Err)
			}
			r.Leave()
		}
		for i := range 300 { // those that have ended do not count
			r, _ := c.Revalidate(of(2000+i), tags.Entry{}, freshness, ask)
			r.Leave()
		}
		time.Sleep(time.Second)
		if n := busy.Load(); n != 256 {
			t.Errorf("%d are busy afterwards", n)
		}
	})
}
