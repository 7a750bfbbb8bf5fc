package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// check reads the keys that this machine has, and refuses what could be guessed; it does not
// need those that it has not.
func TestCheckRefusesAShortKey(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "short"), []byte("x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("BREAKWATER_TEST_SHORT", "7oo5hort")
	t.Setenv("BREAKWATER_TEST_GOOD", strings.Repeat("good", 8))
	const fleet = "domain: h.example.org\ndatacenters: { par1: { harbor: \"https://a.example.org\", edge: \"https://b.example.org\", addresses: [192.0.2.1], gslb: [192.0.2.2] } }\n" +
		"secrets: { vault: { address: \"http://127.0.0.1:1\", login: { token: \"env:BREAKWATER_TEST_UNSET\" } } }\n" +
		"edge:\n  plain_http: true\n  peers: { %s }\ngslb:\n  %s\n"
	for _, c := range []struct {
		peers, gslb string
		faults      []string
	}{
		{"key: \"env:BREAKWATER_TEST_GOOD\"", "key: \"env:BREAKWATER_TEST_GOOD\"", nil},
		{"key: \"vault:a#b\"", "key: \"file:/nonexistent\"", nil},
		{"key: \"file:" + dir + "/short\"", "key: \"env:BREAKWATER_TEST_SHORT\"", []string{"stdin:6: edge.peers.key: it has fewer than 32 bytes", "stdin:8: gslb.key: it has fewer than 32 bytes"}},
		{"key: \"env:BREAKWATER_TEST_GOOD\", previous_key: \"env:BREAKWATER_TEST_SHORT\"", "key: \"env:BREAKWATER_TEST_GOOD\"", []string{"stdin:6: edge.peers.previous_key: it has fewer than 32 bytes"}},
	} {
		text := fmt.Sprintf(fleet, c.peers, c.gslb)
		_, err := check(t, text, "-")
		if (err != nil) != (len(c.faults) > 0) {
			t.Errorf("%s: %v", text, err)
			continue
		}
		for _, want := range c.faults {
			if !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "openssl rand -base64 32") || strings.Contains(err.Error(), "7oo5hort") {
				t.Errorf("want %q: %v", want, err)
			}
		}
		out, err := check(t, text, "--json", "-")
		var report struct {
			OK     bool
			Faults []struct{ Field string }
		}
		if e := json.Unmarshal([]byte(out), &report); e != nil || report.OK != (len(c.faults) == 0) || len(report.Faults) != len(c.faults) || report.OK != (err == nil) {
			t.Errorf("%v, %v: %s", err, e, out)
		}
	}
}

// A short key is refused before a Harbor is asked for anything.
func TestProvisionRefusesAShortKey(t *testing.T) {
	config, harbors := provisionFleet(t)
	if err := os.WriteFile(filepath.Join(filepath.Dir(config), "peers"), []byte("7oo5hort"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range [][]string{{"plan"}, {"apply", "--yes"}} {
		text := provisions(t, 1, append(command, "--config", config)...)
		if strings.Count(text, "edge.peers.key: it has fewer than 32 bytes") != 1 || !strings.Contains(text, "openssl rand -base64 32") || strings.Contains(text, "7oo5hort") {
			t.Errorf("%v: %s", command, text)
		}
	}
	for _, h := range harbors {
		if all := h.Requests(); len(all) > 0 {
			t.Errorf("asked: %v", all)
		}
	}
}
