package provision

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"example.org/breakwater/internal/lab"
)

// call asks a Harbor's management API as its administrator does.
func call(t *testing.T, h *lab.Harbor, method, path string, body any) (answer []byte) {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, h.URL()+"/api/v2.0"+path, strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.SetBasicAuth(h.Admin())
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if answer, err = io.ReadAll(resp.Body); err != nil || resp.StatusCode/100 != 2 {
		t.Fatalf("%s %s: %s %s %v", method, path, resp.Status, answer, err)
	}
	return answer
}

// found is the one object of a list that has the name.
func found(t *testing.T, h *lab.Harbor, list, name string) map[string]any {
	t.Helper()
	sep := "?"
	if strings.Contains(list, "?") {
		sep = "&"
	}
	var all []map[string]any
	if err := json.Unmarshal(call(t, h, http.MethodGet, list+sep+"page_size=100", nil), &all); err != nil {
		t.Fatal(err)
	}
	for _, o := range all {
		if o["name"] == name {
			return o
		}
	}
	t.Fatalf("there is no %s in %s", name, list)
	return nil
}

func id(o map[string]any) string {
	for _, key := range []string{"id", "project_id"} {
		if n, ok := o[key].(float64); ok {
			return fmt.Sprintf("%.0f", n)
		}
	}
	return ""
}

// with is the object with some fields changed.
func with(o map[string]any, fields ...any) map[string]any {
	for i := 0; i < len(fields); i += 2 {
		o[fields[i].(string)] = fields[i+1]
	}
	return o
}

func robotsOf(t *testing.T, h *lab.Harbor, project string) string {
	t.Helper()
	return "/robots?q=" + url.QueryEscape("Level=project,ProjectID="+id(found(t, h, "/projects?name="+project, project)))
}

const (
	policies = "/replication/policies"
	webhooks = "/projects/multi-dc-repo1/webhook/policies"
	pulls    = "multi-dc-repo1 from dc2"
)

// drifts are changes that somebody makes by hand. Terraform's provider does not see them.
var drifts = []struct {
	name  string
	make  func(t *testing.T, h *lab.Harbor)
	kind  string
	field string
}{
	{"replication filter", func(t *testing.T, h *lab.Harbor) {
		p := found(t, h, policies, pulls)
		call(t, h, "PUT", policies+"/"+id(p), with(p, "filters", []any{map[string]any{"type": "name", "value": "**"}}))
	}, kindPolicy, "filters"},
	{"replication filter's decoration", func(t *testing.T, h *lab.Harbor) {
		p := found(t, h, policies, pulls)
		filters := []any{map[string]any{"type": "name", "value": "multi-dc-repo1/**"}, map[string]any{"type": "tag", "value": "?*", "decoration": "matches"}}
		call(t, h, "PUT", policies+"/"+id(p), with(p, "filters", filters))
	}, kindPolicy, "filters"},
	{"replication moves tags", func(t *testing.T, h *lab.Harbor) {
		p := found(t, h, policies, pulls)
		call(t, h, "PUT", policies+"/"+id(p), with(p, "override", true))
	}, kindPolicy, "override"},
	{"webhook disabled", func(t *testing.T, h *lab.Harbor) {
		w := found(t, h, webhooks, "breakwater")
		call(t, h, "PUT", webhooks+"/"+id(w), with(w, "enabled", false))
	}, kindWebhook, "disabled"},
	{"webhook of more", func(t *testing.T, h *lab.Harbor) {
		w := found(t, h, webhooks, "breakwater")
		call(t, h, "PUT", webhooks+"/"+id(w), with(w, "event_types", []string{"PUSH_ARTIFACT", "DELETE_ARTIFACT", "PULL_ARTIFACT"}))
	}, kindWebhook, "events"},
	{"webhook's secret", func(t *testing.T, h *lab.Harbor) {
		w := found(t, h, webhooks, "breakwater")
		call(t, h, "PUT", webhooks+"/"+id(w), with(w, "targets", []any{with(w["targets"].([]any)[0].(map[string]any), "auth_header", "Bearer mine")}))
	}, kindWebhook, "secret"},
	{"webhook to somebody else", func(t *testing.T, h *lab.Harbor) {
		w := found(t, h, webhooks, "breakwater")
		call(t, h, "PUT", webhooks+"/"+id(w), with(w, "targets", []any{with(w["targets"].([]any)[0].(map[string]any), "address", "https://hooks.example.org/T0KEN")}))
	}, kindWebhook, "targets"},
	{"webhook without verification", func(t *testing.T, h *lab.Harbor) {
		w := found(t, h, webhooks, "breakwater")
		call(t, h, "PUT", webhooks+"/"+id(w), with(w, "targets", []any{with(w["targets"].([]any)[0].(map[string]any), "skip_cert_verify", true)}))
	}, kindWebhook, "targets"},
	{"webhook deleted", func(t *testing.T, h *lab.Harbor) {
		call(t, h, "DELETE", webhooks+"/"+id(found(t, h, webhooks, "breakwater")), nil)
	}, kindWebhook, "events"},
	{"replication description", func(t *testing.T, h *lab.Harbor) {
		p := found(t, h, policies, pulls)
		call(t, h, "PUT", policies+"/"+id(p), with(p, "description", "mine"))
	}, kindPolicy, "description"},
	{"replication speed", func(t *testing.T, h *lab.Harbor) {
		p := found(t, h, policies, pulls)
		call(t, h, "PUT", policies+"/"+id(p), with(p, "speed", 10))
	}, kindPolicy, "speed"},
	{"push on events made a schedule", func(t *testing.T, h *lab.Harbor) {
		p := found(t, h, policies, "multi-dc-repo1 to dc2")
		call(t, h, "PUT", policies+"/"+id(p), with(p, "single_active_replication", true, "trigger", map[string]any{"type": "scheduled", "trigger_settings": map[string]any{"cron": "0 0/15 * * * *"}}))
	}, kindPolicy, "trigger"},
	{"replication disabled", func(t *testing.T, h *lab.Harbor) {
		p := found(t, h, policies, pulls)
		call(t, h, "PUT", policies+"/"+id(p), with(p, "enabled", false))
	}, kindPolicy, "disabled"},
	{"replication deleted", func(t *testing.T, h *lab.Harbor) {
		call(t, h, "DELETE", policies+"/"+id(found(t, h, policies, pulls)), nil)
	}, kindPolicy, "from"},
	{"quota", func(t *testing.T, h *lab.Harbor) {
		var quotas []map[string]any
		if err := json.Unmarshal(call(t, h, "GET", "/quotas?reference=project&reference_id="+id(found(t, h, "/projects", "multi-dc-repo1")), nil), &quotas); err != nil || len(quotas) != 1 {
			t.Fatal(quotas, err)
		}
		call(t, h, "PUT", "/quotas/"+id(quotas[0]), map[string]any{"hard": map[string]any{"storage": 1 << 30}})
	}, kindProject, "quota"},
	{"project made public", func(t *testing.T, h *lab.Harbor) {
		call(t, h, "PUT", "/projects/multi-dc-repo1", map[string]any{"metadata": map[string]any{"public": "true"}})
	}, kindProject, "public"},
	{"robot secret", func(t *testing.T, h *lab.Harbor) {
		call(t, h, "PATCH", "/robots/"+id(found(t, h, robotsOf(t, h, "multi-dc-repo1"), "robot$multi-dc-repo1+readonly")), map[string]any{"secret": "Changed1byhand"})
	}, kindRobot, "secret"},
	{"robot permissions", func(t *testing.T, h *lab.Harbor) {
		rb := found(t, h, robotsOf(t, h, "multi-dc-repo1"), "robot$multi-dc-repo1+readonly")
		access := []any{map[string]any{"resource": "repository", "action": "push"}, map[string]any{"resource": "repository", "action": "pull"}}
		call(t, h, "PUT", "/robots/"+id(rb), with(rb, "permissions", []any{map[string]any{"kind": "project", "namespace": "multi-dc-repo1", "access": access}}))
	}, kindRobot, "may"},
	{"robot disabled", func(t *testing.T, h *lab.Harbor) {
		rb := found(t, h, robotsOf(t, h, "multi-dc-repo1"), "robot$multi-dc-repo1+readwrite")
		call(t, h, "PUT", "/robots/"+id(rb), with(rb, "disable", true))
	}, kindRobot, "disabled"},
	{"robot deleted", func(t *testing.T, h *lab.Harbor) {
		call(t, h, "DELETE", "/robots/"+id(found(t, h, "/robots", "robot$breakwater-edge")), nil)
	}, kindRobot, "secret"},
	{"registry secret", func(t *testing.T, h *lab.Harbor) {
		// Another robot's, which works as well: what is stored is not seen, who it is is.
		r := found(t, h, "/registries", "multi-dc-repo1-dc2")
		call(t, h, "PUT", "/registries/"+id(r), map[string]any{"access_key": "robot$multi-dc-repo1+readonly", "access_secret": testSecrets["robot-password/readonly/repo1"]})
	}, kindRegistry, "user"},
	{"registry description", func(t *testing.T, h *lab.Harbor) {
		r := found(t, h, "/registries", "multi-dc-repo1-dc2")
		call(t, h, "PUT", "/registries/"+id(r), map[string]any{"description": "mine"})
	}, kindRegistry, "description"},
	{"retention deleted", func(t *testing.T, h *lab.Harbor) {
		p := found(t, h, "/projects", "multi-dc-repo1")
		call(t, h, "DELETE", "/retentions/"+p["metadata"].(map[string]any)["retention_id"].(string), nil)
	}, kindRetention, "keep"},
	{"retention changed", func(t *testing.T, h *lab.Harbor) {
		p := found(t, h, "/projects", "cache-dockerhub")
		call(t, h, "PUT", "/retentions/"+p["metadata"].(map[string]any)["retention_id"].(string), map[string]any{"algorithm": "or", "rules": []any{}, "scope": map[string]any{"level": "project", "ref": p["project_id"]}, "trigger": map[string]any{"kind": "Schedule", "settings": map[string]any{"cron": ""}}})
	}, kindRetention, "keep"},
	{"OIDC's groups", func(t *testing.T, h *lab.Harbor) {
		call(t, h, "PUT", "/configurations", map[string]any{"oidc_admin_group": "everybody"})
	}, kindConfiguration, "oidc_admin_group"},
}

// What somebody changes by hand is seen, is all that is seen, and is mended in one run.
func TestDriftIsSeenAndMended(t *testing.T) {
	f := newTestFleet(t)
	f.apply(t, Options{})
	for _, d := range drifts {
		t.Run(d.name, func(t *testing.T) {
			d.make(t, f.harbors["dc1"])
			plan := f.apply(t, Options{})
			if len(plan.Changes) != 1 {
				t.Fatalf("%d changes: %v", len(plan.Changes), plan.Changes)
			}
			c := plan.Changes[0]
			seen := false
			for _, field := range c.Fields {
				seen = seen || field.Name == d.field
			}
			if c.Datacenter != "dc1" || c.Kind != d.kind || !seen {
				t.Errorf("seen is %s %v", c.Key, c.Fields)
			}
			f.settled(t)
		})
	}
}

// Settings of the system and the schedule of garbage collection are kept where they
// are written, and left alone elsewhere.
func TestHousekeeping(t *testing.T) {
	f := newTestFleet(t)
	more := []string{"harbor:\n  username", "harbor:\n  gc: { every: 1d, untagged: true }\n  settings: { project_creation: adminonly, token_lifetime: 45m, session_timeout: 1m }\n  username"}
	f.apply(t, Options{}, more...)
	f.settled(t, more...)
	h := f.harbors["dc1"]
	call(t, h, "PUT", "/system/gc/schedule", map[string]any{"schedule": map[string]any{"type": "None", "cron": ""}})
	call(t, h, "PUT", "/configurations", map[string]any{"token_expiration": 30})
	if plan := f.apply(t, Options{}, more...); len(plan.Changes) != 2 {
		t.Errorf("%v", plan.Changes)
	}
	f.settled(t, more...)
	call(t, h, "PUT", "/configurations", map[string]any{"token_expiration": 30})
	f.settled(t)
}

func TestVersionsThatWereNotTried(t *testing.T) {
	for version, said := range map[string]bool{"v2.15.2-080b0220": false, "v2.9.0": false, "v2.8.4": true, "v2.16.0": true, "v1.10.0": true, "": false} {
		if note := (&having{datacenter: "dc1", version: version}).outside(); (note != "") != said {
			t.Errorf("%s: %q", version, note)
		}
	}
}

// A sync robot whose secret somebody changed breaks the peers' registries too: all of
// it is seen and mended at once.
func TestDriftOfASyncSecret(t *testing.T) {
	f := newTestFleet(t)
	f.apply(t, Options{})
	h := f.harbors["dc2"]
	call(t, h, "PATCH", "/robots/"+id(found(t, h, robotsOf(t, h, "multi-dc-repo1"), "robot$multi-dc-repo1+sync")), map[string]any{"secret": "Changed1byhand"})
	if plan := f.apply(t, Options{}); plan.Count(Update) == 0 {
		t.Error("nothing is seen")
	}
	f.settled(t)
}

// What would have to be replaced is refused, and everything else is done.
func TestReplacementIsRefused(t *testing.T) {
	f := newTestFleet(t)
	f.apply(t, Options{})
	p := f.open(t, Options{}, "quay.io: {", "quay.io: { provider: github-ghcr,")
	plan := f.plan(t, p)
	if plan.Count(Refuse) != 3 || len(plan.Changes) != 3 {
		t.Errorf("%v", plan.Changes)
	}
	for _, r := range p.Apply(t.Context(), plan, nil) {
		if r.Outcome != Failed || !strings.Contains(r.Why, "replacing it would lose") {
			t.Errorf("%v", r)
		}
	}
	f.settled(t)
}

// What is not wanted any more goes when it is told to, and never a project.
func TestPrune(t *testing.T) {
	f := newTestFleet(t)
	f.apply(t, Options{})
	without := []string{"    repo2: {}\n", ""}
	plan := f.plan(t, f.open(t, Options{}, without...))
	if plan.Count(Delete) != 0 || !strings.Contains(strings.Join(plan.Notes, "\n"), "dc1: project multi-dc-repo2: it is not in the fleet file") ||
		!strings.Contains(strings.Join(plan.Notes, "\n"), "dc1: registry multi-dc-repo2-dc2: it is not in the fleet file any more; --prune deletes it") {
		t.Errorf("%v\n%s", plan.Changes, strings.Join(plan.Notes, "\n"))
	}
	p := f.open(t, Options{Prune: true}, without...)
	if _, err := p.Plan(t.Context()); err == nil || !strings.Contains(err.Error(), "is the fleet file whole?") {
		t.Errorf("18 objects are deleted without a word: %v", err)
	}
	if _, err := f.open(t, Options{Prune: true, PruneMax: 17}, without...).Plan(t.Context()); err == nil {
		t.Error("18 objects are deleted though 17 may be")
	}
	f.apply(t, Options{Prune: true, PruneMax: 18}, without...)
	for _, h := range f.harbors {
		found(t, h, "/projects", "multi-dc-repo2")
		var all []map[string]any
		if err := json.Unmarshal(call(t, h, http.MethodGet, policies+"?page_size=100", nil), &all); err != nil {
			t.Fatal(err)
		}
		for _, p := range all {
			if strings.HasPrefix(p["name"].(string), "multi-dc-repo2") {
				t.Errorf("%v is still there", p["name"])
			}
		}
	}
	f.apply(t, Options{})
	f.settled(t)
}
