package lab

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// A Harbor that is restored is what it was: its content, tags, projects and robots, at the
// same address, as often as wanted.
func TestRestore(t *testing.T) {
	h := startHarbor(t, testKey())
	h.CreateProject("team", false)
	robot := h.CreateRobot("team", "ci", "Robot1Secret2", "pull")
	old := h.push(t, "team/app", "v1", "one")
	url := h.URL()
	backup, err := h.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		moved := h.push(t, "team/app", "v1", "two")
		h.push(t, "team/app", "v2", "three")
		h.CreateProject("younger", false)
		h.call(t, http.StatusOK, http.MethodDelete, "/api/v2.0/projects/team/repositories/app/artifacts/"+old, "", nil)
		if err := errors.Join(h.DisableRobot(robot), h.Restore(backup)); err != nil {
			t.Fatal(err)
		}
		if h.URL() != url || h.at(t, "team/app", "v1") != old || h.has(t, "team/app", "v2") || h.has(t, "team/app", moved) || h.db.project("younger") != nil {
			t.Fatal("it is not what it was")
		}
		h.call(t, http.StatusOK, http.MethodGet, "/v2/team/app/manifests/v1", "", nil)
		h.call(t, http.StatusOK, http.MethodGet, "/v2/team/app/blobs/"+digest.FromString("one").String(), "", nil)
		h.call(t, http.StatusNotFound, http.MethodGet, "/v2/team/app/blobs/"+digest.FromString("three").String(), "", nil)
		if who := h.db.login(robot, "Robot1Secret2"); who.robot == nil {
			t.Error("the robot is as disabled as it was after the backup")
		}
	}
}

func TestWipe(t *testing.T) {
	h := startHarbor(t, testKey())
	h.CreateProject("team", false)
	h.push(t, "team/app", "v1", "one")
	key := h.Key()
	if err := h.Wipe(); err != nil {
		t.Fatal(err)
	}
	if h.db.project("team") != nil || h.db.project("library") == nil || h.Key() != key {
		t.Error("it is no fresh Harbor with the old key")
	}
	h.CreateProject("team", false)
	h.call(t, http.StatusNotFound, http.MethodGet, "/v2/team/app/manifests/v1", "", nil)
	h.call(t, http.StatusNotFound, http.MethodGet, "/v2/team/app/blobs/"+digest.FromString("one").String(), "", nil)
	h.push(t, "team/app", "v1", "two")
}

// A stopped Harbor refuses connections. What it was to replicate waits, and is forgotten by
// one that is restored.
func TestStop(t *testing.T) {
	a, b := twoHarbors(t)
	a.CreateProject("multi-dc-x", false)
	b.CreateProject("multi-dc-x", false)
	replicates(t, a, b, "admin", "Harbor12345", eventPolicy)
	backup, err := a.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		back    func() error
		arrives bool
	}{{a.Resume, true}, {func() error { return a.Restore(backup) }, false}} {
		release := a.Hold()
		tag := map[bool]string{true: "v1", false: "v2"}[c.arrives]
		a.push(t, "multi-dc-x/app", tag, tag)
		if err := errors.Join(a.Stop(), a.Stop()); err != nil {
			t.Fatal(err)
		}
		if _, err := http.Get(a.URL()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("a stopped Harbor answers: %v", err)
		}
		if err := c.back(); err != nil {
			t.Fatal(err)
		}
		release()
		a.Idle()
		if b.has(t, "multi-dc-x/app", tag) != c.arrives {
			t.Errorf("%s at the other: want %t", tag, c.arrives)
		}
		a.call(t, http.StatusOK, http.MethodGet, "/v2/", "", nil)
	}
}

// A replication that runs when its Harbor stops fails, as does a webhook's attempt.
func TestStopBreaksWhatRuns(t *testing.T) {
	a, b, fromA, _ := bothWays(t, true)
	m := manifestOf("{}", "one")
	reached, release := fromA.hold(digest.FromString(m).String())
	a.push(t, "multi-dc-x/app", "v1", "one")
	<-reached
	if err := a.Stop(); err != nil {
		t.Fatal(err)
	}
	release()
	a.Idle()
	if err := a.Resume(); err != nil {
		t.Fatal(err)
	}
	if e := a.lastExecution(t); e["status"] != "Failed" || b.has(t, "multi-dc-x/app", "v1") {
		t.Errorf("%v", e)
	}
}

// Webhooks, members, quotas and immutable tags belong to a backup too.
func TestABackupHasWhatBelongsToProjects(t *testing.T) {
	h, err := StartHarbor(HarborConfig{Key: testKey(), WebhookRetry: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	h.CreateProject("team", false)
	shown := func() string {
		var all []string
		for _, path := range []string{"/projects/team", "/projects/team/webhook/policies", "/projects/team/members", "/projects/team/immutabletagrules", "/quotas", "/robots",
			"/registries", "/replication/policies", "/labels", "/configurations"} {
			var v any
			h.call(t, http.StatusOK, http.MethodGet, "/api/v2.0"+path, "", &v)
			all = append(all, text(v))
		}
		return strings.Join(all, "\n")
	}
	before := shown()
	backup, err := h.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	h.hookTo(t, "team", "http://127.0.0.1:1")
	h.call(t, http.StatusCreated, http.MethodPost, "/api/v2.0/projects/team/immutabletagrules", `{"scope_selectors":{"repository":[{"decoration":"repoMatches","pattern":"**"}]},
		"tag_selectors":[{"decoration":"matches","pattern":"v*"}]}`, nil)
	h.call(t, http.StatusOK, http.MethodPut, "/api/v2.0/projects/team", `{"metadata":{"public":"true"}}`, nil)
	h.call(t, http.StatusCreated, http.MethodPost, "/api/v2.0/labels", `{"name":"l","scope":"g"}`, nil)
	h.call(t, http.StatusOK, http.MethodPut, "/api/v2.0/configurations", `{"read_only":true}`, nil)
	if shown() == before {
		t.Fatal("nothing was changed")
	}
	if err := h.Restore(backup); err != nil {
		t.Fatal(err)
	}
	if after := shown(); after != before {
		was, is := strings.Split(before, "\n"), strings.Split(after, "\n")
		t.Errorf("it shows\n%s\nand showed\n%s", slices.DeleteFunc(is, func(s string) bool { return slices.Contains(was, s) }), before)
	}
}
