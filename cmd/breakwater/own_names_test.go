package main

import (
	"strings"
	"testing"
)

// What the program prints of projects under their own names are those names.
func TestProjectsUnderTheirOwnNamesAreCalledSo(t *testing.T) {
	const file = `domain: harbor.example.org
datacenters: { par1: { harbor: "https://harbor.par1.example.org" } }
projects:
  multi-dc:
    app: { project: platform }
  cache:
    hub: { project: dockerhub, provider: docker-hub, public: true }
    quay.io: { project: quay.io, endpoint: "https://quay.io" }
  repl:
    core: { project: kubernetes, images: [{ from: hub, name: library/traefik, tags: v3.* }] }
`
	out, err := check(t, file, "-")
	for _, want := range []string{"platform    replicated", "dockerhub   proxy cache", "quay.io     proxy cache", "kubernetes  1 image"} {
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("want %q: %v\n%s", want, err, out)
		}
	}
	for engine, want := range map[string]string{"docker": `"https://harbor.example.org/dockerhub"`, "podman": `location = "harbor.example.org/dockerhub"`, "containerd": "# quay.io is private"} {
		out, stderr, err := hosts(t, file, "--for", engine)
		if err != nil || !strings.Contains(out, want) || strings.Contains(out+stderr, "cache-") {
			t.Errorf("%s: %v\n%s%s", engine, err, out, stderr)
		}
	}
	if out, err := check(t, strings.Replace(file, "project: platform", "project: cache-x", 1), "-"); err == nil || !strings.Contains(err.Error(), "stdin:5: projects.multi-dc.app.project: names that begin with cache-") {
		t.Errorf("%v\n%s", err, out)
	}
}
