package provision

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"example.org/breakwater/internal/lab"
)

var placeText = regexp.MustCompile(`^fleet\.yaml:(\d+): (.*)$`)

// Whatever Harbor refuses is named with the field of the fleet file that wants it, and the
// line where that is written: in the project, for one datacenter, or in the defaults.
func TestARefusalNamesTheField(t *testing.T) {
	members := []string{"    repo1: {}", `    repo1: { members: [{ group: dev, role: developer }], immutable_tags: ["v*"], datacenters: { dc1: { replication: { pull: 30m } } } }`}
	for name, c := range map[string]struct {
		fault   string // a call that is refused
		status  string
		object  string
		place   string
		line    string // what is on it
		applied bool   // all was done before, and something of it is changed now
	}{
		"a project":              {"POST /api/v2.0/projects$", "400", "project multi-dc-repo2", "projects.multi-dc.repo2", "repo2: {}", false},
		"a retention":            {"POST /api/v2.0/retentions", "400", "retention multi-dc-repo1", "projects.multi-dc.defaults.retention", "pulled_within: 180d", false},
		"a group":                {"POST /api/v2.0/projects/.*/members", "409", "member multi-dc-repo1 dev", "projects.multi-dc.repo1.members", "group: dev", false},
		"immutable tags":         {"POST /api/v2.0/projects/.*/immutabletagrules", "412", "immutable tags multi-dc-repo1 v*", "projects.multi-dc.repo1.immutable_tags", "v*", false},
		"a robot":                {"POST /api/v2.0/robots", "403", "robot multi-dc-repo2+readwrite", "projects.multi-dc.defaults.robots.readwrite", "readwrite:", false},
		"the edge's robot":       {"POST /api/v2.0/robots", "400", "robot breakwater-edge", "edge.robot", "robot: { name: breakwater-edge", false},
		"a cache's registry":     {"POST /api/v2.0/registries$", "400", "registry quay.io", "projects.cache.quay.io.endpoint", "quay.io: {", false},
		"a peer's registry":      {"POST /api/v2.0/registries$", "400", "registry multi-dc-repo1-dc2", "projects.multi-dc.defaults.robots.sync", "sync:", false},
		"Artifactory's registry": {"POST /api/v2.0/registries$", "400", "registry team-a", "projects.artifactory.domain", "domain: artifactory", false},
		"one place's schedule":   {"POST /api/v2.0/replication/policies", "400", "replication multi-dc-repo1 from dc2", "projects.multi-dc.repo1.datacenters.dc1.replication", "pull: 30m", false},
		"a schedule":             {"POST /api/v2.0/replication/policies", "400", "replication multi-dc-repo2 from dc2", "projects.multi-dc.defaults.replication", "pull: 15m", false},
		"an image":               {"POST /api/v2.0/replication/policies", "400", "replication dockerhub->kubernetes-core (fluent/fluent-bit)", "projects.repl.kubernetes-core.images[1]", "fluent-bit", false},
		"a webhook":              {"POST /api/v2.0/projects/.*/webhook", "400", "webhook multi-dc-repo1 breakwater", "datacenters.dc1.edge", "dc1: {", false},
		"OIDC":                   {"PUT /api/v2.0/configurations", "400", "configuration oidc", "harbor.oidc", "oidc:", false},
		"a quota":                {"PUT /api/v2.0/quotas/", "400", "project multi-dc-repo1", "projects.multi-dc.defaults.quota", "quota: 20GiB", true},
	} {
		t.Run(name, func(t *testing.T) {
			f := newTestFleet(t)
			if c.applied {
				f.apply(t, Options{}, members...)
				f.text = strings.Replace(f.text, "      quota: 10GiB", "      quota: 20GiB", 1)
			}
			if err := f.harbors["dc1"].SetFaults(lab.Fault{Name: c.status, Path: c.fault}); err != nil {
				t.Fatal(err)
			}
			p := f.open(t, Options{}, members...)
			lines := strings.Split(strings.NewReplacer(members...).Replace(f.text), "\n")
			found := false
			for _, r := range p.Apply(t.Context(), f.plan(t, p), nil) {
				if r.Datacenter != "dc1" || r.Kind+" "+r.Name != c.object {
					continue
				}
				found = true
				at := placeText.FindStringSubmatch(r.Place)
				if r.Outcome != Failed || at == nil || at[2] != c.place {
					t.Errorf("%s: %s: %s (%s), want %s", r.Key, r.Outcome, r.Why, r.Place, c.place)
					continue
				}
				if n, err := strconv.Atoi(at[1]); err != nil || !strings.Contains(lines[n-1], c.line) {
					t.Errorf("%s: on that line is %q, want %q", r.Place, lines[n-1], c.line)
				}
			}
			if !found {
				t.Errorf("%s was not tried", c.object)
			}
		})
	}
}

// What Harbor would refuse is said before anything is done, with its field and once for all
// datacenters.
func TestWhatHarborWouldRefuseNamesTheField(t *testing.T) {
	f := newTestFleet(t)
	f.vault.Store("robot-password/readonly/repo1", "weak")
	long := strings.Repeat("x", 55)
	for _, robot := range []string{"readonly", "readwrite", "replication"} {
		f.vault.Store(fmt.Sprintf("robot-password/%s/%s", robot, long), "S3cretOfThis")
	}
	err := f.refusal(t, "    repo2: {}", "    "+long+": {}")
	for _, want := range []string{
		"fleet.yaml:38: projects.multi-dc.defaults.robots.readonly: dc1, dc2, drp: robot multi-dc-repo1+readonly: its secret must have 8 to 128 characters",
		"fleet.yaml:40: projects.multi-dc.defaults.robots.sync: dc1: registry multi-dc-" + long + "-dc2, multi-dc-" + long + "-drp: the name is longer than 64 characters",
	} {
		if strings.Count(err, want) != 1 {
			t.Errorf("it does not say, once, %q:\n%s", want, err)
		}
	}
}
