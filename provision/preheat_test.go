package provision

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/keyring"
	"example.org/breakwater/internal/lab"
	"example.org/breakwater/internal/secret"
	"example.org/breakwater/internal/trial"
)

const (
	instancesPath = "/p2p/preheat/instances"
	repo1Preheats = "/projects/multi-dc-repo1/preheat/policies"
)

// preheating is a fleet in which one project has a policy everywhere, and another in dc1 alone.
var preheating = []string{"repo1: {}", `repo1: { preheat: { repos: [web, "team/**"], tags: ["v*"], labels: [prod, ok] } }`,
	"repo2: {}", "repo2: { datacenters: { dc1: { preheat: { trigger: schedule, every: 1d } } } }"}

// A Harbor knows its edge, and has policies by which a push is told there, by a login that the
// edge of this datacenter takes and no other.
func TestPreheatPolicies(t *testing.T) {
	f := newTestFleet(t)
	f.apply(t, Options{}, preheating...)
	f.settled(t, preheating...)
	edges := f.open(t, Options{}, preheating...).options.Fleet.Datacenters
	key := trial.Keys(testPeerKey, "").For(keyring.Preheat)[0]
	for name, h := range f.harbors {
		i := found(t, h, instancesPath, "breakwater")
		if i["vendor"] != "kraken" || i["endpoint"] != string(edges[name].Edge)+"/breakwater/v1/preheat" || i["auth_mode"] != "BASIC" || i["enabled"] != true || i["insecure"] != false ||
			i["description"] != "The edge of "+name+", by the key "+key.ID+" (managed by breakwater)" {
			t.Errorf("%s: %v", name, i)
		}
		p := found(t, h, repo1Preheats, "breakwater")
		var filters []map[string]any
		if err := json.Unmarshal([]byte(p["filters"].(string)), &filters); err != nil {
			t.Fatal(err)
		}
		if want := []map[string]any{{"type": "repository", "value": "{web,team/**}"}, {"type": "tag", "value": "v*"}, {"type": "label", "value": "prod,ok"}}; !reflect.DeepEqual(filters, want) {
			t.Errorf("%s: %v", name, filters)
		}
		if p["trigger"] != `{"type":"event_based","trigger_setting":{"cron":""}}` || p["provider_id"] != i["id"] || p["enabled"] != true {
			t.Errorf("%s: %v", name, p)
		}
		var second []map[string]any
		if err := json.Unmarshal(call(t, h, "GET", "/projects/multi-dc-repo2/preheat/policies", nil), &second); err != nil || len(second) != map[string]int{"dc1": 1}[name] {
			t.Errorf("%s: %v %v", name, second, err)
		}
	}
	call(t, f.harbors["dc2"], "POST", "/projects/multi-dc-repo2/preheat/policies", map[string]any{"name": "by-hand", "provider_id": 1, "enabled": true,
		"filters": `[{"type":"repository","value":"**"}]`, "trigger": `{"type":"event_based"}`})
	pushAndPull(t, f.harbors["dc2"], "multi-dc-repo2/app:v1")
	f.harbors["dc2"].Idle()
	asked := map[string]bool{}
	for len(f.told) > 0 {
		r := <-f.told
		user, password, _ := r.BasicAuth()
		if user == "breakwater" && password == secret.Preheat(key, "dc2") && r.Host == strings.TrimPrefix(string(edges["dc2"].Edge), "http://") {
			asked[r.Method+" "+r.URL.Path] = true
		}
	}
	if !asked["GET /breakwater/v1/preheat/health"] || !asked["POST /breakwater/v1/preheat/registry/notifications"] {
		t.Errorf("the edge is asked for %v", asked)
	}
}

// What was changed by hand is put right, the login with it; what is not wanted any more goes
// with --prune, and what is others' never.
func TestPreheatIsKeptAndPruned(t *testing.T) {
	f := newTestFleet(t)
	f.apply(t, Options{}, preheating...)
	h := f.harbors["dc1"]
	i, p := found(t, h, instancesPath, "breakwater"), found(t, h, repo1Preheats, "breakwater")
	endpoint := i["endpoint"]
	call(t, h, "PUT", instancesPath+"/breakwater", with(i, "endpoint", "http://127.0.0.1:1", "auth_info", map[string]any{"x": "y"}))
	call(t, h, "PUT", repo1Preheats+"/breakwater", with(p, "filters", `[{"type":"tag","value":"**"}]`, "enabled", false))
	plan := f.plan(t, f.open(t, Options{}, preheating...))
	if len(plan.Changes) != 2 || plan.Count(Update) != 2 {
		t.Errorf("%v", plan.Changes)
	}
	if text, err := json.Marshal(plan); err != nil || strings.Contains(string(text), secret.Preheat(trial.Keys(testPeerKey, "").For(keyring.Preheat)[0], "dc1")) {
		t.Errorf("the password is in %s, %v", text, err)
	}
	f.apply(t, Options{}, preheating...)
	f.settled(t, preheating...)
	if got := found(t, h, instancesPath, "breakwater"); got["endpoint"] != endpoint {
		t.Errorf("%v, want %v", got, endpoint)
	}
	call(t, h, "POST", instancesPath+"/ping", map[string]any{"id": i["id"]})
	if _, password, _ := (<-f.told).BasicAuth(); password != secret.Preheat(trial.Keys(testPeerKey, "").For(keyring.Preheat)[0], "dc1") {
		t.Errorf("Harbor logs in with %q", password)
	}
	call(t, h, "POST", instancesPath, map[string]any{"name": "other", "vendor": "dragonfly", "endpoint": "http://dragonfly", "enabled": true})
	call(t, h, "POST", repo1Preheats, map[string]any{"name": "other", "provider_id": 2, "filters": "[]", "trigger": "{}"})
	if plan := f.plan(t, f.open(t, Options{})); len(plan.Changes) != 0 || !strings.Contains(strings.Join(plan.Notes, "\n"), "preheat multi-dc-repo1 breakwater: it is not in the fleet file any more; --prune deletes it") {
		t.Errorf("%v %q", plan.Changes, plan.Notes)
	}
	if plan := f.apply(t, Options{Prune: true}); plan.Count(Delete) != 7 || len(plan.Changes) != 7 {
		t.Errorf("%v", plan.Changes)
	}
	f.settled(t)
	var left []map[string]any
	if err := json.Unmarshal(call(t, h, "GET", instancesPath, nil), &left); err != nil || len(left) != 1 || left[0]["name"] != "other" {
		t.Errorf("%v %v", left, err)
	}
}

// A Harbor without the API, and an account that may not see it, are named; everything else is done.
func TestHarborsWithoutPreheat(t *testing.T) {
	for status, said := range map[int]string{
		http.StatusNotFound:  "dc2: preheat instance breakwater: this Harbor has no API for preheat policies, so there are none: they came with v2.1",
		http.StatusForbidden: "this account may not see it, so it is left alone",
	} {
		f := newTestFleet(t)
		if err := f.harbors["dc2"].SetFaults(lab.Fault{Name: fmt.Sprint(status), Path: instancesPath}); err != nil {
			t.Fatal(err)
		}
		plan := f.plan(t, f.open(t, Options{}, preheating...))
		if !strings.Contains(strings.Join(plan.Notes, "\n"), said) || len(plan.Faults) != 0 || (plan.Hidden() != nil) != (status == http.StatusForbidden) {
			t.Errorf("%d: %q %v %v", status, plan.Notes, plan.Faults, plan.Hidden())
		}
		for _, c := range plan.Changes {
			if c.Datacenter == "dc2" && (c.Kind == kindInstance || c.Kind == kindPreheat) {
				t.Errorf("%d: %v", status, c)
			}
		}
	}
}

// Another key is another password, which the description tells, and datacenters have their own.
func TestPreheatFollowsTheKey(t *testing.T) {
	f := newTestFleet(t)
	opened := f.open(t, Options{}, preheating...).options.Fleet
	seen := map[string]bool{}
	for _, shared := range []string{strings.Repeat("a", 32), strings.Repeat("b", 32)} {
		w := &wanting{fleet: opened, secret: func(fleet.Ref, string) string { return shared }}
		d := w.wants()
		for _, datacenter := range []string{"dc1", "dc2"} {
			k := Key{datacenter, kindInstance, preheatName}
			description := d.objects[k].(*instance).model("")["description"].(string) + datacenter
			if seen[d.secrets[k]] || seen[description] || d.secrets[k] == "" || strings.Contains(description, d.secrets[k]) {
				t.Errorf("%s: %q, %q", k, description, d.secrets[k])
			}
			seen[d.secrets[k]], seen[description] = true, true
		}
	}
	for name, replace := range map[string][]string{"no edge": {`, edge: "https://edge.dc1.example.org"`, ""}, "no policy": {"repo1: {}", "repo1: {}"}} {
		d := wantedOf(t, append(replace, preheating[:len(preheating)*map[string]int{"no edge": 1}[name]]...)...)
		if d.objects[Key{"dc1", kindInstance, preheatName}] != nil || d.objects[Key{"dc1", kindPreheat, "multi-dc-repo1 breakwater"}] != nil {
			t.Errorf("%s: there is one", name)
		}
	}
}
