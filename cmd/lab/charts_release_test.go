package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
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
