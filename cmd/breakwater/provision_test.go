package main

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.org/breakwater/internal/keyring"
	"example.org/breakwater/internal/lab"
	"example.org/breakwater/internal/secret"
	"example.org/breakwater/internal/trial"
	"example.org/breakwater/provision"
)

var provisionSecrets = map[string]string{"admin": "Harbor12345", "sync": "Sync5ecretApp", "readonly": "Read5ecretApp", "edge": "Edge5ecretApp", "oidc": "0idc5ecret", "hub": "Hub5ecretHub", "peers": "Peer5ecretKey, and as long as it has to be"}

// provisionFleet is a fleet file of two empty Harbors.
func provisionFleet(t *testing.T) (config string, harbors []*lab.Harbor) {
	t.Helper()
	dir := t.TempDir()
	for name, secret := range provisionSecrets {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(secret), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text := `domain: h.example.org
datacenters: { par1: { harbor: "URL0", edge: "https://edge.par1.example.org" }, mad1: { harbor: "URL1", edge: "https://edge.mad1.example.org" } }
harbor:
  username: admin
  password: "file:DIR/admin"
  oidc: { name: k, endpoint: "https://k.example.org", client_id: harbor, client_secret: "file:DIR/oidc" }
projects:
  multi-dc: { app: { retention: { pulled_within: 30d }, robots: { readonly: "file:DIR/readonly", sync: "file:DIR/sync" } } }
  cache: { hub: { endpoint: "https://hub.example.org", username: u, password: "file:DIR/hub" } }
edge: { plain_http: true, robot: { secret: "file:DIR/edge" }, peers: { key: "file:DIR/peers" } }
`
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	upstream, err := lab.StartHarbor(lab.HarborConfig{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { upstream.Close() }) //nolint:errcheck // the test is over
	text = strings.Replace(text, "username: u,", `username: "`+upstream.CreateRobot("*", "u", provisionSecrets["hub"], "pull")+`",`, 1)
	for _, name := range []string{"URL0", "URL1"} {
		h, err := lab.StartHarbor(lab.HarborConfig{Key: key, Registries: map[string]string{"https://hub.example.org": upstream.URL()}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { h.Close() }) //nolint:errcheck // the test is over
		harbors = append(harbors, h)
		text = strings.Replace(text, name, h.URL(), 1)
	}
	config = filepath.Join(dir, "fleet.yaml")
	if err := os.WriteFile(config, []byte(strings.ReplaceAll(text, "DIR", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	return config, harbors
}

// provisions runs the command; no secret may be in what it says.
func provisions(t *testing.T, status exitStatus, args ...string) (text string) {
	t.Helper()
	cmd := provisionCommand()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetIn(strings.NewReader("yes\n"))
	cmd.SetArgs(args)
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	err := cmd.ExecuteContext(t.Context())
	var got exitStatus
	switch {
	case errors.As(err, &got):
	case err != nil:
		got = 1
		out.WriteString(err.Error())
	}
	text = out.String()
	if got != status {
		t.Errorf("%v: exit status %d, want %d\n%s", args, got, status, text)
	}
	shown := []string{secret.Webhook(trial.Keys(provisionSecrets["peers"], "").For(keyring.Webhooks)[0], "par1", "multi-dc-app")}
	for _, secret := range append(shown, slices.Collect(maps.Values(provisionSecrets))...) {
		if strings.Contains(text, secret) {
			t.Errorf("%v: a secret is in\n%s", args, text)
		}
	}
	return text
}

func TestProvisionFromTheCommandLine(t *testing.T) {
	config, harbors := provisionFleet(t)
	if text := provisions(t, exitChanges, "plan", "--config", config); !strings.Contains(text, "\nmad1\n") || !strings.Contains(text, "  + project multi-dc-app\n") || !strings.Contains(text, "quota: 10GiB") ||
		!strings.Contains(text, "  + webhook multi-dc-app breakwater\n") || !strings.Contains(text, "filters: name multi-dc-app/**, tag ?* excludes\n") {
		t.Error(text)
	}
	var plan struct {
		Changes []struct{ Datacenter, Kind, Name, Action string }
		Objects int
	}
	if err := json.Unmarshal([]byte(provisions(t, exitChanges, "plan", "--json", "--config", config)), &plan); err != nil || len(plan.Changes) != plan.Objects || plan.Objects == 0 {
		t.Errorf("%v %+v", err, plan)
	}
	provisions(t, 1, "apply", "--json", "--config", config)
	if text := provisions(t, 0, "apply", "--config", config); !strings.Contains(text, "Do this?") || !strings.Contains(text, "0 failed, 0 deferred") {
		t.Error(text)
	}
	if text := provisions(t, 0, "plan", "--config", config); !strings.Contains(text, "Nothing to do") {
		t.Error(text)
	}
	metrics := filepath.Join(t.TempDir(), "provision.prom")
	provisions(t, 0, "plan", "--metrics", metrics, "--config", config)
	if text, err := os.ReadFile(metrics); err != nil || !strings.Contains(string(text), `breakwater_provision_changes{datacenter="par1"} 0`) || strings.Contains(string(text), lastSuccess+" 0") {
		t.Errorf("%v %s", err, text)
	}
	var applied struct {
		Results []struct{ Kind, Outcome string }
	}
	text := provisions(t, 0, "apply", "--yes", "--json", "--rewrite-secrets", "--config", config)
	if err := json.Unmarshal([]byte(text), &applied); err != nil || len(applied.Results) == 0 {
		t.Errorf("secrets are not written again: %v %s", err, text)
	}
	provisions(t, 1, "plan", "--config", config, "--datacenter", "lon1")
	if err := harbors[1].Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(metrics, []byte("# TYPE "+lastSuccess+" gauge\n"+lastSuccess+" 7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	provisions(t, exitPartial, "plan", "--metrics", metrics, "--config", config)
	provisions(t, exitPartial, "apply", "--yes", "--config", config)
	provisions(t, 0, "apply", "--yes", "--unreachable-ok", "--config", config)
	if text, err := os.ReadFile(metrics); err != nil || !strings.Contains(string(text), `breakwater_provision_faults{datacenter="mad1"} 1`) || !strings.Contains(string(text), lastSuccess+" 7") {
		t.Errorf("%v %s", err, text)
	}
	if text := provisions(t, exitPartial, "plan", "--config", config); !strings.Contains(text, "mad1 cannot be reached") {
		t.Error(text)
	}
	if text := provisions(t, exitPartial, "apply", "--yes", "--config", config); !strings.Contains(text, "Partial") {
		t.Error(text)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(config), "sync"), []byte("weak"), 0o600); err != nil {
		t.Fatal(err)
	}
	if text := provisions(t, 1, "apply", "--yes", "--config", config); !strings.Contains(text, "multi-dc-app+sync: its secret must have 8 to 128 characters") {
		t.Error(text)
	}
	if err := os.Remove(filepath.Join(filepath.Dir(config), "readonly")); err != nil {
		t.Fatal(err)
	}
	if text := provisions(t, 1, "plan", "--config", config); !strings.Contains(text, "readonly: ") || !strings.Contains(text, "no such file") {
		t.Error(text)
	}
	if text := provisions(t, 0, "lint", "--config", config); !strings.Contains(text, "projects.multi-dc.app.retention: content comes to the other datacenters without a tag") {
		t.Error(text)
	}
}

// A refused password is a failure that is said once, whatever else is allowed to be away,
// and nothing is claimed of what was not read.
func TestProvisionWithAWrongPassword(t *testing.T) {
	config, harbors := provisionFleet(t)
	provisions(t, 0, "apply", "--yes", "--config", config)
	wrong := filepath.Join(filepath.Dir(config), "admin")
	if err := os.WriteFile(wrong, []byte("Wr0ngPassword"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"plan"}, {"plan", "--json"}, {"apply", "--yes"}, {"apply", "--yes", "--unreachable-ok"}, {"apply", "--yes", "--json", "--unreachable-ok"}} {
		text := provisions(t, 1, append(args, "--config", config)...)
		if !strings.Contains(text, "mad1, par1: this Harbor refuses harbor.username and harbor.password") || strings.Contains(text, "Nothing to do") || strings.Contains(text, "Partial") || strings.Contains(text, "Wr0ngPassword") {
			t.Errorf("%v: %s", args, text)
		}
	}
	// At one of them alone: the other is planned, and it is a failure nevertheless.
	par1, err := lab.StartHarbor(lab.HarborConfig{AdminPassword: "Wr0ngPassword"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { par1.Close() }) //nolint:errcheck // the test is over
	file, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, []byte(strings.Replace(string(file), harbors[0].URL(), par1.URL(), 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	text := provisions(t, 1, "plan", "--config", config)
	if !strings.Contains(text, "mad1: this Harbor refuses") || !strings.Contains(text, "+ project multi-dc-app") {
		t.Error(text)
	}
}

// What is half done is named, and a run is called partial only where it waits for a Harbor.
func TestProvisionSaysHowARunEnded(t *testing.T) {
	key := provision.Key{Datacenter: "par1", Kind: "robot", Name: "r"}
	for name, c := range map[string]struct {
		results   []provision.Result
		says, not []string
	}{
		"half done":     {[]provision.Result{{Key: key, Outcome: provision.HalfDone, Why: "no answer"}}, []string{"0 not begun, 1 half done.", "half done: par1: robot r: no answer", "run it again, which completes it"}, []string{"Partial"}},
		"ended":         {[]provision.Result{{Key: key, Outcome: provision.Stopped}}, []string{"1 not begun.", "Ended before it was through"}, []string{"Partial", "half"}},
		"away":          {[]provision.Result{{Key: key, Outcome: provision.Deferred, Why: "mad1 does not answer", Away: true}}, []string{"waiting: par1: robot r: mad1", "Partial: run it again when all Harbors can be reached."}, nil},
		"needs another": {[]provision.Result{{Key: key, Outcome: provision.Failed}, {Key: key, Outcome: provision.Deferred, Why: "it needs that"}}, []string{"waiting: par1: robot r: it needs that"}, []string{"Partial", "Ended"}},
		"done":          {[]provision.Result{{Key: key, Outcome: provision.Done}}, []string{"1 done"}, []string{"Partial", "Ended", "half"}},
	} {
		var out bytes.Buffer
		if err := printResults(&out, &provision.Plan{}, c.results); err != nil {
			t.Fatal(err)
		}
		for _, s := range c.says {
			if !strings.Contains(out.String(), s) {
				t.Errorf("%s: it does not say %q: %s", name, s, out.String())
			}
		}
		for _, s := range c.not {
			if strings.Contains(out.String(), s) {
				t.Errorf("%s: it says %q: %s", name, s, out.String())
			}
		}
	}
}
