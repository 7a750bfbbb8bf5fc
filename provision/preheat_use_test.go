package provision

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// byHand is a preheat policy of somebody who administers a project.
func byHand(name string, provider any) map[string]any {
	return map[string]any{"name": name, "provider_id": provider, "enabled": true, "filters": "[]", "trigger": `{"type":"manual"}`}
}

// An instance stays that somebody's policy uses, in whatever project: the plan names it, ours go.
func TestPreheatInstanceThatOthersUseStays(t *testing.T) {
	f := newTestFleet(t)
	f.apply(t, Options{}, preheating...)
	h := f.harbors["dc1"]
	provider := found(t, h, instancesPath, "breakwater")["id"]
	call(t, h, "POST", "/projects", map[string]any{"project_name": "plain"})
	call(t, h, "POST", "/projects", map[string]any{"project_name": "multi-dc-left"})
	call(t, h, "POST", "/projects/plain/preheat/policies", byHand("nightly", provider))
	ours := byHand("breakwater", provider)
	ours["description"] = mark // of a project that left the fleet file
	call(t, h, "POST", "/projects/multi-dc-left/preheat/policies", ours)
	const said = "dc1: preheat instance breakwater: plain/nightly uses it; it stays"
	for _, prune := range []bool{false, true} {
		plan := f.plan(t, f.open(t, Options{Prune: prune}))
		if !strings.Contains(strings.Join(plan.Notes, "\n"), said) || plan.Count(Delete) != map[bool]int{true: 7}[prune] {
			t.Errorf("%t: %v %q", prune, plan.Changes, plan.Notes)
		}
	}
	f.apply(t, Options{Prune: true})
	f.settled(t)
	if found(t, h, instancesPath, "breakwater")["id"] != provider || strings.Contains(string(call(t, h, "GET", "/projects/multi-dc-left/preheat/policies", nil)), "breakwater") {
		t.Error("the instance is gone, or the policy of the project that left is not")
	}
	call(t, h, "DELETE", "/projects/plain/preheat/policies/nightly", nil)
	if plan := f.apply(t, Options{Prune: true}); len(plan.Changes) != 1 {
		t.Errorf("%v", plan.Changes)
	}
}

// One that somebody begins to use after the plan stays too, and nothing else fails by that.
func TestPreheatInstanceInUseSinceThePlan(t *testing.T) {
	f := newTestFleet(t)
	f.apply(t, Options{}, preheating...)
	p := f.open(t, Options{Prune: true})
	plan := f.plan(t, p)
	h := f.harbors["dc1"]
	call(t, h, "POST", repo1Preheats, byHand("nightly", found(t, h, instancesPath, "breakwater")["id"]))
	results := p.Apply(t.Context(), plan, nil)
	for _, r := range results {
		at := r.Key == Key{"dc1", kindInstance, preheatName}
		if at != (r.Outcome == Deferred) || !at && r.Outcome != Done || at && r.Why != "a preheat policy of a project uses it; it stays" {
			t.Errorf("%s: %s %q", r.Key, r.Outcome, r.Why)
		}
	}
	if len(results) == 0 || AnyFailed(results) || Partial(plan, results) {
		t.Errorf("%v", results)
	}
}

// In a Harbor of many projects the managed ones alone are asked, which is said; of the others
// Harbor says that they are in the way.
func TestPreheatInstanceOfManyProjects(t *testing.T) {
	f := newTestFleet(t)
	f.apply(t, Options{}, preheating...)
	h := f.harbors["dc1"]
	for i := range lookedInto {
		call(t, h, "POST", "/projects", map[string]any{"project_name": fmt.Sprintf("plain%d", i)})
	}
	call(t, h, "POST", "/projects/plain7/preheat/policies", byHand("nightly", found(t, h, instancesPath, "breakwater")["id"]))
	p := f.open(t, Options{Prune: true})
	plan := f.plan(t, p)
	const said = "dc1: preheat instance breakwater: this Harbor has more than 200 projects: only managed ones were asked whether their policies use it"
	if !strings.Contains(strings.Join(plan.Notes, "\n"), said) || plan.Calls > lookedInto {
		t.Errorf("%d calls, %q", plan.Calls, plan.Notes)
	}
	if results := p.Apply(t.Context(), plan, nil); len(results) != 7 || AnyFailed(results) || len(Waiting(results)) != 1 {
		t.Errorf("%v", results)
	}
}

// Where somebody else's instance has the edge's endpoint nothing is made, and it is said whose.
func TestPreheatEndpointThatIsTaken(t *testing.T) {
	f := newTestFleet(t)
	endpoint := string(f.open(t, Options{}, preheating...).options.Fleet.Datacenters["dc1"].Edge) + preheatPath
	call(t, f.harbors["dc1"], "POST", instancesPath, map[string]any{"name": "edge", "vendor": "kraken", "endpoint": endpoint, "auth_mode": "NONE", "enabled": true})
	p := f.open(t, Options{}, preheating...)
	plan := f.plan(t, p)
	for _, r := range p.Apply(t.Context(), plan, nil) {
		switch {
		case r.Key == Key{"dc1", kindInstance, preheatName}:
			if r.Outcome != Failed || !strings.HasPrefix(r.Why, `Harbor has this endpoint as instance "edge": delete that one, or`) || !strings.HasPrefix(r.Place, "fleet.yaml:") || r.Action != Refuse {
				t.Errorf("%+v", r)
			}
		case r.Kind == kindPreheat && r.Datacenter == "dc1":
			if r.Outcome != Deferred {
				t.Errorf("%+v", r)
			}
		case r.Outcome != Done:
			t.Errorf("%+v", r)
		}
	}
	call(t, f.harbors["dc1"], http.MethodDelete, instancesPath+"/edge", nil)
	f.apply(t, Options{}, preheating...)
	f.settled(t, preheating...)
}
