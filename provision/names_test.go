package provision

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/lab"
)

// ownNames gives one of the article's projects of each kind a name of its own.
var ownNames = []string{"repo1: {}", "repo1: { project: platform }", "dockerhub: {", "dockerhub: { project: dockerhub,", "kubernetes-core:\n", "kubernetes-core:\n      project: kubernetes\n"}

// A project that was there before is taken over where it is: nothing of it is made anew or
// deleted, and its images come to the other datacenters under its name.
func TestAProjectIsTakenOverWhereItIs(t *testing.T) {
	f := newTestFleet(t)
	for _, h := range f.harbors {
		h.CreateProject("platform", true)
	}
	h := f.harbors["dc1"]
	h.CreateRobot("platform", "ci", "OldSecret1", "push", "pull")
	if err := h.CreateCache("dockerhub", "docker-hub", "https://hub.docker.com", false); err != nil {
		t.Fatal(err)
	}
	before := found(t, h, "/projects", "platform")
	push(t, h.URL()+"/platform/app:v1")
	plan := f.apply(t, Options{Prune: true}, ownNames...)
	for _, c := range plan.Changes {
		if c.Action == Delete || c.Kind == kindProject && c.Name == "platform" && c.Action != Update {
			t.Errorf("%s %s", c.Action, c.Key)
		}
	}
	if !slices.ContainsFunc(plan.Changes, func(c Change) bool {
		return c.Key == Key{"dc1", kindProject, "platform"} && slices.Contains(c.Fields, FieldChange{"public", "true", "false"})
	}) {
		t.Error("nobody is told that it is closed")
	}
	f.settled(t, ownNames...)
	after := found(t, h, "/projects", "platform")
	if id(after) != id(before) || after["metadata"].(map[string]any)["public"] != "false" {
		t.Errorf("%v became %v", before, after)
	}
	for _, h := range f.harbors {
		projects := namesOf(t, h, "/projects", "")
		for _, project := range []string{"multi-dc-repo1", "cache-dockerhub", "repl-kubernetes-core"} {
			if slices.Contains(projects, project) {
				t.Errorf("%s is made beside it", project)
			}
		}
		for path, begin := range map[string]string{"/registries": "multi-dc-repo1-", "/replication/policies": "multi-dc-repo1 from "} {
			if all := namesOf(t, h, path, begin); len(all) != 2 {
				t.Errorf("%s* are %v", begin, all)
			}
		}
	}
	checks, err := f.open(t, Options{}, ownNames...).Verify(t.Context(), VerifyOptions{Projects: []string{"repo1"}})
	if err != nil {
		t.Fatal(err)
	}
	crossed := 0
	for _, c := range checks {
		if !c.OK && !strings.Contains(c.What, "edge") {
			t.Errorf("%s: %s: %s", c.Datacenter, c.What, c.Detail)
		}
		if c.OK && strings.HasPrefix(c.What, "platform comes to ") {
			crossed++
		}
	}
	if crossed != 6 {
		t.Errorf("%d canaries crossed: %v", crossed, checks)
	}
	if err := f.open(t, Options{}, ownNames...).Refill(t.Context(), RefillOptions{Datacenter: "dc2", From: "dc1", Projects: []string{"repo1"}}); err != nil {
		t.Fatal(err)
	}
	if all := string(call(t, f.harbors["dc2"], http.MethodGet, "/projects/platform/repositories/app/artifacts", nil)); !strings.Contains(all, `"v1"`) {
		t.Errorf("what was pushed before is not filled in: %s", all)
	}
}

// The robots of a project under its own name get new secrets as others do.
func TestRobotsUnderAProjectsOwnNameAreRotated(t *testing.T) {
	f := newTestFleet(t)
	f.apply(t, Options{}, ownNames...)
	f.vault.Store("robot-password/replication/repo1", "Rotated1repo1")
	for _, robot := range []RotateOptions{{Robot: "sync", Projects: []string{"repo1"}}, {Robot: "readonly", Projects: []string{"repo1"}}} {
		if err := f.open(t, Options{}, ownNames...).Rotate(t.Context(), robot); err != nil {
			t.Fatalf("%s: %v", robot.Robot, err)
		}
	}
	f.settled(t, ownNames...)
	for name, h := range f.harbors {
		robots := string(call(t, h, http.MethodGet, robotsOf(t, h, "platform"), nil))
		if strings.Contains(robots, "platform+sync-next") || !strings.Contains(robots, `"robot$platform+readonly-2`) {
			t.Errorf("%s: %s", name, robots)
		}
	}
}

// An entry that gets a name leaves its old project where it is, with all that is in it, and no
// replication of it stays; back again, it is as before.
func TestAnEntryThatGetsANameLeavesItsProject(t *testing.T) {
	f := newTestFleet(t)
	f.apply(t, Options{})
	push(t, f.harbors["dc1"].URL()+"/multi-dc-repo1/app:v1")
	for _, replace := range [][]string{ownNames, nil} {
		plan := f.apply(t, Options{}, replace...)
		for _, c := range plan.Changes {
			if c.Action == Delete || c.Action == Refuse {
				t.Errorf("%s %s: %s", c.Action, c.Key, c.Why)
			}
		}
		f.settled(t, replace...)
		for name, h := range f.harbors {
			projects := namesOf(t, h, "/projects", "")
			for _, project := range []string{"multi-dc-repo1", "cache-dockerhub", "repl-kubernetes-core", "platform", "dockerhub", "kubernetes"} {
				if !slices.Contains(projects, project) {
					t.Errorf("%s: %s is gone", name, project)
				}
			}
			all := string(call(t, h, http.MethodGet, "/replication/policies?page_size=100", nil))
			if now := map[bool]string{true: "platform", false: "multi-dc-repo1"}[replace != nil]; strings.Count(all, `"dest_namespace":"`+now+`"`) != 4 {
				t.Errorf("%s: not all replications are of %s: %s", name, now, all)
			}
		}
	}
	if all := string(call(t, f.harbors["dc1"], http.MethodGet, "/projects/multi-dc-repo1/repositories/app/artifacts", nil)); !strings.Contains(all, `"v1"`) {
		t.Errorf("its images are gone: %s", all)
	}
}

// What Harbors have that the fleet file could have under its own name is proposed: what they
// replicate to each other, and proxy caches. What is everybody's, or one Harbor's, is not.
func TestExportProposesNames(t *testing.T) {
	f := newTestFleet(t)
	for _, name := range []string{"dc1", "dc2"} {
		for project, public := range map[string]bool{"platform": false, "everybodys": true, "apart": false} {
			f.harbors[name].CreateProject(project, public)
		}
	}
	h := f.harbors["dc1"]
	if err := h.CreateCache("mirror", "docker-registry", "https://quay.io", true); err != nil {
		t.Fatal(err)
	}
	call(t, h, http.MethodPost, "/registries", map[string]any{"name": "other-site", "type": "harbor", "url": f.harbors["dc2"].URL(), "credential": map[string]any{"type": "basic", "access_key": "admin", "access_secret": "Harbor12345"}})
	for _, project := range []string{"platform", "everybodys"} {
		call(t, h, http.MethodPost, "/replication/policies", map[string]any{"name": project + "-to-dc2", "dest_registry": map[string]any{"id": found(t, h, "/registries", "other-site")["id"]}, "enabled": true,
			"trigger": map[string]any{"type": "event_based"}, "filters": []map[string]any{{"type": "name", "value": project + "/**"}}})
	}
	file, notes := f.export(t, t.TempDir())
	loaded, err := fleet.Load("exported.yaml", []byte(file))
	if err != nil {
		t.Fatalf("%v\n%s", err, file)
	}
	if _, m := loaded.MultiDC("platform"); m == nil || len(loaded.Projects.MultiDC.Items) != 1 {
		t.Errorf("%q\n%s", notes, file)
	}
	if c := loaded.Projects.Cache.Items["mirror"]; c == nil || c.Project != "mirror" || !*c.Public {
		t.Errorf("%q\n%s", notes, file)
	}
	for _, want := range []string{"project everybodys: it is left out: it is public", "project apart: it is left out, as its name begins with none of"} {
		if !strings.Contains(strings.Join(notes, "\n"), want) {
			t.Errorf("nobody says %q: %q", want, notes)
		}
	}
}

// namesOf are the names of a list that begin so.
func namesOf(t *testing.T, h *lab.Harbor, list, begin string) (names []string) {
	t.Helper()
	var all []struct{ Name string }
	if err := json.Unmarshal(call(t, h, http.MethodGet, list+"?page_size=100", nil), &all); err != nil {
		t.Fatal(err)
	}
	for _, o := range all {
		if strings.HasPrefix(o.Name, begin) {
			names = append(names, o.Name)
		}
	}
	return names
}

// push pushes an image as the administrator.
func push(t *testing.T, reference string) {
	t.Helper()
	ref, err := name.ParseReference(strings.TrimPrefix(reference, "http://"), name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	img, err := random.Image(64, 1)
	if err == nil {
		err = remote.Write(ref, img, remote.WithAuth(&authn.Basic{Username: "admin", Password: "Harbor12345"}))
	}
	if err != nil {
		t.Fatal(err)
	}
}
