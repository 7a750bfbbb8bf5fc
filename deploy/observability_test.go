// Package deploy_test holds what is true of the files that the fleet is run with.
package deploy_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"example.org/breakwater/internal/trial"
)

const (
	observability = "observability/"
	runbooks      = "https://example.org/breakwater/deploy/runbooks/alerts.md#"
)

func promtool(t *testing.T, args ...string) {
	t.Helper()
	if text, err := exec.Command(trial.Client(t, "promtool"), args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, text)
	}
}

func TestRulesByPromtool(t *testing.T) {
	promtool(t, "check", "config", observability+"prometheus.yaml") // and the rules that it names
	promtool(t, "test", "rules", observability+"rules_test.yaml")
}

type alert struct {
	Alert, Expr         string
	Labels, Annotations map[string]string
}

func alerts(t *testing.T) (all []alert) {
	t.Helper()
	var file struct{ Groups []struct{ Rules []alert } }
	if err := yaml.Unmarshal(read(t, "rules.yaml"), &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			if r.Alert != "" {
				all = append(all, r)
			}
		}
	}
	if len(all) == 0 {
		t.Fatal("there are no alerts")
	}
	return all
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(observability, name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Every alert says how bad it is, what it means and what to do, was seen to fire in
// the test of the rules, and is in the README.
func TestAlertsSayWhatToDo(t *testing.T) {
	tested, readme := string(read(t, "rules_test.yaml")), string(read(t, "README.md"))
	listed := regexp.MustCompile("(?m)^\\| `(Breakwater[A-Za-z]+)` \\| ([a-z]+) \\|").FindAllStringSubmatch(readme, -1)
	severities := map[string]string{}
	for _, row := range listed {
		severities[row[1]] = row[2]
	}
	for _, a := range alerts(t) {
		if !slices.Contains([]string{"critical", "warning", "info"}, a.Labels["severity"]) {
			t.Errorf("%s: severity %q", a.Alert, a.Labels["severity"])
		}
		for _, name := range []string{"summary", "description"} {
			if a.Annotations[name] == "" {
				t.Errorf("%s has no %s", a.Alert, name)
			}
		}
		if want := runbooks + strings.ToLower(a.Alert); a.Annotations["runbook_url"] != want {
			t.Errorf("%s: runbook %q, want %q", a.Alert, a.Annotations["runbook_url"], want)
		}
		if !strings.Contains(tested, fmt.Sprintf("alertname=%q, severity=%q", a.Alert, a.Labels["severity"])) {
			t.Errorf("%s is not seen to fire in rules_test.yaml", a.Alert)
		}
		if severities[a.Alert] != a.Labels["severity"] {
			t.Errorf("README.md: %s is %q, want %q", a.Alert, severities[a.Alert], a.Labels["severity"])
		}
		delete(severities, a.Alert)
	}
	for name := range severities {
		t.Errorf("%s is in README.md, and nowhere else", name)
	}
}

type dashboard struct {
	UID, Title, Description string
	SchemaVersion           int
	Panels                  []panel
	Templating              struct {
		List []struct{ Name, Type string }
	}
}

type panel struct {
	ID                       int
	Type, Title, Description string
	GridPos                  struct{ X, Y, W, H int }
	FieldConfig              struct {
		Defaults struct {
			Unit       string
			Thresholds struct{ Steps []json.RawMessage }
		}
	}
	Targets []struct {
		Expr       string
		Datasource struct{ UID string }
	}
}

func dashboards(t *testing.T) map[string]dashboard {
	t.Helper()
	all := map[string]dashboard{}
	for _, name := range []string{"fleet", "edge", "gslb", "provision"} {
		var d dashboard
		if err := json.Unmarshal(read(t, "dashboards/"+name+".json"), &d); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if d.UID != "breakwater-"+name || d.Title == "" || d.Description == "" || d.SchemaVersion < 38 || len(d.Panels) == 0 {
			t.Errorf("%s: uid %q, title %q, description %q, schema %d, %d panels", name, d.UID, d.Title, d.Description, d.SchemaVersion, len(d.Panels))
		}
		all[name] = d
	}
	return all
}

var variable = regexp.MustCompile(`\$\{?([a-z]+)\b`)

// A dashboard reads from a source that its user chooses, its panels lie beside each
// other, and each says what to do about what it shows.
func TestDashboards(t *testing.T) {
	for name, d := range dashboards(t) {
		known := map[string]bool{}
		for _, v := range d.Templating.List {
			known[v.Name] = true
		}
		ids, taken := map[int]bool{}, map[[2]int]string{}
		for _, p := range d.Panels {
			at := fmt.Sprintf("%s: panel %d %q", name, p.ID, p.Title)
			if p.ID <= 0 || ids[p.ID] || p.Title == "" {
				t.Errorf("%s: an id and a title of its own are wanted", at)
			}
			ids[p.ID] = true
			g := p.GridPos
			if g.W < 1 || g.H < 1 || g.X < 0 || g.Y < 0 || g.X+g.W > 24 {
				t.Errorf("%s: %+v is not within 24 columns", at, g)
			}
			for x := g.X; x < g.X+g.W; x++ {
				for y := g.Y; y < g.Y+g.H; y++ {
					if other := taken[[2]int{x, y}]; other != "" {
						t.Fatalf("%s lies on %s", at, other)
					}
					taken[[2]int{x, y}] = at
				}
			}
			if p.Type == "row" {
				continue
			}
			if p.Description == "" || p.FieldConfig.Defaults.Unit == "" || len(p.FieldConfig.Defaults.Thresholds.Steps) == 0 || len(p.Targets) == 0 {
				t.Errorf("%s: want a description, a unit, thresholds and a query", at)
			}
			for _, target := range p.Targets {
				if target.Datasource.UID != "${datasource}" {
					t.Errorf("%s reads from %q", at, target.Datasource.UID)
				}
				for _, m := range variable.FindAllStringSubmatch(target.Expr, -1) {
					if !known[m[1]] {
						t.Errorf("%s: there is no variable %s", at, m[1])
					}
				}
			}
		}
		if !known["datasource"] || len(known) < 2 {
			t.Errorf("%s: the variables are %v", name, known)
		}
	}
}

// What promtool takes for a rule is an expression.
func TestDashboardsExpressions(t *testing.T) {
	var rules []map[string]string
	for _, d := range dashboards(t) {
		for _, p := range d.Panels {
			for _, target := range p.Targets {
				expr := variable.ReplaceAllString(strings.ReplaceAll(target.Expr, "$__rate_interval", "5m"), ".*")
				rules = append(rules, map[string]string{"record": fmt.Sprintf("rule_%d", len(rules)), "expr": expr})
			}
		}
	}
	text, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboards", "rules": rules}}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", file)
}
