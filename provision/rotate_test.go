package provision

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"

	"example.org/breakwater/internal/lab"
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

// While sync gets a new secret every peer's login works at every moment, and in the
// end the old secret does not.
func TestRotateSyncHasNoGap(t *testing.T) {
	f := newTestFleet(t)
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
	f.vault.Store("robot-password/replication/repo1", "Rotated1repo1")
	f.vault.Store("robot-password/replication/repo2", "Rotated1repo2")
	var said []string
	err := f.open(t, Options{}).Rotate(t.Context(), RotateOptions{Robot: "sync", Progress: func(s string) { said = append(said, s) }})
	close(stop)
	all.Wait()
	if err != nil {
		t.Fatalf("%v\n%s", err, strings.Join(said, "\n"))
	}
	for name, h := range f.harbors {
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
