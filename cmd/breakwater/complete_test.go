package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// named is a fleet file for names; nothing in it can be reached.
const named = `domain: harbor.example.org
datacenters:
  par1: { harbor: "https://h.par1.example.org", edge: "https://192.0.2.1", addresses: [192.0.2.1], gslb: [192.0.2.53] }
  mad1: { harbor: "https://h.mad1.example.org", edge: "https://192.0.2.2", addresses: [192.0.2.2], gslb: [198.51.100.53] }
  drp1: { harbor: "https://h.drp1.example.org", edge: "https://192.0.2.3", addresses: [192.0.2.3], role: backup }
edge: { plain_http: true }
gslb: { names: { registry.example.org: { method: failover } } }
projects:
  multi-dc: { repo1: {}, repo2: {} }
  cache: { dockerhub: { provider: docker-hub, endpoint: "https://registry-1.docker.io", public: true } }
`

func namedFleet(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "fleet.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// completed are the words that a shell is given for the last of a line, and what it is to do with them.
func completed(t *testing.T, line ...string) (words []string, directive string) {
	t.Helper()
	begun := time.Now()
	got := program(t, nil, append([]string{"__complete"}, line...)...)
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("%q took %v", line, took)
	}
	if said := strings.Split(strings.TrimSpace(got.stderr), "\n"); got.status != 0 || len(said) != 1 || !strings.HasPrefix(said[0], "Completion ended") {
		t.Errorf("%q: status %d: %s", line, got.status, got.stderr)
	}
	words = strings.Split(strings.TrimSuffix(got.stdout, "\n"), "\n")
	directive = words[len(words)-1]
	words = words[:len(words)-1]
	for i := range words {
		words[i], _, _ = strings.Cut(words[i], "\t")
	}
	return words, directive
}

func TestShellsCompleteWhatTheFleetFileHas(t *testing.T) {
	config := namedFleet(t, named)
	for line, want := range map[string]string{
		"gslb drain --config F ":                       "par1 mad1 drp1",
		"gslb drain --config F m":                      "mad1",
		"gslb drain --config F par1 ":                  "",
		"gslb force --config F par1 ":                  "up down",
		"gslb force --config=F par1 d":                 "down",
		"edge --config F --datacenter ":                "par1 mad1 drp1",
		"edge drain --config F --fleet par1 ":          "mad1 drp1",
		"check F --for ":                               "edge gslb provision",
		"check F --datacenter m":                       "mad1",
		"check --config F --datacenter d":              "drp1",
		"doctor --config F --for edge,":                "edge,gslb edge,provision",
		"hosts --config F --for ":                      "containerd docker podman",
		"hosts --config F --for p":                     "podman",
		"gslb delegation show --config F --for route":  "route53",
		"gslb delegation show --config F --zone ":      "harbor.example.org registry.example.org",
		"gslb explain --config F --name r":             "registry.example.org",
		"provision plan --config F --datacenter par1,": "par1,mad1 par1,drp1",
		"provision verify --config F --project ":       "repo1 repo2",
		"provision refill --config F par1 --from d":    "drp1",
		"provision rotate --config F r":                "readonly readwrite",
		"explain --config F multi":                     "multi-dc-repo1/ multi-dc-repo2/",
		"warm --config F a ca":                         "cache-dockerhub/",
		"explain --config F harbor.example.org/ca":     "harbor.example.org/cache-dockerhub/",
		"purge --config F ":                            "",
		"init --datacenter ":                           "",
		"warm --config F --timeout ":                   "",
	} {
		words, directive := completed(t, strings.Split(strings.ReplaceAll(line, "F", config), " ")...)
		if strings.Join(words, " ") != want {
			t.Errorf("%q: %q, want %q", line, words, want)
		}
		if directive == ":0" {
			t.Errorf("%q: files are offered", line)
		}
	}
	if _, directive := completed(t, "explain", "--config", config, "multi"); directive != ":38" { // no space, no files, this order
		t.Errorf("what goes on: %s", directive)
	}
	if words, directive := completed(t, "status", "--config", ""); directive != ":8" || !slices.Contains(words, "yaml") {
		t.Errorf("a fleet file: %q %s", words, directive)
	}
}

// Nothing is said where there is nothing to read, and a file is read that is refused.
func TestShellsCompleteWithABrokenFleetFile(t *testing.T) {
	broken := namedFleet(t, named+"  repl: { base: { images: [\n")
	if words, _ := completed(t, "gslb", "drain", "--config", broken, ""); !slices.Equal(words, []string{"par1", "mad1", "drp1"}) {
		t.Errorf("%q", words)
	}
	for _, config := range []string{"nowhere", "-", t.TempDir(), "/dev/zero", "/dev/stdin", namedFleet(t, ""), namedFleet(t, "\x00"), namedFleet(t, "- a")} {
		if words, directive := completed(t, "gslb", "drain", "--config", config, ""); len(words) > 0 || directive == ":0" || directive == ":1" {
			t.Errorf("%s: %q %s", config, words, directive)
		}
	}
}
