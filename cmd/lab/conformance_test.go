package main

import (
	"encoding/xml"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"example.org/breakwater/internal/trial"
)

// conformanceReport is what the suite's junit.xml says. A name stands there once
// for each time that its check ran.
type conformanceReport struct {
	Tests    int `xml:"tests,attr"`
	Failures int `xml:"failures,attr"`
	Errors   int `xml:"errors,attr"`
	Skipped  int `xml:"skipped,attr"`
	Disabled int `xml:"disabled,attr"`
	Cases    []struct {
		Name   string `xml:"name,attr"`
		Status string `xml:"status,attr"`
		Says   string `xml:"system-out"`
	} `xml:"testcase"`
}

func (r *conformanceReport) ran() int { return r.Tests - r.Skipped - r.Disabled }

// failed counts the failures of each check, and keeps what the last one said.
func (r *conformanceReport) failed() (count map[string]int, says map[string]string) {
	count, says = map[string]int{}, map[string]string{}
	for _, c := range r.Cases {
		if c.Status != "passed" && c.Status != "skipped" {
			count[c.Name]++
			says[c.Name] = c.Says
		}
	}
	return count, says
}

// TestConformance: the OCI's own suite finds no fault in the edge that the
// registry behind it does not have. The reports stay in $BREAKWATER_REPORTS.
func TestConformance(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	t.Parallel()
	trial.Client(t, "conformance")
	f := startLab(t)
	harbor := strings.TrimPrefix(f.Datacenters[0].Harbor, "http://")
	direct := conformance(t, f, "direct", harbor, "library")
	known, _ := direct.failed()
	passed := map[string]bool{}
	for _, c := range direct.Cases {
		passed[c.Name] = passed[c.Name] || c.Status == "passed"
	}
	for name, project := range map[string]string{"plain": "library", "multi-dc": "multi-dc-demo"} {
		t.Run(name, func(t *testing.T) {
			count, says := conformance(t, f, name, f.edge(0), project).failed()
			for check, n := range count {
				// One that is not run without the edge, because another failed before it, tells nothing.
				if n > known[check] && passed[check] {
					t.Errorf("%s fails %d times through the edge, and %d times without it: %s", check, n, known[check], says[check])
				}
			}
		})
	}
}

// conformance runs the suite in two repos of the project.
func conformance(t *testing.T, f *fleetUnderTest, name, registry, project string) *conformanceReport {
	t.Helper()
	dir := t.TempDir()
	if reports := os.Getenv("BREAKWATER_REPORTS"); reports != "" {
		dir = filepath.Join(reports, "conformance", name)
		if err := os.RemoveAll(dir); err != nil { // of an earlier run
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "conformance")
	cmd.Dir = t.TempDir() // it reads oci-conformance.yaml where it is started
	repo := project + "/conformance-" + name
	cmd.Env = append(os.Environ(), "OCI_REGISTRY="+registry, "OCI_TLS=disabled", "OCI_VERSION=1.1", "OCI_REPO1="+repo+"-1", "OCI_REPO2="+repo+"-2",
		"OCI_USERNAME="+f.Admin.Username, "OCI_PASSWORD="+f.Admin.Password, "OCI_RESULTS_DIR="+dir)
	text, runErr := cmd.CombinedOutput() // it fails when a check does
	junit, err := os.ReadFile(filepath.Join(dir, "junit.xml"))
	if err != nil {
		t.Fatalf("%v, %v\n%s", runErr, err, text)
	}
	var file struct {
		Suite conformanceReport `xml:"testsuite"`
	}
	if err := xml.Unmarshal(junit, &file); err != nil {
		t.Fatal(err)
	}
	r := &file.Suite
	t.Logf("%s: %d checks ran, %d failed; %d skipped", name, r.ran(), r.Failures+r.Errors, r.Skipped+r.Disabled)
	if r.ran() <= 800 {
		t.Errorf("%s: of %d checks %d ran\n%s", name, r.Tests, r.ran(), text)
	}
	return r
}
