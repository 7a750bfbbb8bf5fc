package provision

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.org/breakwater/internal/fleet"
)

// What apply made is exported as a file that plans to nothing.
func TestExportPlansToNothing(t *testing.T) {
	f := newTestFleet(t)
	f.apply(t, Options{}, "    repo2: {}", `    repo2: { quota: 20GiB, immutable_tags: ["v*", "release-*"], members: [{ group: dev, role: developer }], replication: { push: none, pull: 6h }, datacenters: { drp: { quota: 5GiB } } }`)
	secrets := t.TempDir()
	for name, secret := range map[string]string{"admin-password": "Harbor12345", "cache-password/team-a": artifactoryPassword} {
		testSecret(t, secrets, name, secret)
	}
	for name, secret := range testSecrets {
		testSecret(t, secrets, name, secret)
	}
	o := ExportOptions{Domain: "harbor.example.org", Harbors: map[string]string{}, Username: "admin", Password: "Harbor12345", Secret: "file:" + secrets + "/{what}"}
	for name, h := range f.harbors {
		o.Harbors[name] = h.URL()
	}
	file, notes, err := Export(t.Context(), o)
	if err != nil || len(notes) != 0 {
		t.Fatalf("%v %v", err, notes)
	}
	for _, secret := range testSecrets {
		if strings.Contains(file, secret) && secret != "admin" && secret != "harbor" {
			t.Errorf("%q is in\n%s", secret, file)
		}
	}
	loaded, err := fleet.Load("exported.yaml", []byte(file))
	if err != nil {
		t.Fatalf("%v\n%s", err, file)
	}
	p, err := Open(t.Context(), Options{Fleet: loaded})
	if err != nil {
		t.Fatalf("%v\n%s", err, file)
	}
	defer p.Close()
	plan := f.plan(t, p)
	for _, c := range plan.Changes {
		t.Errorf("%s %s %v", c.Action, c.Key, c.Fields)
	}
	if len(plan.Faults)+len(plan.Notes) > 0 || t.Failed() {
		t.Errorf("%v %v\n%s", plan.Faults, plan.Notes, file)
	}
}

func testSecret(t *testing.T, dir, name, secret string) {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
}
