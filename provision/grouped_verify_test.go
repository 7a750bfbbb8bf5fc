package provision

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// failing are the checks of a verification that failed, as "dc1: what: detail".
func failing(t *testing.T, p *Provisioner, o VerifyOptions) (all []string) {
	t.Helper()
	checks, err := p.Verify(t.Context(), o)
	if err != nil || len(checks) == 0 {
		t.Fatal(checks, err)
	}
	for _, c := range checks {
		if !c.OK {
			all = append(all, c.Datacenter+": "+c.What+": "+c.Detail)
		}
	}
	return all
}

// In groups a canary crosses every pair, also where no event brings it. A project that
// the robot does not cover is named by a plan and by verify, with and without a canary,
// while Harbor's own executions say Succeed.
func TestAProjectThatTheRobotDoesNotCover(t *testing.T) {
	f, j := newGroupable(t, []string{"dc1", "dc2"}, "app: {}", "web: { replication: { push: none } }")
	for name, h := range f.harbors { // who is sent elsewhere for a token does not go
		f.text = strings.Replace(f.text, j.address[name], h.URL(), 1)
	}
	f.apply(t, Options{}, inGroups...)
	p := f.open(t, Options{}, inGroups...)
	if all := failing(t, p, VerifyOptions{Patience: 20 * time.Second}); len(all) > 0 {
		t.Errorf("verify says %v", all)
	}
	h := f.harbors["dc2"]
	robot := found(t, h, "/robots", "robot$breakwater-sync")
	permissions := slices.DeleteFunc(robot["permissions"].([]any), func(p any) bool { return p.(map[string]any)["namespace"] == "multi-dc-web" })
	call(t, h, http.MethodPut, "/robots/"+id(robot), with(robot, "permissions", permissions))
	if err := f.harbors["dc1"].Replicate("multi-dc from dc2"); err != nil {
		t.Fatal(err)
	}
	f.harbors["dc1"].Idle()
	plan := f.plan(t, p)
	if len(plan.Changes) != 1 || plan.Changes[0].Key != (Key{"dc2", kindRobot, "breakwater-sync"}) || !strings.Contains(plan.Changes[0].Why, "it does not cover multi-dc-web") {
		t.Errorf("the plan says %+v", plan.Changes)
	}
	const names = "dc2: robot breakwater-sync covers the projects that are replicated as it: multi-dc-web: others pull nothing of it"
	if all := failing(t, p, VerifyOptions{NoCanary: true}); len(all) != 1 || !strings.HasPrefix(all[0], names) {
		t.Errorf("verify without a canary says %v", all)
	}
	all := failing(t, p, VerifyOptions{Patience: 2 * time.Second})
	if !slices.ContainsFunc(all, func(s string) bool { return strings.HasPrefix(s, names) }) || !slices.ContainsFunc(all, func(s string) bool { return strings.HasPrefix(s, "dc2: push to multi-dc-web: ") }) {
		t.Errorf("verify says %v", all)
	}
	f.apply(t, Options{}, inGroups...)
	if all := failing(t, p, VerifyOptions{NoCanary: true}); len(all) > 0 {
		t.Errorf("verify says %v after an apply", all)
	}
}

// What somebody changes by hand in what replicates groups is seen and mended.
func TestDriftOfGroups(t *testing.T) {
	f, _ := newGroupable(t, []string{"dc1", "dc2"}, "app: {}", "web: {}")
	f.apply(t, Options{}, inGroups...)
	h := f.harbors["dc1"]
	rule := found(t, h, policies, "multi-dc from dc2")
	call(t, h, http.MethodPut, policies+"/"+id(rule), with(rule, "filters", []any{map[string]any{"type": "name", "value": "multi-dc-app/**"}}, "dest_namespace", "elsewhere", "single_active_replication", false))
	other := found(t, h, policies, "multi-dc to dc2")
	call(t, h, http.MethodPut, policies+"/"+id(other), with(other, "enabled", false))
	plan := f.apply(t, Options{}, inGroups...)
	var fields []string
	for _, c := range plan.Changes {
		for _, field := range c.Fields {
			fields = append(fields, c.Name+": "+field.Name)
		}
	}
	want := []string{"multi-dc from dc2: filters", "multi-dc from dc2: namespace", "multi-dc from dc2: single_active_replication", "multi-dc to dc2: disabled"}
	if slices.Sort(fields); !slices.Equal(fields, want) {
		t.Errorf("a plan changes %v, want %v", fields, want)
	}
	f.settled(t, inGroups...)
}

// A project that comes to be replicated in another way is not without replication between
// the two, nor is one of those that are dealt out anew; one that is new is in the robots'
// permissions before a replication names it.
func TestGroupsChange(t *testing.T) {
	f, j := newGroupable(t, []string{"dc1", "dc2"}, "app: {}", "web: {}", "late: {}")
	without := slices.Concat(inGroups, []string{"    late: {}\n", ""})
	f.apply(t, Options{}, without...)
	j.expect(2 * 2 * 2)
	for _, replace := range [][]string{inGroups, slices.Concat(inGroups, []string{"web: {}", "web: { replication: { pull: 1h } }"}), inGroups, without} {
		plan := move(t, f, replace...)
		t.Logf("%d changes", len(plan.Changes))
	}
	for _, wrong := range j.verdict() {
		t.Error(wrong)
	}
}

// The robot of groups gets a new secret as those of projects do, and no login is refused.
func TestRotateTheRobotOfGroups(t *testing.T) {
	f, j := newGroupable(t, []string{"dc1", "dc2"}, "app: {}", "web: {}")
	f.apply(t, Options{}, inGroups...)
	j.expect(2 * 2 * 2)
	if err := os.WriteFile(filepath.Join(j.secrets, "group"), []byte("Group2Secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := f.open(t, Options{}, inGroups...)
	if err := p.Rotate(t.Context(), RotateOptions{Robot: "sync"}); err != nil {
		t.Fatal(err)
	}
	f.settled(t, inGroups...)
	for _, wrong := range j.verdict() {
		if !strings.HasSuffix(wrong, "robot$breakwater-sync GET /service/token") { // that is how the old secret is known
			t.Error(wrong)
		}
	}
}
