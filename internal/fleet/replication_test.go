package fleet

import (
	"fmt"
	"strings"
	"testing"
)

// edged is a fleet of three datacenters that has all that edges need to own tags.
const edged = `domain: h.example.org
datacenters:
  a: { harbor: "https://a.example.org", edge: "https://edge.a.example.org" }
  b: { harbor: "https://b.example.org", edge: "https://edge.b.example.org" }
  c: { harbor: "https://c.example.org", edge: "https://edge.c.example.org" }
edge: { plain_http: true, robot: { secret: "env:ROBOT" }, peers: { key: "env:KEY" } }
projects: { multi-dc: { app: {} } }
`

// Who owns tags when nobody says it, and who pushes on events: with Harbors as owners
// only where that moves nothing back.
func TestWhoOwnsTags(t *testing.T) {
	noEdge := []string{`, edge: "https://edge.c.example.org"`, ""}
	project := func(text string) []string { return append([]string{"app: {}", "app: { " + text + " }"}, noEdge...) }
	for _, c := range []struct {
		name    string
		replace []string
		owner   string
		a, b, c string // of datacenters a, b and c
	}{
		{"all have edges", nil, TagsEdges, "event", "event", "event"},
		{"known by certificates", []string{`key: "env:KEY"`, "ca: /ca.pem", "plain_http: true", "tls: { certificate: /c, key: /k }"}, TagsEdges, "event", "event", "event"},
		{"one has no edge", noEdge, TagsHarbor, "none", "none", "none"},
		{"no robot", []string{`robot: { secret: "env:ROBOT" }, `, ""}, TagsHarbor, "none", "none", "none"},
		{"peers without a key", []string{`, peers: { key: "env:KEY" }`, ""}, TagsHarbor, "none", "none", "none"},
		{"it is asked for", project("replication: { push: event }"), TagsHarbor, "event", "event", "event"},
		{"no tag moves", project(`immutable_tags: ["**"]`), TagsHarbor, "event", "event", "event"},
		{"some tags move", project(`immutable_tags: ["v*"]`), TagsHarbor, "none", "none", "none"},
		{"tags move in one", project(`immutable_tags: ["*"], datacenters: { b: { immutable_tags: ["v*"] } }`), TagsHarbor, "none", "none", "none"},
		{"one is named as who writes", project("datacenters: { b: { replication: { push: event } } }"), TagsHarbor, "none", "event", "none"},
		{"all but one are silent", project("datacenters: { b: { replication: { push: none } }, c: { replication: { push: none } } }"), TagsHarbor, "event", "none", "none"},
		{"Harbors, though there are edges", []string{"multi-dc: { app: {}", "multi-dc: { defaults: { replication: { tags: harbor } }, app: {}"}, TagsHarbor, "none", "none", "none"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := Load("f", []byte(strings.NewReplacer(c.replace...).Replace(edged)))
			if err != nil {
				t.Fatal(err)
			}
			app := f.Projects.MultiDC.Items["app"]
			if app.Replication.Tags != c.owner {
				t.Errorf("%s own the tags, want %s", app.Replication.Tags, c.owner)
			}
			for name, want := range map[string]string{"a": c.a, "b": c.b, "c": c.c} {
				if got := app.In(name).Replication.Push; got != want {
					t.Errorf("%s pushes %q, want %q", name, got, want)
				}
			}
		})
	}
}

// Groups need a robot of their own, and each mistake is named with its line.
func TestReplicationInGroups(t *testing.T) {
	for _, c := range []struct {
		name    string
		replace []string
		fault   string
		grouped bool
	}{
		{"by default", nil, "", false},
		{"per project", []string{"app: {}", "replication: per-project, app: {}"}, "", false},
		{"grouped", []string{"app: {}", "replication: grouped, app: {}", "projects:", "harbor: { sync_robot: { secret: \"env:SYNC\" } }\nprojects:"}, "", true},
		{"without a robot", []string{"app: {}", "replication: grouped, app: {}"}, "f:7: projects.multi-dc.replication: it needs a robot of the system, as which Harbors replicate all projects; write harbor.sync_robot.secret", true},
		{"as the edge's robot", []string{"app: {}", "replication: grouped, app: {}", "projects:", "harbor: { sync_robot: { name: breakwater-edge, secret: \"env:SYNC\" } }\nprojects:"}, "f:7: harbor.sync_robot.name: the edge's robot has that name (edge.robot.name); write another", true},
		{"mistyped", []string{"app: {}", "replication: groups, app: {}"}, `f:7: projects.multi-dc.replication: "groups" is none of per-project, grouped; do you mean grouped?`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := Load("f", []byte(strings.NewReplacer(c.replace...).Replace(edged)))
			if said := strings.TrimSpace(fmt.Sprint(err)); c.fault != "" && said != c.fault || c.fault == "" && err != nil {
				t.Errorf("%v, want %s", err, c.fault)
			}
			if err == nil && f.Grouped() != c.grouped {
				t.Errorf("grouped: %t", f.Grouped())
			}
		})
	}
}
