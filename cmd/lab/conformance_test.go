package main

import (
	"encoding/xml"
	"errors"
	"fmt"
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
	trial.Client(t, "conformance") // alone, for it sees a busy machine's deadlines
	f := startLab(t)
	harbor := strings.TrimPrefix(f.Datacenters[0].Harbor, "http://")
	direct := conformance(t, f, "direct", harbor, "library")
	for _, c := range []struct {
		name, project string
		edge          int
		replication   string // of the project, in the fleet file; "": the Harbors are not provisioned yet
	}{
		{"plain", "library", 0, ""},
		{"multi-dc", "multi-dc-demo", 0, ""},
		{"replicated", "multi-dc-demo", 0, "{}"}, // content by Harbors, tags by edges
		{"replicated-tags", "multi-dc-demo", 1, "{ tags: harbor, push: event }"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.replication != "" {
				f.replicate(t, c.replication)
			}
			added := conformance(t, f, c.name, f.edge(c.edge), c.project).adds(direct)
			if len(added) > 0 {
				// Where the machine is so slow that the edge takes its Harbor for down, pushes go to
				// a peer for a while, and so do questions: that is not a fault twice.
				t.Logf("once more, for %v", added)
				again := conformance(t, f, c.name+"-again", f.edge(c.edge), c.project).adds(direct)
				for check, says := range added {
					if _, both := again[check]; both {
						t.Errorf("%s: %s", check, says)
					}
				}
			}
			if c.replication == "" {
				return
			}
			trial.Until(t, func() error { // it was not alone
				for request := range requests(t, f.Datacenters[2].Requests) {
					if strings.HasPrefix(request, "PUT /v2/"+c.project+"/conformance-"+c.name+"-1/manifests/") {
						return nil
					}
				}
				return errors.New("nothing was replicated to " + f.Datacenters[2].Name)
			})
		})
	}
}

// replicate provisions the Harbors, which replicate the project as said.
func (f *fleetUnderTest) replicate(t *testing.T, how string) {
	t.Helper()
	text, err := os.ReadFile(f.Datacenters[0].Fleet)
	if err != nil {
		t.Fatal(err)
	}
	with := strings.Replace(string(text), "    demo:\n", "    demo:\n      replication: "+how+"\n", 1)
	if with == string(text) {
		t.Fatalf("there is no project demo in\n%s", text)
	}
	file := filepath.Join(t.TempDir(), fleetName)
	if err := os.WriteFile(file, []byte(with), 0o600); err != nil {
		t.Fatal(err)
	}
	output(t, exec.Command(bin(t, "breakwater"), "provision", "apply", "--yes", "--config", file))
}

// adds compares with the suite's report of the registry behind the edge: what fails more
// often through the edge than without it, by check.
func (r *conformanceReport) adds(direct *conformanceReport) map[string]string {
	passed := map[string]bool{}
	for _, c := range direct.Cases {
		passed[c.Name] = passed[c.Name] || c.Status == "passed"
	}
	known, _ := direct.failed()
	count, says := r.failed()
	added := map[string]string{}
	for check, n := range count {
		// One that is not run without the edge, because another failed before it, tells nothing.
		if n > known[check] && passed[check] {
			added[check] = fmt.Sprintf("fails %d times through the edge, and %d times without it: %s", n, known[check], says[check])
		}
	}
	return added
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
