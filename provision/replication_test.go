package provision

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"example.org/breakwater/internal/naming"
)

// betweenDatacenters are the wanted replications of repo1, as "dc1 multi-dc-repo1 to dc2":
// "filters, override".
func betweenDatacenters(d *wanted) map[string]string {
	all := map[string]string{}
	for k, o := range d.objects {
		if p, ok := o.(*policy); ok && p.namespace == naming.MultiDC+"repo1" {
			all[k.Datacenter+" "+strings.TrimPrefix(k.Name, "multi-dc-repo1 ")] = fmt.Sprintf("%v %v", p.filters, p.override)
		}
	}
	return all
}

// Where edges own tags Harbors replicate content alone, both ways. Where Harbors do, a
// replication moves tags only from a datacenter that writes.
func TestReplicationsByOwnerOfTags(t *testing.T) {
	const content, moving, keeping = "[name multi-dc-repo1/** tag ?* excludes] false", "[name multi-dc-repo1/** tag **] true", "[name multi-dc-repo1/** tag **] false"
	const noEdge = `, edge: "https://edge.drp.example.org"`
	both := func(to, from string) map[string]string {
		all := map[string]string{}
		for _, pair := range []string{"dc1 dc2", "dc1 drp", "dc2 dc1", "dc2 drp", "drp dc1", "drp dc2"} {
			here, there, _ := strings.Cut(pair, " ")
			if all[here+" from "+there] = from; to != "" {
				all[here+" to "+there] = to
			}
		}
		return all
	}
	oneWriter := both("", keeping)
	oneWriter["dc1 to dc2"], oneWriter["dc1 to drp"], oneWriter["dc2 from dc1"], oneWriter["drp from dc1"] = moving, moving, moving, moving
	for _, c := range []struct {
		name    string
		replace []string
		want    map[string]string
	}{
		{"edges", nil, both(content, content)},
		{"edges, without events", []string{"push: event", "push: none"}, both("", content)},
		{"Harbors by default", []string{noEdge, "", ", push: event }", " }"}, both("", keeping)},
		{"Harbors that push, as it is written", []string{noEdge, ""}, both(moving, moving)},
		{"Harbors, and no tag moves", []string{noEdge, "", ", push: event }", " }", "repo1: {}", `repo1: { immutable_tags: ["**"] }`}, both(moving, moving)},
		{"Harbors, and one writes", []string{noEdge, "", ", push: event }", " }", "repo1: {}", "repo1: { datacenters: { dc1: { replication: { push: event } } } }"}, oneWriter},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := betweenDatacenters(wantedOf(t, c.replace...))
			for k, want := range c.want {
				if got[k] != want {
					t.Errorf("%s: %q, want %q", k, got[k], want)
				}
			}
			if len(got) != len(c.want) {
				t.Errorf("%d replications, want %d: %v", len(got), len(c.want), got)
			}
		})
	}
}

// What a filter is called is what it is: a value is not mistaken for a decoration.
func TestFiltersAsText(t *testing.T) {
	for f, want := range map[filter]string{
		{"tag", "?*", "excludes"}:     "tag ?* excludes",
		{"tag", "v*", "matches"}:      "tag v*",
		{"tag", "v*", ""}:             "tag v*",
		{"tag", "?* excludes", ""}:    `tag "?* excludes"`,
		{"name", "multi-dc-x/**", ""}: "name multi-dc-x/**",
	} {
		if f.String() != want {
			t.Errorf("%q, want %q", f, want)
		}
	}
}

// A fleet whose Harbors own the tags goes over to its edges in one apply: replications
// are changed where they are, none is made anew and nothing is deleted.
func TestTagsGoOverToEdgesInPlace(t *testing.T) {
	f := newTestFleet(t)
	old := []string{ownedByEdges, ownedByHarbors, "repo1: {}", "repo1: { webhooks: false }", "repo2: {}", "repo2: { webhooks: false }"}
	f.apply(t, Options{}, old...)
	f.settled(t, old...)
	before := map[string]string{}
	for _, name := range []string{"multi-dc-repo1 to dc2", "multi-dc-repo1 from dc2"} {
		before[name] = id(found(t, f.harbors["dc1"], policies, name))
	}
	plan := f.apply(t, Options{})
	count := map[string]int{}
	for _, c := range plan.Changes {
		count[c.Action+" "+c.Kind]++
	}
	want := map[string]int{"update replication": 24, "create webhook": 6} // two projects, three datacenters
	if fmt.Sprint(count) != fmt.Sprint(want) || len(plan.Notes) != 0 {
		t.Errorf("%v %v, want %v", count, plan.Notes, want)
	}
	for name, was := range before {
		p := found(t, f.harbors["dc1"], policies, name)
		filters, err := json.Marshal(p["filters"])
		if err != nil || id(p) != was || p["override"] == true || string(filters) != `[{"type":"name","value":"multi-dc-repo1/**"},{"decoration":"excludes","type":"tag","value":"?*"}]` {
			t.Errorf("%s: %v %s %v", name, p, filters, err)
		}
	}
	f.settled(t)
	f.apply(t, Options{}, ownedByEdges, ownedByHarbors) // and back
	f.settled(t, ownedByEdges, ownedByHarbors)
}

// The edge's robot writes and deletes in multi-dc projects, whoever owns their tags, and in no other.
func TestTheEdgesRobot(t *testing.T) {
	const pull, owns = "artifact:read repository:pull", "artifact:delete artifact:list artifact:read repository:list repository:pull repository:push tag:delete tag:list"
	for _, c := range []struct {
		replace  []string
		of, want string
	}{
		{nil, "multi-dc-repo1", owns},
		{nil, "cache-quay.io", pull},
		{nil, "repl-kubernetes-core", pull},
		{[]string{"repo1: {}", "repo1: { replication: { tags: harbor } }"}, "multi-dc-repo1", owns},
		{[]string{"repo1: {}", "repo1: { replication: { tags: harbor } }"}, "multi-dc-repo2", owns},
	} {
		var got []string
		for _, g := range wantedOf(t, c.replace...).objects[Key{"dc1", kindRobot, "breakwater-edge"}].(*robot).grants {
			if g.namespace == c.of {
				got = append(got, g.resource+":"+g.action)
			}
		}
		slices.Sort(got)
		if text := strings.Join(got, " "); text != c.want {
			t.Errorf("%v: in %s it may %q, want %q", c.replace, c.of, text, c.want)
		}
	}
	f := newTestFleet(t)
	f.apply(t, Options{})
	h := f.harbors["dc1"]
	img, err := random.Image(64, 1)
	if err != nil {
		t.Fatal(err)
	}
	as := remote.WithAuth(&authn.Basic{Username: "robot$breakwater-edge", Password: testSecrets["robot-password/edge"]})
	for image, may := range map[string]bool{"multi-dc-repo1/app:v1": true, "multi-dc-repo2/app:v1": true, "repl-kubernetes-core/app:v1": false} {
		ref, err := name.NewTag(strings.TrimPrefix(h.URL(), "http://")+"/"+image, name.Insecure)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(ref, img, as); (err == nil) != may {
			t.Errorf("push %s: %v", image, err)
		}
	}
	const repo = "/api/v2.0/projects/multi-dc-repo1/repositories/app/artifacts"
	for _, c := range []struct{ method, path string }{{http.MethodGet, repo}, {http.MethodGet, repo + "/v1"}, {http.MethodGet, repo + "/v1/tags"}, {http.MethodDelete, repo + "/v1/tags/v1"}} {
		if status := answered(t, c.method, h.URL()+c.path, "robot$breakwater-edge", testSecrets["robot-password/edge"], ""); status != http.StatusOK {
			t.Errorf("%s %s: %d", c.method, c.path, status)
		}
	}
	if status := answered(t, http.MethodDelete, h.URL()+"/api/v2.0/projects/multi-dc-repo1", "robot$breakwater-edge", testSecrets["robot-password/edge"], ""); status != http.StatusForbidden {
		t.Errorf("it may delete a project: %d", status)
	}
}

// What has just come without a tag outlives the daily run of the default retention, and
// not one without pushed_within, as lint says.
func TestRetentionKeepsWhatHasNoTagYet(t *testing.T) {
	for _, c := range []struct {
		replace []string
		status  int
	}{
		{nil, http.StatusOK},
		{[]string{"repo1: {}", "repo1: { retention: { pulled_within: 180d } }"}, http.StatusNotFound},
	} {
		f := newTestFleet(t)
		f.apply(t, Options{}, c.replace...)
		h := f.harbors["dc1"]
		img, err := random.Image(64, 1)
		if err != nil {
			t.Fatal(err)
		}
		digest, err := img.Digest()
		if err != nil {
			t.Fatal(err)
		}
		ref, err := name.NewDigest(strings.TrimPrefix(h.URL(), "http://")+"/multi-dc-repo1/app@"+digest.String(), name.Insecure)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(ref, img, remote.WithAuth(&authn.Basic{Username: "robot$multi-dc-repo1+sync", Password: testSecrets["robot-password/replication/repo1"]})); err != nil {
			t.Fatal(err)
		}
		project := found(t, h, "/projects", "multi-dc-repo1")
		call(t, h, "POST", "/retentions/"+project["metadata"].(map[string]any)["retention_id"].(string)+"/executions", map[string]any{"dry_run": false})
		user, password := h.Admin()
		if status := answered(t, http.MethodGet, h.URL()+"/api/v2.0/projects/multi-dc-repo1/repositories/app/artifacts/"+digest.String(), user, password, ""); status != c.status {
			t.Errorf("%v: it is %d, want %d", c.replace, status, c.status)
		}
	}
}
