// Package helm_test holds what is true of the charts. It is of a module of its own: what
// judges them, Kubernetes' own types first of all, is not what the programs are built of.
package helm_test

import (
	"bytes"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"example.org/breakwater/internal/trial"
)

var update = flag.Bool("update", false, "rewrite what charts are expected to render")

// kubeVersion is what charts are rendered for: a helm without a cluster believes in an old one.
const kubeVersion = "1.33.0"

// rendering is a chart with values.
type rendering struct {
	name    string
	chart   string
	release string
	args    []string // beside the values in testdata/<name>.yaml
}

// renderings are the sets of values whose results are kept in testdata.
var renderings = []rendering{
	{name: "minimal", chart: "breakwater", release: "breakwater"},
	{name: "production", chart: "breakwater", release: "bw", args: []string{"--set-file", "fleetFile=testdata/production.fleet.yaml"}},
	{name: "gateway", chart: "breakwater", release: "bw"},
	{name: "ingress", chart: "breakwater", release: "front-breakwater"},
	{name: "autoscaling", chart: "harbor-autoscaling", release: "harbor"},
}

func (r rendering) values() []string {
	return append([]string{"--values", "testdata/" + r.name + ".yaml"}, r.args...)
}

// runHelm returns what helm prints, and what it says where it fails.
func runHelm(t *testing.T, program string, args ...string) (string, error) {
	t.Helper()
	readAll(t, ".")
	home := t.TempDir()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_CACHE_HOME="+home, "XDG_DATA_HOME="+home, "KUBECONFIG="+filepath.Join(home, "none"))
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%w: %s", err, said.String())
	}
	return out.String(), nil
}

// readAll reads all files below a folder: go test takes a result that it has kept for as good as a new
// one, unless the test itself has read what is another now, by a path within its module. That is why
// testdata has links to what the charts share with the rest of deploy.
func readAll(t *testing.T, folder string) {
	t.Helper()
	err := filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Stat(path)
		if err == nil && info.Mode().IsRegular() { // folders that links lead to are read by their own tests
			_, err = os.ReadFile(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// render is helm template.
func render(t *testing.T, program, chart, release string, args ...string) (string, error) {
	t.Helper()
	return runHelm(t, program, append([]string{"template", release, "./" + chart, "--namespace", "registry", "--kube-version", kubeVersion}, args...)...)
}

func TestChartsLint(t *testing.T) {
	for _, program := range []string{"helm", "helm4"} {
		for _, r := range renderings {
			t.Run(program+" "+r.name, func(t *testing.T) {
				args := append([]string{"lint", "--strict", "--kube-version", kubeVersion, "./" + r.chart}, r.values()...)
				if _, err := runHelm(t, trial.Client(t, program), args...); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// Both helms render what is kept in testdata.
func TestChartsRender(t *testing.T) {
	for _, program := range []string{"helm", "helm4"} {
		for _, r := range renderings {
			t.Run(program+" "+r.name, func(t *testing.T) {
				got, err := render(t, trial.Client(t, program), r.chart, r.release, r.values()...)
				if err != nil {
					t.Fatal(err)
				}
				compareGolden(t, "testdata/"+r.name+".golden.yaml", got)
			})
		}
	}
}

// compareGolden says where got is another text than the file's.
func compareGolden(t *testing.T, file, got string) {
	t.Helper()
	got = strings.ReplaceAll(strings.TrimSpace(got), "\n\n---", "\n---") + "\n" // the two leave other blank lines between documents
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	gotLines, wantLines := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for i := range max(len(gotLines), len(wantLines)) {
		var g, w string
		if i < len(gotLines) {
			g = gotLines[i]
		}
		if i < len(wantLines) {
			w = wantLines[i]
		}
		if g != w {
			t.Fatalf("%s:%d: want %q, got %q; run the test with -update and read the difference", file, i+1, w, g)
		}
	}
}

// A chart is one archive, that both helms make and read; what testing needs is not in it.
func TestChartsPackage(t *testing.T) {
	for _, chart := range []string{"breakwater", "harbor-autoscaling"} {
		t.Run(chart, func(t *testing.T) {
			helm, dir := trial.Client(t, "helm"), t.TempDir()
			if _, err := runHelm(t, helm, "package", "./"+chart, "--destination", dir); err != nil {
				t.Fatal(err)
			}
			archives, err := filepath.Glob(filepath.Join(dir, "*.tgz"))
			if err != nil || len(archives) != 1 {
				t.Fatalf("archives: %v, %v", archives, err)
			}
			if _, err := runHelm(t, helm, "show", "chart", archives[0]); err != nil {
				t.Error(err)
			}
		})
	}
}
