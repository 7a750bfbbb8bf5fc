package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestAPlanIsDoneAsItWasSeenOrNotAtAll keeps a plan, changes the world, and has it refused; what is
// still as it was is done without a question.
func TestAPlanIsDoneAsItWasSeenOrNotAtAll(t *testing.T) {
	config, harbors := provisionFleet(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "plan.json")
	only := filepath.Join(dir, "mad1.json")
	provisions(t, exitChanges, "plan", "--out", file, "--config", config)
	checkKept(t, file, 0o600)

	harbors[0].CreateProject("multi-dc-app", true)
	if said := provisions(t, 1, "apply", "--config", config, file); !strings.Contains(said, "plan.json is not what would be done now, and nothing was: plan again\n") ||
		!strings.Contains(said, "par1: project multi-dc-app: the plan has another create") {
		t.Error(said)
	}
	if said := provisions(t, 1, "apply", "--prune", "--config", config, file); !strings.Contains(said, "--prune is of the plan") {
		t.Error(said)
	}
	for name, wrong := range map[string]string{"plan --out has not written this": "{}", "the plan has format 99": `{"format": 99}`, "plan --out has not": "changes:"} {
		bad := filepath.Join(dir, "bad.json")
		if err := os.WriteFile(bad, []byte(wrong), 0o600); err != nil {
			t.Fatal(err)
		}
		if said := provisions(t, 1, "apply", "--config", config, bad); !strings.Contains(said, name) {
			t.Error(said)
		}
	}

	provisions(t, exitChanges, "plan", "--out", file, "--config", config)
	if said := provisions(t, 0, "apply", "--json", "--config", config, file); !strings.Contains(said, `"results"`) {
		t.Error(said)
	}
	if said := provisions(t, 1, "apply", "--config", config, file); !strings.Contains(said, "mad1: project multi-dc-app: the plan has create, and there is nothing to do") {
		t.Error(said)
	}
	provisions(t, exitChanges, "plan", "--out", only, "--datacenter", "mad1", "--rewrite-secrets", "--config", config)
	if said := provisions(t, 0, "apply", "--config", config, only); strings.Contains(said, "Do this?") || strings.Contains(said, "\npar1\n") || !strings.Contains(said, "0 failed, 0 deferred") {
		t.Error(said)
	}
	provisions(t, 1, "plan", "--out", filepath.Join(dir, "none", "plan.json"), "--config", config)
}

// checkKept checks that a file which provision has written is whole: alone in its directory, with
// that mode, and without a secret.
func checkKept(t *testing.T, file string, mode os.FileMode) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, secret := range provisionSecrets {
		if strings.Contains(string(text), secret) {
			t.Errorf("the secret %s is in the file", name)
		}
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != mode {
		t.Errorf("%v %v", info.Mode(), err)
	}
	if left, err := os.ReadDir(filepath.Dir(file)); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v %v", left, err)
	}
}
