package provision

import (
	"fmt"
	"strings"
	"testing"

	"example.org/breakwater/internal/fleet"
)

// findings are of a fleet of two datacenters with these projects.
func findings(t *testing.T, of func(*fleet.Fleet) []Finding, rest string) (lines []string) {
	t.Helper()
	text := "domain: h.example.org\ndatacenters: { par1: { harbor: \"https://h.par1.example.org\" }, mad1: { harbor: \"https://h.mad1.example.org\" } }\n" + rest
	f, err := fleet.Load("fleet.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range of(f) {
		lines = append(lines, f.String())
	}
	return lines
}

func lintAlone(f *fleet.Fleet) []Finding { return Lint(f, nil) }

const (
	oneProject = "projects:\n  multi-dc:\n    app: { robots: { sync: \"env:SYNC\" }REST }\n"
	bareImage  = "projects:\n  cache: { quay.io: { endpoint: \"https://quay.io\" } }\n  repl: { core: { images: [{ from: quay.io, name: cilium/cilium }] } }\n"
)

// A default is no trap: lint warns of what somebody wrote, and check says what defaults come to.
func TestLintSaysNothingOfDefaults(t *testing.T) {
	app := strings.Replace(oneProject, "REST", "", 1)
	for _, file := range []string{app, app + "harbor: { username: admin, password: \"env:X\" }\n", bareImage} {
		if lines := findings(t, lintAlone, file); len(lines) > 0 {
			t.Errorf("%q of\n%s", lines, file)
		}
	}
	assumed := strings.Join(findings(t, Assumed, app), "\n")
	if !strings.Contains(assumed, "projects.multi-dc.app.replication: no Harbor pushes on events") || !strings.Contains(assumed, "projects.multi-dc.app.retention: what is pulled in one datacenter does not count") {
		t.Error(assumed)
	}
	if assumed := findings(t, Assumed, bareImage); len(assumed) != 1 || !strings.Contains(assumed[0], `images[0].tags: "**" takes every tag`) {
		t.Error(assumed)
	}
	// The same, written.
	for rest, want := range map[string]string{
		", replication: { push: none }":                              "app.replication: no Harbor pushes on events",
		", replication: { tags: harbor }":                            "app.replication: no Harbor pushes on events",
		", retention: { pulled_within: 30d }":                        "app.retention: what is pulled",
		" }\n    defaults: { retention: { most_recently_pulled: 3 }": "app.retention: what is pulled",
		" }\nedge: { plain_http: true, peers: { key: \"env:K\" }":    "app.replication: no Harbor pushes on events",
	} {
		if lines := findings(t, lintAlone, strings.Replace(oneProject, "REST", rest, 1)); len(lines) != 1 || !strings.Contains(lines[0], want) {
			t.Errorf("%s: %q", rest, lines)
		}
	}
}

// What is true of a thousand projects is said once, with a count.
func TestManyProjectsAreOneFinding(t *testing.T) {
	file := "projects:\n  multi-dc:\n"
	for i := range 1000 {
		file += fmt.Sprintf("    app.%03d: { robots: { sync: \"env:SYNC\" }, replication: { push: none } }\n", i)
	}
	short := findings(t, func(f *fleet.Fleet) []Finding { return Folded(Lint(f, nil)) }, file)
	if len(short) != 1 || !strings.HasPrefix(short[0], "warning: projects.multi-dc.{app.000, app.001, app.002 and 997 more}.replication: no Harbor") {
		t.Errorf("%q", short)
	}
	if all := findings(t, lintAlone, file); len(all) != 1000 || !strings.Contains(all[999], "projects.multi-dc.app.999.replication") {
		t.Errorf("%d findings, the last %q", len(all), all[len(all)-1])
	}
}

// Of many objects of a plan that want the same note it is said once, and of all of them
// where a program reads it.
func TestManyObjectsAreOneNote(t *testing.T) {
	f := newTestFleet(t)
	for _, robot := range []string{"readonly", "readwrite", "replication"} {
		for _, project := range []string{"repo3", "repo4", "only"} {
			f.vault.Store("robot-password/"+robot+"/"+project, "S3cretOf"+project)
		}
	}
	f.apply(t, Options{}, "    repo2: {}", "    repo2: {}\n    repo3: {}\n    repo4: {}")
	plan := f.plan(t, f.open(t, Options{}, "    repo1: {}\n", "    only: {}\n", "    repo2: {}\n", ""))
	short := strings.Join(plan.ShortNotes(), "\n")
	if want := "dc1, dc2, drp: project multi-dc-repo1, multi-dc-repo2, multi-dc-repo3 and 1 more: it is not in the fleet file; it is left alone, as projects always are"; !strings.Contains(short, want) {
		t.Errorf("%q is not in\n%s", want, short)
	}
	if n := len(plan.ShortNotes()); n > 10 || len(plan.Notes) < 60 {
		t.Errorf("%d notes of %d:\n%s", n, len(plan.Notes), short)
	}
}
