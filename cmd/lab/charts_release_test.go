package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"example.org/breakwater/internal/trial"
)

// pushedCharts: the release's charts are pushed to a Harbor through an edge, come back
// through another one as the same bytes, and render.
func pushedCharts(t *testing.T, tree, dist string) {
	helm, home, f := trial.Client(t, "helm"), t.TempDir(), startLab(t)
	writer := f.Robots[1]
	run := func(args ...string) string { return output(t, clientCommand(t, home, helm, args...)) }
	run("registry", "login", f.edge(0), "--plain-http", "-u", writer.Name, "-p", writer.Secret)
	data := filepath.Join(tree, "deploy/helm/testdata")
	for chart, values := range map[string][]string{
		"breakwater":         {"--values", data + "/production.yaml", "--set-file", "fleetFile=" + data + "/production.fleet.yaml", "--set", "prometheusRule.enabled=true", "--set", "dashboards.enabled=true"},
		"harbor-autoscaling": {"--values", data + "/autoscaling.yaml"},
	} {
		file := fileOf(t, dist, chart+"-[0-9]*.tgz")
		version := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(file), chart+"-"), ".tgz")
		run(append([]string{"lint", file}, values...)...)
		run("push", file, "oci://"+f.edge(0)+"/multi-dc-demo/charts", "--plain-http")
		run("pull", "oci://"+f.edge(0)+"/multi-dc-demo/charts/"+chart, "--version", version, "--plain-http", "--destination", home)
		back := filepath.Join(home, filepath.Base(file))
		if digestOf(t, back) != digestOf(t, file) {
			t.Errorf("%s is another one", back)
		}
		render := func(from string) string {
			text, err := clientCommand(t, home, helm, append([]string{"template", "x", from, "--kube-version", "1.33.0"}, values...)...).Output() // what it says beside that is of links in the tree
			if err != nil || len(text) == 0 {
				t.Errorf("%s: %v", from, err)
			}
			return regexp.MustCompile(`(?m)^.*(helm.sh/chart|app.kubernetes.io/version):.*$`).ReplaceAllString(string(text), "") // what names the version
		}
		if of := filepath.Join(tree, "deploy/helm", chart); render(back) != render(of) {
			t.Errorf("%s renders another way than %s", back, of)
		}
	}
}

func digestOf(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(content))
}

// formula: Homebrew is told of archives that are there, with their checksums.
func formula(t *testing.T, dist string) {
	text, err := os.ReadFile(filepath.Join(dist, "breakwater.rb"))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`url "(https://[^"]+)/releases/download/v[^/"]+/([^/"]+)"\s+sha256 "([0-9a-f]{64})"`).FindAllStringSubmatch(string(text), -1)
	if len(found) != 2 { // the platforms that were built
		t.Fatalf("%s", text)
	}
	for _, m := range found {
		if digestOf(t, filepath.Join(dist, m[2])) != m[3] {
			t.Errorf("%s has another checksum", m[2])
		}
	}
	if blocks, ends := regexp.MustCompile(`(?m)^ *(class|def|test|on_\w+)\b`).FindAll(text, -1), regexp.MustCompile(`(?m)^ *end$`).FindAll(text, -1); len(blocks) != len(ends) {
		t.Errorf("%d blocks begin and %d end:\n%s", len(blocks), len(ends), text)
	}
}

// labArchive: who unpacks the archive of the lab has a fleet, without Go and without a home.
func labArchive(t *testing.T, dist string) {
	dir := t.TempDir()
	output(t, exec.Command("tar", "-xzf", fileOf(t, dist, "breakwater-lab_*_linux_"+runtime.GOARCH+".tar.gz"), "-C", dir, "--strip-components=1"))
	cmd := exec.Command(filepath.Join(dir, releasedName), "--port", "0")
	cmd.Env = []string{"PATH=/nowhere", "TMPDIR=" + shortDir(t), "HOME="}
	lines, printed := suggested(t, cmd)
	for _, line := range lines {
		if strings.Contains(line, dir+"/breakwater explain ") {
			if said := output(t, exec.Command("sh", "-c", line)); !strings.Contains(said, "cache-dockerhub/library/multi") {
				t.Error(said)
			}
			return
		}
	}
	t.Errorf("no line calls what is in the archive:\n%s", printed)
}
