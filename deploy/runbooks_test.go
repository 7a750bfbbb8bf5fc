package deploy_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"example.org/breakwater/internal/trial"
)

// hasHeading reports whether a page has the heading that a fragment leads to.
func hasHeading(t *testing.T, page, anchor string) bool {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(string(text), -1) {
		slug := regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(m[1]), "")
		if strings.ReplaceAll(slug, " ", "-") == anchor {
			return true
		}
	}
	return false
}

// TestEveryAlertHasItsRunbook: and no runbook is of an alert that is gone.
func TestEveryAlertHasItsRunbook(t *testing.T) {
	rules, err := os.ReadFile("observability/rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("runbooks/alerts.md")
	if err != nil {
		t.Fatal(err)
	}
	alerts, documented := map[string]bool{}, map[string]bool{}
	for _, m := range regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(string(rules), -1) {
		alerts[m[1]] = true
		if want := fmt.Sprintf("runbooks/alerts.md#%s\n", strings.ToLower(m[1])); !strings.Contains(string(rules), want) {
			t.Errorf("%s does not lead to %s", m[1], want)
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^### (\w+)$`).FindAllStringSubmatch(string(page), -1) {
		documented[m[1]] = true
		if !alerts[m[1]] {
			t.Errorf("there is no alert %s", m[1])
		}
	}
	for a := range alerts {
		if !documented[a] {
			t.Errorf("%s has no runbook", a)
		}
	}
}

// TestTheRunbooksGetAnAddress does what README.md says to do to rules.yaml: then no alert
// leads to the stand-in's address any more.
func TestTheRunbooksGetAnAddress(t *testing.T) {
	readme, err := os.ReadFile("observability/README.md")
	if err != nil {
		t.Fatal(err)
	}
	command := regexp.MustCompile(`(?m)^(sed -i .*\|(https://[^|]+)\|' rules\.yaml)$`).FindSubmatch(readme)
	if command == nil {
		t.Fatal("observability/README.md has no sed")
	}
	rules, dir := read(t, "rules.yaml"), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "rules.yaml"), rules, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(trial.Client(t, "sh"), "-c", string(command[1]))
	cmd.Dir = dir
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	changed, err := os.ReadFile(filepath.Join(dir, "rules.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`runbook_url: (\S+)`).FindAllStringSubmatch(string(changed), -1) {
		page, anchor, _ := strings.Cut(m[1], "#")
		if page != string(command[2])+"/alerts.md" || !hasHeading(t, "runbooks/alerts.md", anchor) {
			t.Errorf("an alert leads to %s", m[1])
		}
	}
	if n := strings.Count(string(changed), "runbook_url: "); n != len(alerts(t)) {
		t.Errorf("%d of %d alerts lead anywhere", n, len(alerts(t)))
	}
}
