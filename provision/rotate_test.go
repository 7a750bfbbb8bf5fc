package provision

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/internal/trial"
)

// answered asks a Harbor and returns the status.
func answered(t *testing.T, method, url, user, password, body string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, url, bytes.NewReader([]byte(body)))
	if err != nil {
		t.Error(err)
		return 0
	}
	req.Header.Set("Content-Type", "application/json")
	req.SetBasicAuth(user, password)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Error(err)
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

func logsIn(t *testing.T, h *lab.Harbor, user, password string) bool {
	t.Helper()
	return answered(t, http.MethodGet, h.URL()+"/service/token?service=harbor-registry", user, password, "") == http.StatusOK
}

// pushAndPull does both as the project's robots for users.
func pushAndPull(t *testing.T, h *lab.Harbor, image string) {
	t.Helper()
	ref, err := name.NewTag(strings.TrimPrefix(h.URL(), "http://")+"/"+image, name.Insecure)
	if err != nil {
		t.Error(err)
		return
	}
	img, err := random.Image(64, 1)
	if err != nil {
		t.Error(err)
		return
	}
	project, _, _ := strings.Cut(image, "/")
	as := func(robot string) remote.Option {
		return remote.WithAuth(&authn.Basic{Username: "robot$" + project + "+" + robot, Password: testSecrets["robot-password/"+robot+"/"+strings.TrimPrefix(project, "multi-dc-")]})
	}
	if err := remote.Write(ref, img, as("readwrite")); err != nil {
		t.Error(err)
	}
	if _, err := remote.Get(ref, as("readonly")); err != nil {
		t.Error(err)
	}
}

// quiet waits until no Harbor replicates any more.
func (f *testFleet) quiet(t *testing.T) {
	t.Helper()
	for range f.harbors { // what comes to one sets off others
		for _, h := range f.harbors {
			h.Idle()
		}
	}
	trial.Until(t, func() error {
		for name, h := range f.harbors {
			if running := call(t, h, http.MethodGet, "/replication/executions?status=InProgress", nil); strings.TrimSpace(string(running)) != "[]" {
				return fmt.Errorf("%s replicates: %s", name, running)
			}
		}
		return nil
	})
}

// While sync gets a new secret every peer's login works at every moment, and in the
// end the old secret does not.
func TestRotateSyncHasNoGap(t *testing.T) {
	f := newTestFleet(t)
	f.harborsOwnTags() // so that pushes by tag replicate
	f.apply(t, Options{})
	stop := make(chan struct{})
	var all sync.WaitGroup
	for _, h := range f.harbors {
		var registries []map[string]any
		if err := json.Unmarshal(call(t, h, http.MethodGet, "/registries?page_size=100", nil), &registries); err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			user, password := h.Admin()
			for {
				for _, r := range registries {
					if name := r["name"].(string); strings.HasPrefix(name, "multi-dc-") {
						if status := answered(t, http.MethodPost, h.URL()+"/api/v2.0/registries/ping", user, password, `{"id":`+id(r)+`}`); status != http.StatusOK {
							t.Errorf("the login at %s is %d", name, status)
						}
					}
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	pushes := 0
	all.Go(func() {
		for stopped := false; !stopped; pushes++ {
			pushAndPull(t, f.harbors["dc1"], fmt.Sprintf("multi-dc-repo1/app:v%d", pushes))
			select {
			case <-stop:
				stopped = true
			default:
			}
		}
	})
	f.vault.Store("robot-password/replication/repo1", "Rotated1repo1")
	f.vault.Store("robot-password/replication/repo2", "Rotated1repo2")
	var said []string
	err := f.open(t, Options{}).Rotate(t.Context(), RotateOptions{Robot: "sync", Progress: func(s string) { said = append(said, s) }})
	close(stop)
	all.Wait()
	if err != nil {
		t.Fatalf("%v\n%s", err, strings.Join(said, "\n"))
	}
	f.quiet(t)
	for name, h := range f.harbors {
		if failed := call(t, h, http.MethodGet, "/replication/executions?status=Failed", nil); strings.TrimSpace(string(failed)) != "[]" {
			t.Errorf("%s: replications failed: %s", name, failed)
		}
		if name != "dc1" {
			if tags := call(t, h, http.MethodGet, "/projects/multi-dc-repo1/repositories/app/artifacts?page_size=1", nil); strings.TrimSpace(string(tags)) == "[]" {
				t.Errorf("of %d pushes nothing came to %s", pushes, name)
			}
		}
		if logsIn(t, h, "robot$multi-dc-repo1+sync", testSecrets["robot-password/replication/repo1"]) || !logsIn(t, h, "robot$multi-dc-repo1+sync", "Rotated1repo1") {
			t.Errorf("%s has the old secret", name)
		}
	}
	if plan := f.settled(t); len(plan.Notes) != 0 {
		t.Errorf("%v", plan.Notes)
	}
}

// A robot of users keeps its secret until they have the successor's.
func TestRotateForUsers(t *testing.T) {
	f := newTestFleet(t)
	f.apply(t, Options{})
	h, old := f.harbors["dc1"], testSecrets["robot-password/readonly/repo1"]
	f.vault.Store("robot-password/readonly/repo1", "Rotated1repo1")
	if err := f.open(t, Options{}).Rotate(t.Context(), RotateOptions{Robot: "readonly", Projects: []string{"repo1"}}); err != nil {
		t.Fatal(err)
	}
	var successor string
	var all []map[string]any
	if err := json.Unmarshal(call(t, h, http.MethodGet, robotsOf(t, h, "multi-dc-repo1"), nil), &all); err != nil {
		t.Fatal(err)
	}
	for _, rb := range all {
		if name := rb["name"].(string); strings.HasPrefix(name, "robot$multi-dc-repo1+readonly-2") {
			successor = name
		}
	}
	if !logsIn(t, h, "robot$multi-dc-repo1+readonly", old) || !logsIn(t, h, successor, "Rotated1repo1") {
		t.Errorf("not both of them: %q", successor)
	}
	// An apply meanwhile takes nothing away.
	if plan := f.apply(t, Options{}); len(plan.Changes) != 0 || !strings.Contains(strings.Join(plan.Notes, "\n"), "rotate --finish ends that") {
		t.Errorf("%v %v", plan.Changes, plan.Notes)
	}
	if err := f.open(t, Options{}).Rotate(t.Context(), RotateOptions{Robot: "readonly", Projects: []string{"repo1"}, Finish: true}); err != nil {
		t.Fatal(err)
	}
	if logsIn(t, h, "robot$multi-dc-repo1+readonly", old) || !logsIn(t, h, "robot$multi-dc-repo1+readonly", "Rotated1repo1") {
		t.Error("the old secret has not ended")
	}
	f.apply(t, Options{Prune: true})
	if logsIn(t, h, successor, "Rotated1repo1") {
		t.Error("the successor is still there")
	}
	f.settled(t)
	if err := f.open(t, Options{}).Rotate(t.Context(), RotateOptions{Robot: "nobody"}); err == nil {
		t.Error("nobody is rotated")
	}
}

// An apply with --prune in the middle of a rotation takes nobody's login away: neither
// the successor's that users have just moved to, nor the old one.
func TestPruneInTheMiddleOfARotation(t *testing.T) {
	f := newTestFleet(t)
	f.apply(t, Options{})
	h, old := f.harbors["dc1"], testSecrets["robot-password/readonly/repo1"]
	f.vault.Store("robot-password/readonly/repo1", "Rotated1repo1")
	f.vault.Store("robot-password/edge", "Rotated1edge")
	rotations := []RotateOptions{{Robot: "readonly", Projects: []string{"repo1"}}, {Robot: "breakwater-edge"}}
	for _, rotation := range rotations {
		if err := f.open(t, Options{}).Rotate(t.Context(), rotation); err != nil {
			t.Fatal(err)
		}
	}
	today := time.Now().UTC().Format("20060102")
	for range 3 {
		plan := f.apply(t, Options{Prune: true})
		if len(plan.Changes) != 0 || !strings.Contains(strings.Join(plan.Notes, "\n"), "dc1: robot multi-dc-repo1+readonly-"+today+": users move to it") {
			t.Errorf("%v\n%s", plan.Changes, strings.Join(plan.Notes, "\n"))
		}
		for robot, secret := range map[string]string{"multi-dc-repo1+readonly": old, "multi-dc-repo1+readonly-" + today: "Rotated1repo1",
			"breakwater-edge": testSecrets["robot-password/edge"], "breakwater-edge-" + today: "Rotated1edge"} {
			if !logsIn(t, h, "robot$"+robot, secret) {
				t.Errorf("%s does not log in any more", robot)
			}
		}
	}
	for _, rotation := range rotations {
		rotation.Finish = true
		if err := f.open(t, Options{}).Rotate(t.Context(), rotation); err != nil {
			t.Fatal(err)
		}
	}
	f.apply(t, Options{Prune: true, PruneMax: 100})
	if logsIn(t, h, "robot$breakwater-edge-"+today, "Rotated1edge") || !logsIn(t, h, "robot$breakwater-edge", "Rotated1edge") {
		t.Error("the rotation does not end")
	}
	f.settled(t)
}

// The robot that stands in for sync stays while a peer logs in as it, also where that
// peer is away.
func TestPruneWhilePeersLogInAsTheSecondRobot(t *testing.T) {
	f := newTestFleet(t)
	f.apply(t, Options{})
	p := f.open(t, Options{})
	robots := p.rotated(p.wanting.wants(), RotateOptions{Robot: "sync", Projects: []string{"repo1"}})
	// As it is where a rotation was interrupted after its first half.
	if err := p.phase(t.Context(), RotateOptions{Progress: func(string) {}}, false, func(full *wanted) *wanted { return p.syncAs(full, robots, nextSuffix) }); err != nil {
		t.Fatal(err)
	}
	alone := f.plan(t, f.open(t, Options{Prune: true, Datacenters: []string{"dc1"}}))
	if alone.Count(Delete) != 0 || !strings.Contains(strings.Join(alone.Notes, "\n"), "may still log in as it") {
		t.Errorf("%v %v", alone.Changes, alone.Notes)
	}
	if plan := f.apply(t, Options{Prune: true}); plan.Count(Delete) != 0 || plan.Count(Update) == 0 {
		t.Errorf("%v %v", plan.Changes, plan.Notes)
	}
	if plan := f.apply(t, Options{Prune: true}); plan.Count(Delete) != 3 || len(plan.Changes) != 3 {
		t.Errorf("%v", plan.Changes)
	}
	f.settled(t)
}
