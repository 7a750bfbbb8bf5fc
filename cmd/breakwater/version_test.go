package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.org/breakwater/internal/keyring"
	"example.org/breakwater/internal/signed"
	"example.org/breakwater/proxy/operator"
)

// versioned are edges that run the versions, and a fleet file of them.
func versioned(t *testing.T, versions map[string]string) (config string) {
	t.Helper()
	const key = "the key of all edges, which has 32 bytes or more"
	ring, err := keyring.New(key, "")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "key"), []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	text := "domain: harbor.example.org\ndatacenters:\n"
	for _, name := range []string{"par1", "mad1"} {
		edge := httptest.NewServer(&signed.Handler{Ring: ring, Self: operator.Name(name), Next: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			json.NewEncoder(w).Encode(operator.Report{Datacenter: name, Instance: name, Version: versions[name], Time: time.Now()}) //nolint:errcheck // a test's
		})})
		t.Cleanup(edge.Close)
		if versions[name] == "" {
			edge.Close()
		}
		text += fmt.Sprintf("  %s: { harbor: \"https://h.%s.example.org\", edge: %q }\n", name, name, edge.URL)
	}
	return namedFleet(t, text+fmt.Sprintf("edge: { plain_http: true, peers: { key: \"file:%s/key\" } }\n", dir))
}

func TestVersionsOfAllNodes(t *testing.T) {
	for _, c := range []struct {
		par1, mad1 string
		status     int
		says       []string
	}{
		{"1.0.0", "1.0.0", 0, []string{"the edge of par1  1.0.0", "All nodes run 1.0.0. This program is "}},
		{"1.0.0", "1.1.0", 1, []string{"The edge of par1 runs 1.0.0.\nThe edge of mad1 runs 1.1.0.\n"}},
		{"1.0.0", "", 1, []string{"the edge of mad1  ?", "1 node of 2 did not say which version it runs."}},
	} {
		config := versioned(t, map[string]string{"par1": c.par1, "mad1": c.mad1})
		got := program(t, nil, "version", "--check", "--config", config)
		for _, want := range c.says {
			if got.status != c.status || !strings.Contains(got.stdout, want) {
				t.Errorf("%+v: no %q: status %d: %s%s", c, want, got.status, got.stdout, got.stderr)
			}
		}
		var answer versions
		got = program(t, nil, "version", "--check", "--json", "--config", config)
		if err := json.Unmarshal([]byte(got.stdout), &answer); err != nil || got.status != c.status || answer.Alike != (c.status == 0) || len(answer.Nodes) != 2 || answer.Nodes[1].Version != c.mad1 || answer.Here == "" {
			t.Errorf("%+v: %v, status %d: %s", c, err, got.status, got.stdout)
		}
	}
	if got := program(t, nil, "version", "--config", "x"); got.status != 2 || !strings.Contains(got.stderr, "--config is for --check") {
		t.Errorf("status %d: %s", got.status, got.stderr)
	}
}
