package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// untried are the rows of docs/json.md that no command of TestProvisionTheLab is held against.
var untried = map[string]string{
	"breakwater gslb delegation apply": "no parent zone of the lab takes updates",
	"breakwater-lab --tour":            "TestTour does",
}

// answersAsDocumented asks for every answer in JSON that there is, in a lab whose Harbors are
// provisioned. apply and the plan before it were asked for already.
func (m *jsonManual) answersAsDocumented(t *testing.T, f *fleetUnderTest) {
	t.Helper()
	program, par1, dir := bin(t, "breakwater"), f.Datacenters[0], t.TempDir()
	admin := strings.TrimPrefix(par1.Admin, "http://")
	topology, key, password := filepath.Join(dir, "topology"), filepath.Join(dir, "zone.key"), filepath.Join(dir, "password")
	for name, text := range map[string]string{topology: "10.1.0.0/16 par1\n", password: f.Admin.Password} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var pushed struct{ Digest string }
	if err := json.Unmarshal(m.answers(t, "breakwater explain", program, "explain", "--admin", admin, "multi-dc-demo/replicated:v1"), &pushed); err != nil {
		t.Fatal(err)
	}
	words := strings.NewReplacer("FLEET", par1.Fleet, "ADMIN", admin, "STEER", par1.Steer, "TOPOLOGY", topology, "KEY", key, "PARENT", f.Parent, "DIGEST", pushed.Digest,
		// What has something to report: zones that are signed, a glue record that the parent does not have, a robot that is missing.
		"SIGNING", otherFile(t, par1.Fleet, "ttl: 2s", "ttl: 2s, dnssec: { key: "+key+" }"),
		"MOVED", otherFile(t, par1.Fleet, "gslb: [127.0.20.1]", "gslb: [127.0.10.77]"),
		"UNSYNCED", otherFile(t, par1.Fleet, `, sync: "file:`+f.Dir+`/sync-secret"`, ""),
		"EXPORT", "--domain h.example.org --username "+f.Admin.Username+" --password file:"+password+" --harbor par1="+par1.Harbor)
	for _, c := range []struct{ row, args string }{
		{"version", "version"},
		{"version --check", "version --check --config FLEET"},
		{"status", "status --config FLEET"},
		{"check", "check FLEET"},
		{"check", "check FLEET --datacenter par1"},
		{"doctor", "doctor --config FLEET --datacenter par1 --root PARENT --skip machine,store"},
		{"explain", "explain --admin ADMIN cache-dockerhub/library/multi"},
		{"warm", "warm --admin ADMIN --fleet cache-dockerhub/library/multi"},
		{"warm status", "warm status --admin ADMIN"},
		{"traffic", "traffic --admin ADMIN"},
		{"fills", "fills --admin ADMIN"},
		{"content", "content --admin ADMIN"},
		{"content REPO", "content --admin ADMIN multi-dc-demo/replicated"},
		{"purge", "purge --admin ADMIN DIGEST"},
		{"purge", "purge --admin ADMIN --fleet DIGEST"},
		{"hosts", "hosts --config FLEET --for podman"},
		{"edge ready", "edge ready --config FLEET"},
		{"edge drain", "edge drain --admin ADMIN"},
		{"edge release", "edge release --admin ADMIN"},
		{"edge drain --fleet", "edge drain --config FLEET --fleet drp1"},
		{"edge release --fleet", "edge release --config FLEET --fleet"},
		{"gslb ready", "gslb ready --config FLEET"},
		{"gslb explain", "gslb explain --admin STEER --client 10.2.3.4"},
		{"gslb status", "gslb status --admin STEER"},
		{"gslb status --fleet", "gslb status --admin STEER --fleet"},
		{"gslb force", "gslb force --admin STEER mad1 up"},
		{"gslb drain", "gslb drain --admin STEER mad1"},
		{"gslb status", "gslb status --admin STEER"},
		{"gslb release", "gslb release --admin STEER mad1"},
		{"gslb force --fleet", "gslb force --config FLEET --fleet mad1 up"},
		{"gslb drain --fleet", "gslb drain --config FLEET --fleet mad1"},
		{"gslb release --fleet", "gslb release --config FLEET --fleet mad1"},
		{"gslb lookup", "gslb lookup --config FLEET --fleet --client 10.2.3.4"},
		{"gslb check", "gslb check --config FLEET TOPOLOGY"},
		{"gslb check-delegation", "gslb check-delegation --config MOVED --root PARENT"},
		{"gslb keygen", "gslb keygen --config FLEET KEY"},
		{"gslb ds", "gslb ds --config SIGNING"},
		{"provision plan", "provision plan --config FLEET"},
		{"provision last", "provision last --config FLEET"},
		{"provision verify --lag", "provision verify --lag --config FLEET"},
		{"provision rotate", "provision rotate sync --config FLEET"},
		{"provision refill", "provision refill par1 --from mad1 --config FLEET"},
		{"provision lint", "provision lint --config UNSYNCED"},
		{"provision export", "provision export EXPORT"},
	} {
		m.answers(t, "breakwater "+c.row, program, strings.Fields(words.Replace(c.args))...)
	}
	m.labAnswersAsDocumented(t, f)
}

// labAnswersAsDocumented is about the lab's own commands.
func (m *jsonManual) labAnswersAsDocumented(t *testing.T, f *fleetUnderTest) {
	t.Helper()
	lab := bin(t, "lab")
	m.holds(t, "breakwater-lab", f.printed)
	m.answers(t, "breakwater-lab status", lab, "status", "--lab", f.Dir)
	for _, verb := range []string{"slow mad1 1ms", "partition par1 drp1", "break harbor drp1", "backup mad1", "restore mad1"} {
		m.answers(t, "breakwater-lab "+strings.Fields(verb)[0], lab, append(strings.Fields(verb), "--for", "0", "--lab", f.Dir)...)
	}
	m.answers(t, "breakwater-lab heal", lab, "heal", "--for", "1s", "--lab", f.Dir)
	m.answers(t, "breakwater-lab wipe", lab, "wipe", "mad1", "--for", "0", "--lab", f.Dir)
}
