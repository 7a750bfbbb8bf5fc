package main

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.org/breakwater/internal/lab"
)

// exports runs provision export against the Harbors, and loads what it prints.
func exports(t *testing.T, harbors []*lab.Harbor, args ...string) (config, file, notes string) {
	t.Helper()
	t.Setenv("HARBOR_PASSWORD", provisionSecrets["admin"])
	args = append([]string{"export", "--domain", "h.example.org"}, args...)
	for i, name := range []string{"par1", "mad1"} {
		if i < len(harbors) {
			args = append(args, "--harbor", name+"="+harbors[i].URL()+"/")
		}
	}
	cmd := provisionCommand()
	var out, errs bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&errs)
	cmd.SetArgs(args)
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	config = filepath.Join(t.TempDir(), "exported.yaml")
	if err := os.WriteFile(config, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	check := checkCommand()
	check.SetArgs([]string{config})
	check.SetOut(new(bytes.Buffer))
	check.SilenceUsage, check.SilenceErrors = true, true
	if err := check.ExecuteContext(t.Context()); err != nil {
		t.Fatalf("check refuses it: %v\n%s", err, out.String())
	}
	return config, out.String(), errs.String()
}

// asks does something by hand, as a person in the portal.
func asks(t *testing.T, h *lab.Harbor, method, path, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, h.URL()+"/api/v2.0"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("admin", provisionSecrets["admin"])
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		t.Fatalf("%s %s: %s", method, path, resp.Status)
	}
}

// Whatever Harbors have, what export prints is a fleet file: by default, with a Vault, of
// Harbors that have nothing, and of ones that have what no fleet file may.
func TestWhatIsExportedCanBeLoaded(t *testing.T) {
	config, harbors := provisionFleet(t)
	_, file, notes := exports(t, harbors)
	if !strings.Contains(file, `"file:/etc/breakwater/secrets/admin-password"`) || !strings.Contains(notes, "note: mad1, par1: no webhook of breakwater's says where the edge is: write datacenters.<name>.edge") {
		t.Errorf("%s\n%s", file, notes)
	}
	provisions(t, 0, "apply", "--yes", "--config", config)
	if _, file, _ := exports(t, harbors); !strings.Contains(file, `edge: "https://edge.par1.example.org"`) || strings.Contains(file, "/\"") {
		t.Error(file)
	}
	_, file, notes = exports(t, harbors, "--secrets", "vault:secret/harbor#{what}")
	if !strings.Contains(file, `address: "https://vault.example.org"`) || !strings.Contains(notes, "secrets.vault.address is an example's") {
		t.Errorf("%s\n%s", file, notes)
	}
	_, file, notes = exports(t, harbors, "--secrets", "vault:secret/harbor#{what}", "--vault", "https://vault.here.example.org:8200")
	if !strings.Contains(file, `address: "https://vault.here.example.org:8200"`) || strings.Contains(notes, "an example's") {
		t.Errorf("%s\n%s", file, notes)
	}
	h := harbors[1]
	asks(t, h, "POST", "/system/gc/schedule", `{"schedule":{"type":"Custom","cron":"0 0/7 * * * *"}}`)
	asks(t, h, "POST", "/projects", `{"project_name":"multi-dc-a.b","metadata":{"public":"false"}}`)
	asks(t, h, "POST", "/projects/multi-dc-a.b/immutabletagrules", `{"action":"immutable","template":"immutable_template","tag_selectors":[{"kind":"doublestar","decoration":"matches","pattern":"v{1"}],"scope_selectors":{"repository":[{"kind":"doublestar","decoration":"repoMatches","pattern":"**"}]}}`)
	asks(t, h, "POST", "/projects", `{"project_name":"multi-dc-a","metadata":{"public":"false"}}`)
	_, file, notes = exports(t, harbors[1:])
	for _, says := range []string{"note: harbor.gc is left out, as a fleet file may not have it: every: schedules in Harbor cannot repeat every 7m", "note: project multi-dc-a.b is left out, as a fleet file may not have it: immutable_tags: "} {
		if !strings.Contains(notes, says) {
			t.Errorf("it does not say %q:\n%s", says, notes)
		}
	}
	if !strings.Contains(file, "\n    a: {") || strings.Contains(file, "a.b") {
		t.Error(file)
	}
}

// What was exported from Harbors that apply made plans to nothing against them.
func TestExportAndPlan(t *testing.T) {
	config, harbors := provisionFleet(t)
	provisions(t, 0, "apply", "--yes", "--config", config)
	secrets := t.TempDir()
	for name, secret := range map[string]string{"admin-password": "admin", "oidc-client-secret": "oidc", "robot-password/edge": "edge", "robot-password/readonly/app": "readonly", "robot-password/replication/app": "sync", "cache-password/hub": "hub", "peer-key": "peers"} {
		file := filepath.Join(secrets, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(provisionSecrets[secret]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	exported, file, notes := exports(t, harbors, "--secrets", "file:"+secrets+"/{what}")
	if notes != "" {
		t.Error(notes)
	}
	if text := provisions(t, 0, "plan", "--config", exported); !strings.Contains(text, "Nothing to do.") {
		t.Errorf("%s\n%s", text, file)
	}
}

// Where there can be no fleet file none is printed, and a sentence says why.
func TestWhatCannotBeExported(t *testing.T) {
	_, harbors := provisionFleet(t)
	t.Setenv("HARBOR_PASSWORD", provisionSecrets["admin"])
	at := harbors[0].URL()
	for name, c := range map[string]struct {
		args []string
		says string
	}{
		"a domain that is none":    {[]string{"--domain", "no host", "--harbor", "par1=" + at}, `domain: "no host" is no host name`},
		"a name that is none":      {[]string{"--domain", "h.example.org", "--harbor", "Par_1=" + at}, "datacenters.Par_1: a datacenter's name is a DNS label"},
		"one Harbor twice":         {[]string{"--domain", "h.example.org", "--harbor", "par1=" + at, "--harbor", "mad1=" + at}, "each has its own"},
		"a reference that is none": {[]string{"--domain", "h.example.org", "--harbor", "par1=" + at, "--secrets", "nowhere/{what}"}, "harbor.password: "},
	} {
		t.Run(name, func(t *testing.T) {
			if text := provisions(t, 1, append([]string{"export"}, c.args...)...); !strings.Contains(text, c.says) || strings.Contains(text, "# Written by") {
				t.Error(text)
			}
		})
	}
}
