package lab

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/internal/trial"
)

// gate holds the writes of replications back that a test chooses.
type gate struct {
	mu      sync.Mutex
	held    map[string]chan struct{} // by digest
	reached map[string]chan struct{}
}

// hold holds writes of the digest back until release is called; reached is closed when
// one is there.
func (g *gate) hold(digest string) (reached <-chan struct{}, release func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	open, there := make(chan struct{}), make(chan struct{})
	g.held, g.reached = map[string]chan struct{}{digest: open}, map[string]chan struct{}{digest: there}
	return there, func() { close(open) }
}

func (g *gate) pass(ctx context.Context, s ReplicationStep) error {
	g.mu.Lock()
	open, there := g.held[s.Digest], g.reached[s.Digest]
	delete(g.held, s.Digest) // the first one alone
	g.mu.Unlock()
	if !s.Put || open == nil {
		return nil
	}
	close(there)
	select {
	case <-open:
	case <-ctx.Done():
	}
	return nil
}

// bothWays are two Harbors that push what is tagged to each other, and the gates before
// what each of them writes.
func bothWays(t *testing.T, override bool) (a, b *Harbor, fromA, fromB *gate) {
	t.Helper()
	fromA, fromB = &gate{}, &gate{}
	for _, x := range []struct {
		h *(*Harbor)
		g *gate
	}{{&a, fromA}, {&b, fromB}} {
		var err error
		if *x.h, err = StartHarbor(HarborConfig{Key: testKey(), ReplicationDelay: time.Nanosecond, StatusLag: time.Nanosecond, Replicating: x.g.pass}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { (*x.h).Close() })
		(*x.h).CreateProject("multi-dc-x", false)
	}
	policy := eventPolicy
	if !override {
		policy = strings.Replace(policy, `"override":true`, `"override":false`, 1)
	}
	replicates(t, a, b, "admin", "Harbor12345", policy)
	replicates(t, b, a, "admin", "Harbor12345", policy)
	return a, b, fromA, fromB
}

func (h *Harbor) at(t *testing.T, repo, tag string) string {
	t.Helper()
	a, _ := h.db.find(h.db.project(strings.Split(repo, "/")[0]), repo, tag)
	if a == nil {
		return ""
	}
	return a.Digest
}

// settle waits until neither has anything to do: each may set the other off.
func settle(harbors ...*Harbor) {
	for range 2 * len(harbors) {
		for _, h := range harbors {
			h.Idle()
		}
	}
}

// A replication of a tag's old digest that arrives late fires the receiver's own push,
// which carries it back over the newer one (harbor/README.md, "Replication undoes pushes").
func TestALateReplicationUndoesAPushEverywhere(t *testing.T) {
	a, b, fromA, _ := bothWays(t, true)
	old := manifestOf("{}", "old")
	reached, release := fromA.hold(digest.FromString(old).String())
	a.push(t, "multi-dc-x/app", "v1", "old")
	<-reached
	moved := a.push(t, "multi-dc-x/app", "v1", "new")
	trial.Until(t, func() error { // the second replication overtakes the first
		if got := b.at(t, "multi-dc-x/app", "v1"); got != moved {
			return fmt.Errorf("at the other it is %q", got)
		}
		return nil
	})
	release()
	settle(a, b)
	for name, h := range map[string]*Harbor{"where it was pushed": a, "at the other": b} {
		if got := h.at(t, "multi-dc-x/app", "v1"); got != digest.FromString(old).String() {
			t.Errorf("%s it is %s; Harbor would have moved it back", name, got)
		}
	}
}

// Without override Harbor looks once whether the tag is there, copies, and writes.
func TestANewTagThatMovesWhileItIsCopiedIsMovedBack(t *testing.T) {
	a, b, fromA, _ := bothWays(t, false)
	old := digest.FromString(manifestOf("{}", "old")).String()
	reached, release := fromA.hold(old)
	a.push(t, "multi-dc-x/app", "v1", "old")
	<-reached
	b.push(t, "multi-dc-x/app", "v1", "new")
	release()
	settle(a, b)
	if got := b.at(t, "multi-dc-x/app", "v1"); got != old {
		t.Errorf("it is %s; Harbor would have moved it back", got)
	}
	// A tag that was there is left alone, and its new content does not arrive at all.
	moved := a.push(t, "multi-dc-x/app", "v1", "newer")
	settle(a, b)
	if b.at(t, "multi-dc-x/app", "v1") != old || b.at(t, "multi-dc-x/app", moved) != "" {
		t.Error("without override a tag was moved, or its content came")
	}
}

// A PUT of the digest that the tag has already fires like any other.
func TestAPutThatChangesNothingIsReplicated(t *testing.T) {
	a, b, _, _ := bothWays(t, true)
	m := manifestOf("{}", "one")
	a.push(t, "multi-dc-x/app", "v1", "one")
	settle(a, b)
	newer := b.pushImage(t, "multi-dc-x/app", "w1", "{}", "two") // no tag that replicates
	b.db.mu.Lock()
	b.db.projectLocked("multi-dc-x").repos["multi-dc-x/app"].tags["v1"].Digest = newer // as Harbor's API moves tags: nothing fires
	b.db.mu.Unlock()
	a.call(t, http.StatusCreated, http.MethodPut, "/v2/multi-dc-x/app/manifests/v1", m, nil)
	settle(a, b)
	if got := b.at(t, "multi-dc-x/app", "v1"); got != digest.FromString(m).String() {
		t.Errorf("the other side's tag is %s: it was not moved", got)
	}
}

// A policy that excludes every tag carries content alone: a PUT by tag makes no
// execution, one by digest brings the artifact, without a tag.
func TestContentWithoutTags(t *testing.T) {
	a, b := twoHarbors(t)
	a.CreateProject("multi-dc-x", false)
	b.CreateProject("multi-dc-x", false)
	replicates(t, a, b, "admin", "Harbor12345", strings.Replace(eventPolicy, `"value":"v*"`, `"value":"?*","decoration":"excludes"`, 1))
	d := a.push(t, "multi-dc-x/app", "v1", "one")
	settle(a, b)
	if b.at(t, "multi-dc-x/app", d) != "" {
		t.Error("a PUT by tag was replicated")
	}
	for range 2 { // as often as wanted
		a.call(t, http.StatusCreated, http.MethodPut, "/v2/multi-dc-x/app/manifests/"+d, manifestOf("{}", "one"), nil)
		settle(a, b)
	}
	if b.at(t, "multi-dc-x/app", d) != d || b.at(t, "multi-dc-x/app", "v1") != "" {
		t.Error("the content is not there, or has a tag")
	}
	b.call(t, http.StatusCreated, http.MethodPut, "/v2/multi-dc-x/app/manifests/v1", manifestOf("{}", "one"), nil) // what it names is there
}

func TestAPullBringsWhatHasNoTag(t *testing.T) {
	a, b := twoHarbors(t)
	a.CreateProject("multi-dc-x", false)
	b.CreateProject("multi-dc-x", false)
	b.push(t, "multi-dc-x/app", "v1", "one")
	untagged := b.push(t, "multi-dc-x/app", digest.FromString(manifestOf("{}", "two")).String(), "two")
	replicates(t, a, b, "admin", "Harbor12345", `{"name":"from b","src_registry":{"id":1},"trigger":{"type":"manual"},
		"filters":[{"type":"name","value":"multi-dc-x/**"},{"type":"tag","value":"?*","decoration":"excludes"}],"enabled":true,"override":true}`)
	if err := a.Replicate("from b"); err != nil {
		t.Fatal(err)
	}
	a.Idle()
	if a.at(t, "multi-dc-x/app", untagged) != untagged || a.at(t, "multi-dc-x/app", "v1") != "" {
		t.Errorf("%v", a.lastExecution(t))
	}
}

// No more than so many replications run at once, and one that waits may be overtaken.
func TestReplicationsQueueForWorkers(t *testing.T) {
	b, err := StartHarbor(HarborConfig{Key: testKey()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	var running, most atomic.Int32
	busy := Busy(1, 0, 5*time.Millisecond)
	a, err := StartHarbor(HarborConfig{Key: testKey(), ReplicationDelay: time.Nanosecond, Workers: 2, Replicating: func(ctx context.Context, s ReplicationStep) error {
		if s.Put {
			return nil
		}
		n := running.Add(1)
		defer running.Add(-1)
		for {
			if m := most.Load(); n <= m || most.CompareAndSwap(m, n) {
				break
			}
		}
		return busy(ctx, s)
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	a.CreateProject("multi-dc-x", false)
	replicates(t, a, b, "admin", "Harbor12345", eventPolicy)
	release := a.Hold()
	for _, tag := range []string{"v1", "v2", "v3", "v4", "v5", "v6"} {
		a.push(t, "multi-dc-x/app", tag, tag)
	}
	release()
	a.Idle()
	if n := most.Load(); n != 2 {
		t.Errorf("%d ran at once, want 2", n)
	}
	for _, tag := range []string{"v1", "v2", "v3", "v4", "v5", "v6"} {
		if !b.has(t, "multi-dc-x/app", tag) {
			t.Errorf("%s was lost", tag)
		}
	}
}

// A policy of which one alone may run at a time skips what is started meanwhile: it is
// created, has failed at once, and nothing is queued.
func TestSingleActiveReplication(t *testing.T) {
	fromA := &gate{}
	a, err := StartHarbor(HarborConfig{Key: testKey(), StatusLag: time.Nanosecond, Replicating: fromA.pass})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	_, b := twoHarbors(t)
	for _, h := range []*Harbor{a, b} {
		h.CreateProject("multi-dc-x", false)
	}
	pushed := a.push(t, "multi-dc-x/app", "v1", "content")
	replicates(t, a, b, "admin", "Harbor12345", `{"name":"single","dest_registry":{"id":1},"dest_namespace":"multi-dc-x","dest_namespace_replace_count":1,"trigger":{"type":"manual"},"enabled":true,"override":true,
		"single_active_replication":true,"filters":[{"type":"name","value":"multi-dc-x/**"}]}`)
	start := func() (execution struct {
		Status string
		Text   string `json:"status_text"`
	}) {
		at := a.call(t, http.StatusCreated, "POST", "/api/v2.0/replication/executions", `{"policy_id":1}`, nil).Get("Location")
		a.call(t, http.StatusOK, "GET", at, "", &execution)
		return execution
	}
	reached, release := fromA.hold(pushed)
	if e := start(); e.Status != inProgress {
		t.Errorf("%+v", e)
	}
	<-reached
	if e := start(); e.Status != failed || e.Text != "Execution skipped: active replication still in progress." {
		t.Errorf("%+v", e)
	}
	release()
	settle(a, b)
	if e := start(); e.Status == failed {
		t.Errorf("after its end: %+v", e)
	}
	settle(a, b)
}
