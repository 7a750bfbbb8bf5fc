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
		out, stderr, err := hosts(t, hostsFleet, "--for", engine)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range want {
			if !strings.Contains(out, text) {
				t.Errorf("%s: %q is not in\n%s", engine, text, out)
			}
		}
		if strings.Contains(out, "registry.example.com") || !strings.Contains(stderr, "cache-secret is private") {
			t.Errorf("%s: a private cache: %q\n%s", engine, stderr, out)
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
	for want, args := range map[string][]string{
		"want one of containerd, docker, podman": {"--for", "cri"},
		"want https://host":                      {"--for", "docker", "--url", "registry.lan"},
	} {
		if _, _, err := hosts(t, hostsFleet, args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", args, err)
		}
	}
	if _, _, err := hosts(t, strings.ReplaceAll(hostsFleet, ", public: true", ""), "--for", "podman"); err == nil || !strings.Contains(err.Error(), "no public cache") {
		t.Error(err)
	}
}
