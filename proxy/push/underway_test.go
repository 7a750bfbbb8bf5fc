package push_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/push"
)

// Harbor has a push before the edge has given it a version, and tells of it when that is long
// done: the edge knows what came through itself, under its tag and under none.
func TestWhatCameThroughThisEdgeIsKnown(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	u := push.NewUnderway(func() time.Time { return now })
	const repo = "multi-dc-demo/app"
	d, other := digest.FromString("one"), digest.FromString("other")
	end, second := u.Begin(repo, "v1", d), u.Begin(repo, "", d)
	for _, c := range []struct {
		repo, tag string
		digest    digest.Digest
		has       bool
	}{{repo, "v1", d, true}, {repo, "", d, true}, {repo, "v2", d, false}, {repo, "v1", other, false}, {"multi-dc-demo/lib", "v1", d, false}} {
		if got := u.Has(c.repo, c.tag, c.digest); got != c.has || u.Had(c.repo, c.tag, c.digest, now) {
			t.Errorf("%s:%s %s: has %v, had %v", c.repo, c.tag, c.digest, got, u.Had(c.repo, c.tag, c.digest, now))
		}
	}
	now = now.Add(time.Second)
	end()
	if u.Has(repo, "v1", d) || !u.Has(repo, "", d) {
		t.Error("one of two has ended")
	}
	second()
	if u.Has(repo, "", d) || !u.Had(repo, "v1", d, now) || u.Had(repo, "v1", d, now.Add(time.Nanosecond)) || u.Had(repo, "v2", d, now) {
		t.Error("both have ended")
	}
}

// Who may push makes the edge remember so many pushes that have ended, and no more.
func TestEndedPushesAreForgotten(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	u := push.NewUnderway(func() time.Time { return now })
	d := digest.FromString("one")
	for i := range 4097 {
		u.Begin(fmt.Sprint("multi-dc-demo/app", i), "", d)()
	}
	if u.Had("multi-dc-demo/app0", "", d, now) || !u.Had("multi-dc-demo/app1", "", d, now) || !u.Had("multi-dc-demo/app4096", "", d, now) {
		t.Error("not the last 4,096 are remembered")
	}
}
