package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const hostsFleet = `domain: harbor.example.org
datacenters: { par1: { harbor: "https://harbor.par1.example.org" } }
projects:
  cache:
    dockerhub: { provider: docker-hub, public: true }
    quay.io: { endpoint: "https://quay.io", public: true }
    secret: { endpoint: "https://registry.example.com:8443" }
`

func hosts(t *testing.T, text string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	cmd := hostsCommand()
	var out, errs bytes.Buffer
	cmd.SetIn(strings.NewReader(text))
	cmd.SetOut(&out)
	cmd.SetErr(&errs)
	cmd.SetArgs(append([]string{"--config", "-"}, args...))
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	err = cmd.ExecuteContext(t.Context())
	return out.String(), errs.String(), err
}

func TestHostsPrintsWhatANodeNeeds(t *testing.T) {
	for engine, want := range map[string][]string{
		"containerd": {"# /etc/containerd/certs.d/docker.io/hosts.toml\nserver = \"https://registry-1.docker.io\"", "[host.\"https://harbor.example.org\"]", "certs.d/quay.io/hosts.toml"},
		"docker":     {`"https://harbor.example.org/cache-dockerhub"`},
		"podman":     {`prefix = "quay.io"`, `location = "harbor.example.org/cache-quay.io"`},
	} {
		out, _, err := hosts(t, hostsFleet, "--for", engine)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range want {
			if !strings.Contains(out, text) {
				t.Errorf("%s: %q is not in\n%s", engine, text, out)
			}
		}
	}
	dir := t.TempDir()
	if _, _, err := hosts(t, hostsFleet, "--for", "containerd", "--out", dir, "--ca", "/etc/ca.crt", "--url", "https://registry.lan"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "quay.io", "hosts.toml"))
	if err != nil || !strings.Contains(string(text), `[host."https://registry.lan"]`) || !strings.Contains(string(text), `ca = "/etc/ca.crt"`) {
		t.Errorf("%s, %v", text, err)
	}
	for _, url := range []string{"registry.lan", "ftp://registry.lan", "https://registry.lan/a", "https://a:b@registry.lan", "https://registry.lan?x"} {
		if _, _, err := hosts(t, hostsFleet, "--for", "docker", "--url", url); err == nil || !strings.Contains(err.Error(), "want https://host") {
			t.Error(url, err)
		}
	}
	if _, _, err := hosts(t, "domain: h.example.org\ndatacenters: { par1: { harbor: \"https://h.par1.example.org\" } }\n", "--for", "podman"); err == nil || !strings.Contains(err.Error(), "no cache") {
		t.Error(err)
	}
}

// A cache that wants a login is no reason to say nothing of it, nor to say that all is well.
func TestHostsSaysHowToLogIn(t *testing.T) {
	for engine, want := range map[string]struct{ out, note string }{
		"containerd": {"# [host.\"https://harbor.example.org\".header]", "cache-secret is private: put a login into registry.example.com:8443/hosts.toml"},
		"docker":     {"", "docker login harbor.example.org, and pull harbor.example.org/cache-secret/"},
		"podman":     {"# cache-secret is private: podman login harbor.example.org", "cache-secret is private: podman login harbor.example.org"},
	} {
		out, stderr, err := hosts(t, hostsFleet, "--for", engine)
		if err != nil || !strings.Contains(out, want.out) || !strings.Contains(stderr, want.note) || strings.Contains(stderr, "cache-quay.io is private") {
			t.Errorf("%s: %v: %s\n%s", engine, err, stderr, out)
		}
	}
	private := strings.ReplaceAll(hostsFleet, ", public: true", "")
	if out, _, err := hosts(t, private, "--for", "docker"); err == nil || out != "" || !strings.Contains(err.Error(), "docker login harbor.example.org, and pull harbor.example.org/cache-dockerhub/…") {
		t.Error(out, err)
	}
	partly := strings.Replace(hostsFleet, "public: true", "public: true, datacenters: { par1: { public: false } }", 1)
	if _, stderr, err := hosts(t, partly, "--for", "podman"); err != nil || !strings.Contains(stderr, "cache-dockerhub is private") {
		t.Error("a cache that is private in a datacenter:", stderr, err)
	}
}

// Of two caches of one registry a node gets one: that which needs no login.
func TestHostsNamesOneCacheOfARegistry(t *testing.T) {
	text := hostsFleet + "    a-hub: { provider: docker-hub }\n    z-hub: { provider: docker-hub, public: true }\n"
	for _, engine := range []string{"containerd", "docker", "podman"} {
		out, stderr, err := hosts(t, text, "--for", engine)
		if err != nil || strings.Contains(out, "a-hub") || strings.Contains(out, "z-hub") || !strings.Contains(stderr, "cache-a-hub is left out: cache-dockerhub is of docker.io too") || !strings.Contains(stderr, "cache-z-hub is left out") {
			t.Errorf("%s: %v: %s\n%s", engine, err, stderr, out)
		}
	}
}

// A cache of a part of a registry is no mirror of the registry.
func TestHostsLeavesPartsOfRegistriesOut(t *testing.T) {
	text := hostsFleet + "    part: { endpoint: \"https://registry.example.net/team\", public: true }\n"
	for _, engine := range []string{"containerd", "podman"} {
		if out, stderr, err := hosts(t, text, "--for", engine); err != nil || strings.Contains(out, "registry.example.net") || !strings.Contains(stderr, "cache-part is left out: https://registry.example.net/team is a part of a registry") {
			t.Errorf("%s: %v: %s\n%s", engine, err, stderr, out)
		}
	}
}

// What README.md promises of hosts is true of every fleet file that is shipped.
func TestHostsOfTheShippedFiles(t *testing.T) {
	files, err := filepath.Glob("../../deploy/fleet.*.yaml")
	if err != nil || len(files) < 2 {
		t.Fatal(files, err)
	}
	for _, file := range append(files, "../../internal/fleet/testdata/minimal.yaml") {
		for engine, want := range map[string]string{"containerd": "[host.\"https://harbor.example.org\"]", "docker": "https://harbor.example.org/cache-dockerhub", "podman": "harbor.example.org/cache-dockerhub"} {
			got := program(t, nil, "hosts", "--config", file, "--for", engine)
			if engine == "docker" && strings.Contains(file, "article") { // whose caches are private
				if got.status != 1 || got.stdout != "" || !strings.Contains(got.stderr, "docker login harbor.example.org, and pull harbor.example.org/cache-dockerhub/…") {
					t.Errorf("%s, %s: status %d\n%s%s", file, engine, got.status, got.stdout, got.stderr)
				}
				continue
			}
			if got.status != 0 || !strings.Contains(got.stdout, want) {
				t.Errorf("%s, %s: status %d\n%s%s", file, engine, got.status, got.stdout, got.stderr)
			}
		}
	}
}
