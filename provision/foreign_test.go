package provision

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/lab"
)

// makeRule makes an immutable rule by hand.
func makeRule(t *testing.T, h *lab.Harbor, project, decoration, repos string, tags ...string) {
	t.Helper()
	var selectors []any
	for _, pattern := range tags {
		selectors = append(selectors, map[string]any{"kind": "doublestar", "decoration": decoration, "pattern": pattern})
	}
	call(t, h, "POST", "/projects/"+project+"/immutabletagrules", map[string]any{"action": "immutable", "template": "immutable_template", "tag_selectors": selectors,
		"scope_selectors": map[string]any{"repository": []any{map[string]any{"kind": "doublestar", "decoration": "repoMatches", "pattern": repos}}}})
}

// A rule that somebody made for other repos, or other tags, is not taken for ours of the
// same pattern: it is neither widened nor counted.
func TestRulesOfOthersAreNotTakenOver(t *testing.T) {
	f := newTestFleet(t)
	h := f.harbors["dc1"]
	call(t, h, "POST", "/projects", map[string]any{"project_name": "multi-dc-repo1", "metadata": map[string]any{"public": "false"}})
	makeRule(t, h, "multi-dc-repo1", "matches", "a/**", "v*")
	makeRule(t, h, "multi-dc-repo1", "excludes", "**", "v*")
	makeRule(t, h, "multi-dc-repo1", "matches", "**", "v*", "w*")
	before := string(call(t, h, "GET", "/projects/multi-dc-repo1/immutabletagrules", nil))
	with := []string{"    repo1: {}", `    repo1: { immutable_tags: ["v*"] }`}
	f.apply(t, Options{}, with...)
	after := string(call(t, h, "GET", "/projects/multi-dc-repo1/immutabletagrules", nil))
	if !strings.HasPrefix(after, strings.TrimSuffix(strings.TrimSpace(before), "]")) {
		t.Errorf("they were changed:\n%s\n%s", before, after)
	}
	var all []any
	if err := json.Unmarshal([]byte(after), &all); err != nil || len(all) != 4 {
		t.Errorf("%v %s", err, after)
	}
	f.settled(t, with...)
}

// What others have put into managed projects, and can do much there, is said, and what is
// harmless is not.
func TestForeignThingsAreNoted(t *testing.T) {
	f := newTestFleet(t)
	f.apply(t, Options{})
	h := f.harbors["dc1"]
	robot := func(level, name, namespace, kind string, actions ...string) {
		t.Helper()
		var may []any
		for _, action := range actions {
			may = append(may, map[string]any{"resource": "repository", "action": action})
		}
		if kind == "system" {
			may = []any{map[string]any{"resource": "robot", "action": "create"}}
		}
		call(t, h, "POST", "/robots", map[string]any{"name": name, "level": level, "duration": -1, "permissions": []any{map[string]any{"kind": kind, "namespace": namespace, "access": may}}})
	}
	robot("project", "mine", "multi-dc-repo1", "project", "pull", "push")
	robot("system", "pusher", "*", "project", "pull", "push")
	robot("system", "maker", "/", "system")
	robot("system", "reader", "*", "project", "pull", "list")
	robot("system", "elsewhere", "library", "project", "push")
	call(t, h, "POST", "/projects/cache-quay.io/members", map[string]any{"role_id": 1, "member_group": map[string]any{"group_name": "ops", "group_type": 3}})
	makeRule(t, h, "repl-kubernetes-core", "matches", "x/**", "v*")
	makeRule(t, h, "library", "matches", "x/**", "v*")
	p := found(t, h, policies, "multi-dc-repo1 to dc2")
	call(t, h, "POST", policies, with(p, "name", "takes all", "description", "", "filters", []any{}))
	call(t, h, "POST", policies, with(p, "name", "takes library", "filters", []any{map[string]any{"type": "name", "value": "library/**"}}))
	plan := f.settled(t)
	want := map[string]string{
		"dc1: robot multi-dc-repo1+mine":                            "repository:pull, repository:push",
		"dc1: robot pusher":                                         "* repository:push",
		"dc1: robot maker":                                          "/ robot:create",
		"dc1: member cache-quay.io ops":                             "role admin",
		"dc1: immutable tags repl-kubernetes-core v* in repos x/**": "can be neither moved nor deleted",
		"dc1: replication takes all":                                "out of managed projects",
	}
	for _, note := range plan.Notes {
		known := false
		for name, says := range want {
			if strings.HasPrefix(note, name+": ") && strings.Contains(note, says) {
				delete(want, name)
				known = true
			}
		}
		if !known {
			t.Errorf("it is noted: %s", note)
		}
	}
	if len(want) > 0 {
		t.Errorf("it is not noted: %v\n%s", want, strings.Join(plan.Notes, "\n"))
	}
}

// What export leaves out, and what an apply of the file would change, is said, once each;
// nothing becomes private, immutable or deletable by it without a word.
func TestExportSaysAllThatItDoesNotSay(t *testing.T) {
	f := newTestFleet(t)
	f.apply(t, Options{})
	h := f.harbors["dc1"]
	project := func(name, public string) {
		call(t, h, "POST", "/projects", map[string]any{"project_name": name, "storage_limit": 1 << 30, "metadata": map[string]any{"public": public, "auto_scan": "true", "prevent_vul": "true", "severity": "high"}})
	}
	project("multi-dc-public", "true")
	project("multi-dc-odd", "false")
	project("cache-manual", "false")
	project("team-a", "false")
	makeRule(t, h, "multi-dc-odd", "matches", "a/**", "v*")
	makeRule(t, h, "multi-dc-odd", "matches", "**", "w*")
	makeRule(t, h, "multi-dc-odd", "matches", "**", "off*")
	call(t, h, "PUT", "/projects/multi-dc-odd/immutabletagrules/3", map[string]any{"disabled": true, "action": "immutable", "template": "immutable_template", "tag_selectors": []any{map[string]any{"kind": "doublestar", "decoration": "matches", "pattern": "off*"}},
		"scope_selectors": map[string]any{"repository": []any{map[string]any{"kind": "doublestar", "decoration": "repoMatches", "pattern": "**"}}}})
	call(t, h, "POST", "/registries", map[string]any{"name": "weird", "type": "docker-registry", "url": "https://quay.io", "description": "a \"quoted\" # thing: {x}, 'y' \\ \n\t end"})
	call(t, h, "POST", "/robots", map[string]any{"name": "mine", "level": "project", "duration": -1, "permissions": []any{map[string]any{"kind": "project", "namespace": "multi-dc-repo1", "access": []any{map[string]any{"resource": "repository", "action": "push"}}}}})
	p := found(t, h, policies, pulls)
	call(t, h, "PUT", policies+"/"+id(p), with(p, "speed", 512, "enabled", false))
	r := found(t, f.harbors["dc2"], "/registries", "quay.io")
	call(t, f.harbors["dc2"], "PUT", "/registries/"+id(r), map[string]any{"description": "another"})
	file, notes := f.export(t, t.TempDir())
	text := strings.Join(notes, "\n")
	for _, want := range []string{"project multi-dc-public: it is left out: it is public", "immutable tags multi-dc-odd off*, multi-dc-odd v* in repos a/**: it is left out", `project cache-manual: it is left out, being no cache`, "project team-a: it is left out", "registry weird: it is left out",
		"robot multi-dc-repo1+mine: it is left out", "multi-dc-odd: it has what the fleet file does not, and apply leaves as it is: prevent_vul: true, severity: high", "replication multi-dc-repo1 from dc2: an apply would change it: speed: 512 -> 0; disabled: true -> false",
		"dc2: registry quay.io: an apply would change it: description: another", "an apply would make what it does not have: retention multi-dc-odd"} {
		if strings.Count(text, want) != 1 {
			t.Errorf("%q is said %d times", want, strings.Count(text, want))
		}
	}
	seen := map[string]bool{}
	for _, note := range notes {
		if seen[note] {
			t.Errorf("it is said twice: %s", note)
		}
		seen[note] = true
	}
	loaded, err := fleet.Load("exported.yaml", []byte(file))
	if err != nil {
		t.Fatalf("%v\n%s", err, file)
	}
	if loaded.Projects.MultiDC.Items["public"] != nil || !loaded.Projects.MultiDC.Items["odd"].Retention.Always || fmt.Sprint(loaded.Projects.MultiDC.Items["odd"].Immutable) != "[w*]" {
		t.Errorf("%s", file)
	}
	if t.Failed() {
		t.Log(text)
	}
}

// A long list is shown as what comes to it and what goes.
func TestLongListsAreShownAsWhatChanges(t *testing.T) {
	var have []string
	for i := range 30 {
		have = append(have, fmt.Sprintf("multi-dc-%02d repository:pull", i))
	}
	all := strings.Join(have, ", ")
	for want, c := range map[string]FieldChange{
		"+ x repository:pull; - multi-dc-00 repository:pull (29 stay)": {"may", all, strings.Join(have[1:], ", ") + ", x repository:pull"},
		"- multi-dc-00 repository:pull (29 stay)":                      {"may", all, strings.Join(have[1:], ", ")},
		"false -> true":       {"disabled", "false", "true"},
		"(nothing) -> v*, w*": {"tags", "", "v*, w*"},
	} {
		if got := c.Text(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
