package provision

import (
	"net"
	"strings"
	"testing"

	"example.org/breakwater/internal/lab"
)

// With one Harbor dead the others converge; what needs it waits and is named. When it
// is back one run completes.
func TestADeadDatacenter(t *testing.T) {
	f := newTestFleet(t)
	address := strings.TrimPrefix(f.harbors["drp"].URL(), "http://")
	if err := f.harbors["drp"].Close(); err != nil {
		t.Fatal(err)
	}
	p := f.open(t, Options{})
	plan := f.plan(t, p)
	if len(plan.Faults) != 1 || plan.Faults[0].Datacenter != "drp" {
		t.Fatalf("%v", plan.Faults)
	}
	results := p.Apply(t.Context(), plan, nil)
	deferred := map[string]bool{}
	for _, r := range results {
		switch touches := strings.Contains(r.Name, "drp"); {
		case touches && r.Outcome == Deferred:
			deferred[r.Datacenter+" "+r.Name] = true
		case touches || r.Outcome != Done:
			t.Errorf("%s: %s: %s", r.Key, r.Outcome, r.Why)
		}
	}
	if !Partial(plan, results) || AnyFailed(results) || !deferred["dc1 multi-dc-repo1-drp"] || !deferred["dc2 multi-dc-repo2 to drp"] || len(deferred) != 12 {
		t.Errorf("waiting: %v", deferred)
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	h, err := lab.StartHarbor(lab.HarborConfig{Key: testKey(), Listener: listener, Registries: f.internet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() }) //nolint:errcheck // the test is over
	f.apply(t, Options{})
	f.settled(t)
}

// One datacenter alone can be planned; the others are not asked.
func TestOneDatacenterAlone(t *testing.T) {
	f := newTestFleet(t)
	f.apply(t, Options{})
	h := f.harbors["dc2"]
	call(t, f.harbors["dc1"], "PUT", "/projects/multi-dc-repo1", map[string]any{"metadata": map[string]any{"public": "true"}})
	call(t, h, "PUT", "/projects/multi-dc-repo1", map[string]any{"metadata": map[string]any{"public": "true"}})
	plan := f.plan(t, f.open(t, Options{Datacenters: []string{"dc1"}}))
	if len(plan.Changes) != 1 || plan.Changes[0].Datacenter != "dc1" || len(plan.Faults) != 0 {
		t.Errorf("%v %v", plan.Changes, plan.Faults)
	}
}

// A prefix of robots' names that one Harbor has for itself is read from it: its peers
// log in with it.
func TestRobotPrefixOfAHarbor(t *testing.T) {
	f := newTestFleet(t)
	call(t, f.harbors["dc2"], "PUT", "/configurations", map[string]any{"robot_name_prefix": "bot_"})
	f.apply(t, Options{})
	if user := found(t, f.harbors["dc1"], "/registries", "multi-dc-repo1-dc2")["credential"].(map[string]any)["access_key"]; user != "bot_multi-dc-repo1+sync" {
		t.Errorf("dc1 logs in at dc2 as %v", user)
	}
	f.settled(t)
}

// A wrong password is said as what it is, and nothing is done.
func TestWrongPassword(t *testing.T) {
	f := newTestFleet(t)
	p := f.open(t, Options{}, "#admin-password", "#oidc-client-secret")
	plan := f.plan(t, p)
	if len(plan.Faults) != 3 || !strings.Contains(plan.Faults[0].Message, "harbor.username and harbor.password") || len(plan.Changes) != 0 {
		t.Errorf("%v %v", plan.Faults, plan.Changes)
	}
}
