package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.org/breakwater/provision"
)

// TestWhatWasLastDoneIsKept plans, applies and plans again; the file has the last of both, for
// others to read, whole and without secrets.
func TestWhatWasLastDoneIsKept(t *testing.T) {
	config, harbors := provisionFleet(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "last.json")
	if said := provisions(t, 1, "last", "--config", config); !strings.Contains(said, "edge.changes") {
		t.Error(said)
	}
	if said := provisions(t, 1, "last", "--record", file); !strings.Contains(said, "neither plan nor apply has run") {
		t.Error(said)
	}
	provisions(t, exitChanges, "plan", "--record", file, "--config", config)
	if said := provisions(t, 0, "last", "--record", file); !strings.Contains(said, "+ project multi-dc-app") || !strings.Contains(said, "No apply is kept.") {
		t.Error(said)
	}
	provisions(t, 0, "apply", "--yes", "--record", file, "--config", config)
	harbors[0].CreateProject("multi-dc-other", true)
	provisions(t, 0, "plan", "--datacenter", "mad1", "--record", file, "--config", config)
	var last provision.Last
	text := provisions(t, 0, "last", "--json", "--record", file)
	if err := json.Unmarshal([]byte(text), &last); err != nil || strings.Count(text, `"format"`) != 1 {
		t.Fatalf("%v: %.100s", err, text)
	}
	switch a, p := last.Apply, last.Plan; {
	case a == nil || p == nil || a.Plan == nil || p.Plan == nil:
		t.Fatalf("%+v", last)
	case len(a.Results) == 0 || len(a.Results) != len(a.Plan.Changes) || a.Results[0].Outcome != provision.Done || a.Error != "":
		t.Errorf("apply: %+v", a)
	case len(p.Plan.Changes) != 0 || len(p.Datacenters) != 1 || !p.Began.After(a.Began):
		t.Errorf("plan: %+v", p)
	}
	checkKept(t, file, 0o644)
	if err := os.WriteFile(file, []byte(`{"format": 1, "plan": {"seconds": 1}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if said := provisions(t, 1, "last", "--record", file); !strings.Contains(said, "has no plan") {
		t.Error(said)
	}
	if said := provisions(t, 1, "plan", "--record", filepath.Join(dir, "none", "last.json"), "--config", config); !strings.Contains(said, "no such file") {
		t.Error(said)
	}
}
