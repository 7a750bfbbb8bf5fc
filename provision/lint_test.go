package provision

import (
	"os"
	"strings"
	"testing"
	"time"

	"example.org/breakwater/internal/fleet"
)

func lintOf(t *testing.T, samples []string, replace ...string) string {
	t.Helper()
	text, err := os.ReadFile(article)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.NewReplacer(replace...).Replace(string(text))
	f, err := fleet.Load("fleet.yaml", []byte(changed))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, finding := range Lint(f, samples) {
		lines = append(lines, finding.String())
	}
	return strings.Join(lines, "\n")
}

// Each trap that a fleet file can walk into is said.
func TestTraps(t *testing.T) {
	for _, c := range []struct {
		name    string
		samples []string
		replace []string
		want    string
	}{
		{"push in all directions", nil, []string{ownedByEdges, ownedByHarbors}, "warning: projects.multi-dc.repo1.replication: datacenters push to each other, and tags can be moved: a push costs up to 6 executions, and a replication that is late moves a tag back, everywhere; write tags: edges, immutable_tags,"},
		{"no push at all", nil, []string{`, edge: "https://edge.drp.example.org"`, "", ", push: event }", " }"}, "warning: projects.multi-dc.repo1.replication: no Harbor pushes on events: what is new is at the others after up to 15m0s, and a tag that they have is never moved there; write tags: edges (which needs datacenters.drp.edge),"},
		{"content that is deleted before it has a tag", nil, []string{", pushed_within: 180d }", " }"}, "warning: projects.multi-dc.repo1.retention: content comes to the other datacenters without a tag"},
		{"the same in one datacenter", nil, []string{"repo1: {}", "repo1: { datacenters: { drp: { retention: { pulled_within: 30d } } } }"}, "warning: projects.multi-dc.repo1.datacenters.drp.retention: content comes"},
		{"garbage that is none", nil, []string{"harbor:\n  username", "harbor:\n  gc: { untagged: true }\n  username"}, "warning: harbor.gc.untagged: content of multi-dc projects comes without a tag"},
		{"edges without events", nil, []string{"push: event", "push: none"}, "warning: projects.multi-dc.repo1.replication.push: content comes to the other Harbors by the pull every 15m0s alone"},
		{"edges that are not told", nil, []string{"repo1: {}", "repo1: { webhooks: false }"}, "warning: projects.multi-dc.repo1.webhooks: edges own the tags, and are not told"},
		{"edges without a key", nil, []string{`peers: { key: "vault:secret/breakwater#peer-key" }`, "peers: { ca: /ca.pem }"}, "warning: edge.peers.key: edges own tags, and without a key"},
		{"Docker Hub's limit", nil, nil, "24 in 6 hours for each tag and datacenter; without a login Docker Hub allows 100: enough for 4 tags"},
		{"patterns are globs", []string{"v2.10.1", "v2.10.rc", "v2.9.0"}, []string{`"v2.10.{[0-9],[0-9][0-9]}"`, `"v2.{10}.{?,??}"`}, `"v2.{10}.{?,??}" takes v2.10.1, v2.10.rc`},
		{"every tag", nil, []string{`"v2.10.{[0-9],[0-9][0-9]}"`, `"**"`}, `projects.repl.kubernetes-core.images[0].tags: "**" takes every tag`},
		{"Keycloak's nested roles", nil, nil, "realm_access.roles"},
		{"a nested claim", nil, []string{"groups_claim: roles", "groups_claim: realm_access.roles"}, `error: harbor.oidc.groups_claim: "realm_access.roles" is a nested claim`},
		{"unequal quotas", nil, []string{"repo1: {}", "repo1: { datacenters: { drp: { quota: 1GiB } } }"}, "projects.multi-dc.repo1.quota: it is not the same in all datacenters"},
		{"nothing replicates", nil, []string{`        sync: "vault:secret/harbor#robot-password/replication/{name}"`, ""}, "projects.multi-dc.repo1.robots.sync: there is no secret"},
		{"pulls that are not touched", nil, []string{"#peer-key\" }", "#peer-key\" }\n  touch: 0s"}, "what is pulled in one datacenter does not count in the others"},
		{"pulls that do not count", nil, []string{`, secret: "vault:secret/harbor#robot-password/edge"`, ""}, "what is pulled in one datacenter does not count in the others"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := lintOf(t, c.samples, c.replace...); !strings.Contains(got, c.want) {
				t.Errorf("want %q in\n%s", c.want, got)
			}
		})
	}
	// What is no trap is not said to be one.
	for _, c := range []struct {
		name    string
		replace []string
		not     string
	}{
		{"immutable tags are not moved", []string{ownedByEdges, ownedByHarbors, "repo1: {}", `repo1: { immutable_tags: ["**"] }`}, "repo1.replication"},
		{"one writes", []string{ownedByEdges, "tags: harbor }", "repo1: {}", "repo1: { datacenters: { dc1: { replication: { push: event } } } }"}, "repo1.replication"},
		{"edges own tags", nil, "projects.multi-dc"},
		{"retention keeps everything", []string{"repo1: {}", "repo1: { retention: { always: true } }"}, "repo1.retention"},
		{"Harbors bring tags", []string{ownedByEdges, ownedByHarbors, "harbor:\n  username", "harbor:\n  gc: { untagged: true }\n  username", ", pushed_within: 180d }", " }", "repo1: {}", "repo1: { webhooks: false }"}, "without a tag"},
		{"edges with a key", nil, "edge.peers"},
	} {
		if got := lintOf(t, nil, c.replace...); strings.Contains(got, c.not) {
			t.Errorf("%s, and it says %s:\n%s", c.name, c.not, got)
		}
	}
}

func TestSchedulesThatHarborCannotKeep(t *testing.T) {
	const file = "domain: h.example.org\ndatacenters: { par1: { harbor: \"https://a.example.org\" } }\nedge: { plain_http: true }\nprojects:\n  multi-dc:\n    app: { replication: { pull: 7h } }\n"
	if _, err := fleet.Load("fleet.yaml", []byte(file)); err == nil || !strings.HasPrefix(err.Error(), "fleet.yaml:6: projects.multi-dc.app.replication.pull: schedules in Harbor cannot repeat every 7h0m0s") {
		t.Error(err)
	}
}

func TestCron(t *testing.T) {
	for _, every := range []time.Duration{time.Minute, 15 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour} {
		text, err := cron(every, "x")
		fields := strings.Fields(text)
		if err != nil || len(fields) != 6 || fields[0] != "0" || fields[1] == "*" {
			t.Errorf("%v: %q %v", every, text, err)
		}
		if back := interval(text); back != every {
			t.Errorf("%v: %q is every %v", every, text, back)
		}
	}
	for _, every := range []time.Duration{0, time.Second, 90 * time.Second, 7 * time.Minute, 90 * time.Minute, 7 * time.Hour, 48 * time.Hour} {
		if text, err := cron(every, "x"); err == nil {
			t.Errorf("%v is %q", every, text)
		}
	}
	spread := map[string]bool{}
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		text, _ := cron(15*time.Minute, name)
		spread[text] = true
	}
	if len(spread) < 3 {
		t.Errorf("all run at once: %v", spread)
	}
}
