package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"example.org/breakwater/cmd/internal/wire"
	"example.org/breakwater/internal/fleet"
)

// Every secret that is missing is said in one run, with the field that leads to it and what
// to do: of a provisioner, an edge and a name server.
func TestAllMissingSecretsAreSaidAtOnce(t *testing.T) {
	const file = `domain: h.example.org
datacenters: { par1: { harbor: "http://127.0.0.1:1", edge: "https://edge.par1.example.org", addresses: [192.0.2.1], gslb: [192.0.2.2] }, mad1: { harbor: "http://127.0.0.1:2", edge: "https://edge.mad1.example.org", addresses: [192.0.2.3], gslb: [192.0.2.4] } }
harbor:
  username: "env:BREAKWATER_TEST_NO_USER"
  password: "file:DIR/no-password"
projects:
  multi-dc:
    defaults:
      robots: { sync: "file:DIR/no-sync-{name}" }
    app: {}
    web: {}
  cache: { hub: { endpoint: "https://hub.example.org", username: u, password: "file:DIR/no-hub" } }
  artifactory: { url: "http://127.0.0.1:3", domain: a.example.org, username: u, password: "env:BREAKWATER_TEST_NO_ARTIFACTORY" }
edge:
  plain_http: true
  store: { path: "DIR/store" }
  robot: { secret: "env:BREAKWATER_TEST_NO_ROBOT" }
  peers:
    key: "file:DIR/no-key"
    previous_key: "file:DIR/no-previous"
gslb:
  key: "env:BREAKWATER_TEST_NO_GSLB"
  previous_key: "file:DIR/no-gslb-before"
`
	dir := t.TempDir()
	config := filepath.Join(dir, "fleet.yaml")
	if err := os.WriteFile(config, []byte(strings.ReplaceAll(file, "DIR", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	says := func(what, text string, want ...string) {
		t.Helper()
		for _, line := range want {
			if line = config + ":" + strings.ReplaceAll(line, "DIR", dir); strings.Count(text, line) != 1 {
				t.Errorf("%s does not say, once, %q:\n%s", what, line, text)
			}
		}
		last := 0
		for _, at := range regexp.MustCompile(`fleet\.yaml:(\d+): `).FindAllStringSubmatch(text, -1) {
			line, _ := strconv.Atoi(at[1])
			if line < last {
				t.Errorf("%s says what is wrong in line %d after line %d:\n%s", what, line, last, text)
			}
			last = line
		}
		if n := strings.Count(text, "\n"); n > len(want) {
			t.Errorf("%s says more than that:\n%s", what, text)
		}
	}
	const set, put = ": there is no such variable in the environment: set it", ": no such file: put the secret there"
	edge := []string{"17: edge.robot.secret: env:BREAKWATER_TEST_NO_ROBOT" + set, "19: edge.peers.key: file:DIR/no-key" + put, "20: edge.peers.previous_key: file:DIR/no-previous" + put}
	says("provision", provisions(t, 1, "plan", "--config", config), append(edge[:2:2], "4: harbor.username: env:BREAKWATER_TEST_NO_USER"+set, "5: harbor.password: file:DIR/no-password"+put,
		"9: projects.multi-dc.defaults.robots.sync: file:DIR/no-sync-app"+put, "9: projects.multi-dc.defaults.robots.sync: file:DIR/no-sync-web"+put,
		"12: projects.cache.hub.password: file:DIR/no-hub"+put, "13: projects.artifactory.password: env:BREAKWATER_TEST_NO_ARTIFACTORY"+set)...)
	f, err := fleet.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	if _, err = wire.NewEdge(t.Context(), wire.EdgeConfig{Fleet: f, Datacenter: "par1", Log: slog.New(slog.NewTextHandler(&log, nil))}); err == nil {
		t.Fatal("an edge starts without its secrets")
	}
	says("an edge", err.Error(), edge...)
	if _, err = wire.NewGSLB(t.Context(), wire.GSLBFile{Fleet: config, Datacenter: "par1", Log: slog.New(slog.NewTextHandler(&log, nil))}); err == nil {
		t.Fatal("a name server starts without its secrets")
	}
	says("a name server", err.Error(), "22: gslb.key: env:BREAKWATER_TEST_NO_GSLB"+set, "23: gslb.previous_key: file:DIR/no-gslb-before"+put)
}
