package provision

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/goharbor/go-client/pkg/sdk/v2.0/models"

	"example.org/breakwater/internal/keyring"
	"example.org/breakwater/internal/secret"
	"example.org/breakwater/internal/trial"
)

// headerOf is what the webhook of a datacenter and project shows its edge.
func headerOf(datacenter, project string) string {
	return "Bearer " + secret.Webhook(trial.Keys(testPeerKey, "").For(keyring.Webhooks)[0], datacenter, project)
}

// A Harbor has the webhook in the form of which recordings show that it is delivered, one
// for each replicated project; what it sends its edge takes for that project's.
func TestWebhooksTellTheEdge(t *testing.T) {
	f := newTestFleet(t)
	f.apply(t, Options{})
	p := f.open(t, Options{})
	for name, h := range f.harbors {
		for _, project := range []string{"multi-dc-repo1", "multi-dc-repo2"} {
			got := found(t, h, "/projects/"+project+"/webhook/policies", "breakwater")
			for _, k := range []string{"id", "project_id", "creation_time", "update_time"} {
				delete(got, k)
			}
			want := map[string]any{"name": "breakwater", "description": "Tells the edge of " + name + " of pushes and deletes (managed by breakwater)", "enabled": true,
				"event_types": []any{"PUSH_ARTIFACT", "DELETE_ARTIFACT"},
				"targets": []any{map[string]any{"type": "http", "payload_format": "Default", "auth_header": headerOf(name, project),
					"address": string(p.options.Fleet.Datacenters[name].Edge) + "/breakwater/v1/webhook"}}}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %s has %v\nwant %v", name, project, got, want)
			}
		}
		if all := call(t, h, http.MethodGet, "/projects/cache-quay.io/webhook/policies", nil); strings.TrimSpace(string(all)) != "[]" {
			t.Errorf("%s: a cache has %s", name, all)
		}
	}
	pushAndPull(t, f.harbors["dc2"], "multi-dc-repo1/app:v1")
	f.harbors["dc2"].Idle()
	var told *http.Request
	select {
	case told = <-f.told:
	default:
		t.Fatal("a push is told to nobody")
	}
	edge := strings.TrimPrefix(string(p.options.Fleet.Datacenters["dc2"].Edge), "http://")
	if told.Host != edge || told.URL.Path != "/breakwater/v1/webhook" || told.Header.Get("Authorization") != headerOf("dc2", "multi-dc-repo1") {
		t.Errorf("%s%s %s", told.Host, told.URL, told.Header.Get("Authorization"))
	}
}

// No plan and no output of it has a webhook's secret in it: neither ours nor one that
// somebody wrote by hand.
func TestWebhookSecretsAreNotShown(t *testing.T) {
	f := newTestFleet(t)
	shown := func(plan *Plan) string {
		text, err := json.Marshal(plan)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	first := shown(f.apply(t, Options{}))
	w := found(t, f.harbors["dc1"], webhooks, "breakwater")
	hand := with(w["targets"].([]any)[0].(map[string]any), "auth_header", "Bearer handmade", "address", "https://hooks.example.org/T0KEN")
	call(t, f.harbors["dc1"], "PUT", webhooks+"/"+id(w), with(w, "targets", []any{hand}))
	second := shown(f.plan(t, f.open(t, Options{})))
	if !strings.Contains(second, `"kind":"webhook","name":"multi-dc-repo1 breakwater","action":"update"`) {
		t.Errorf("it is not seen: %s", second)
	}
	for _, hidden := range []string{strings.TrimPrefix(headerOf("dc1", "multi-dc-repo1"), "Bearer "), testPeerKey, "handmade", "T0KEN"} {
		if strings.Contains(first+second, hidden) {
			t.Errorf("%q is in\n%s\n%s", hidden, first, second)
		}
	}
}

// Where there is no edge, no key, or it is not wished, there is no webhook; one that was
// there goes with --prune, and others' never.
func TestWebhooksThatAreNotWanted(t *testing.T) {
	for name, replace := range map[string][]string{
		"no edge":    {`, edge: "https://edge.dc1.example.org"`, ""},
		"no key":     {`peers: { key: "vault:secret/breakwater#peer-key" }`, `peers: { ca: /ca.pem }`},
		"not wished": {"repo1: {}", "repo1: { webhooks: false }"},
		"not there":  {"repo1: {}", "repo1: { datacenters: { dc1: { webhooks: false } } }"},
	} {
		if d := wantedOf(t, replace...); d.objects[Key{"dc1", kindWebhook, "multi-dc-repo1 breakwater"}] != nil {
			t.Errorf("%s: there is one", name)
		}
	}
	f := newTestFleet(t)
	f.apply(t, Options{})
	h := f.harbors["dc1"]
	call(t, h, "POST", webhooks, map[string]any{"name": "chat", "description": "a copy " + mark, "enabled": true, "event_types": []string{"PUSH_ARTIFACT"}, "targets": []any{map[string]any{"type": "http", "address": "http://127.0.0.1:1"}}})
	without := []string{"repo1: {}", "repo1: { webhooks: false }"}
	plan := f.plan(t, f.open(t, Options{}, without...))
	if len(plan.Changes) != 0 || !strings.Contains(strings.Join(plan.Notes, "\n"), "dc1: webhook multi-dc-repo1 breakwater: it is not in the fleet file any more; --prune deletes it") {
		t.Errorf("%v %v", plan.Changes, plan.Notes)
	}
	if plan = f.apply(t, Options{Prune: true}, without...); plan.Count(Delete) != 3 || len(plan.Changes) != 3 {
		t.Errorf("%v", plan.Changes)
	}
	var left []map[string]any
	if err := json.Unmarshal(call(t, h, "GET", webhooks, nil), &left); err != nil || len(left) != 1 || left[0]["name"] != "chat" {
		t.Errorf("%v %v", left, err)
	}
	f.settled(t, without...)
}

// One of that name that somebody made by hand is taken over.
func TestWebhookIsAdopted(t *testing.T) {
	f := newTestFleet(t)
	call(t, f.harbors["dc1"], "POST", "/projects", map[string]any{"project_name": "multi-dc-repo1"})
	byHand := map[string]any{"name": "breakwater", "enabled": true, "event_types": []string{"PULL_ARTIFACT"}, "targets": []any{map[string]any{"type": "slack", "address": "http://127.0.0.1:1"}}}
	call(t, f.harbors["dc1"], "POST", webhooks, byHand)
	f.apply(t, Options{})
	w := found(t, f.harbors["dc1"], webhooks, "breakwater")
	if target := w["targets"].([]any)[0].(map[string]any); target["type"] != "http" || target["auth_header"] != headerOf("dc1", "multi-dc-repo1") {
		t.Errorf("%v", w)
	}
	f.settled(t)
}

// An account that may not see webhooks is told so where they are wanted, and is not
// bothered elsewhere.
func TestWebhooksThatAnAccountMayNotSee(t *testing.T) {
	f := newTestFleet(t)
	f.apply(t, Options{})
	user := map[string]any{"name": "planner", "level": "system", "duration": -1, "permissions": []any{
		map[string]any{"kind": "project", "namespace": "*", "access": access("list", "repository")}}}
	call(t, f.harbors["dc1"], "POST", "/robots", user)
	call(t, f.harbors["dc1"], "PATCH", "/robots/"+id(found(t, f.harbors["dc1"], "/robots", "robot$planner")), map[string]any{"secret": "Planner1secret"})
	h, err := newHarbor(f.harbors["dc1"].URL(), "robot$planner", "Planner1secret", nil)
	if err != nil {
		t.Fatal(err)
	}
	var projects []*models.Project
	if err := json.Unmarshal(call(t, f.harbors["dc1"], "GET", "/projects?q=name%3Dmulti-dc-repo1", nil), &projects); err != nil || len(projects) != 1 {
		t.Fatal(projects, err)
	}
	for _, wanted := range []bool{true, false} {
		have := &having{datacenter: "dc1", entries: map[Key]*entry{}}
		err := h.readWebhook(t.Context(), have, projects[0], wanted)
		if (err != nil) != wanted || wanted && !strings.Contains(err.Error(), "list the webhooks of project multi-dc-repo1: this Harbor answers: forbidden") {
			t.Errorf("%v: %v", wanted, err)
		}
	}
}

// A Harbor that sends no webhooks at all is named, where they are wanted.
func TestHarborThatSendsNoWebhooks(t *testing.T) {
	f := newTestFleet(t)
	f.apply(t, Options{})
	call(t, f.harbors["dc2"], "PUT", "/configurations", map[string]any{"notification_enable": false})
	const said = "dc2: webhooks are switched off in this Harbor's configuration (notification_enable): its edge is told nothing"
	if plan := f.settled(t); fmt.Sprint(plan.Notes) != "["+said+"]" {
		t.Errorf("%q", plan.Notes)
	}
	unwanted := []string{"repo1: {}", "repo1: { webhooks: false }", "repo2: {}", "repo2: { webhooks: false }"}
	if plan := f.settled(t, unwanted...); strings.Contains(fmt.Sprint(plan.Notes), "switched off") {
		t.Errorf("%q", plan.Notes)
	}
}
