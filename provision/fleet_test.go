package provision

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/lab"
)

// testFleet is the article's fleet: three Harbors that hold nothing, and an internet.
type testFleet struct {
	harbors  map[string]*lab.Harbor
	internet map[string]string
	secrets  string // directory
	text     string // of the fleet file
}

var testSecrets = map[string]string{
	"admin": "Harbor12345", "oidc": "s3cretOidc", "edge": "EdgeSecret1",
	"readonly-repo1": "ReadOnly1repo1", "readwrite-repo1": "ReadWrite1repo1", "sync-repo1": "Replication1repo1",
	"readonly-repo2": "ReadOnly1repo2", "readwrite-repo2": "ReadWrite1repo2", "sync-repo2": "Replication1repo2",
}

func newTestFleet(t *testing.T) *testFleet {
	t.Helper()
	upstream, err := lab.StartUpstream(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { upstream.Close() }) //nolint:errcheck // the test is over
	internet := map[string]string{}
	for _, host := range []string{"hub.docker.com", "quay.io", "gcr.io", "ghcr.io"} {
		internet[host] = upstream.URL()
	}
	f := &testFleet{harbors: map[string]*lab.Harbor{}, internet: internet, secrets: t.TempDir()}
	for name, secret := range testSecrets {
		if err := os.WriteFile(filepath.Join(f.secrets, name), []byte(secret+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile("testdata/article.yaml")
	if err != nil {
		t.Fatal(err)
	}
	f.text = strings.ReplaceAll(string(text), "SECRETS", f.secrets)
	for _, name := range []string{"dc1", "dc2", "drp"} {
		h, err := lab.StartHarbor(lab.HarborConfig{Internet: internet})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { h.Close() }) //nolint:errcheck // the test is over
		f.harbors[name] = h
		f.text = strings.ReplaceAll(f.text, strings.ToUpper(name)+`"`, h.URL()+`"`)
	}
	return f
}

// open reads the fleet file, with a change of it if there is one.
func (f *testFleet) open(t *testing.T, o Options, replace ...string) *Provisioner {
	t.Helper()
	text := strings.NewReplacer(replace...).Replace(f.text)
	var err error
	if o.Fleet, err = fleet.Load("fleet.yaml", []byte(text)); err != nil {
		t.Fatal(err)
	}
	p, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func (f *testFleet) plan(t *testing.T, p *Provisioner) *Plan {
	t.Helper()
	plan, err := p.Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// apply does everything that a plan has, all of which succeeds.
func (f *testFleet) apply(t *testing.T, o Options, replace ...string) *Plan {
	t.Helper()
	p := f.open(t, o, replace...)
	plan := f.plan(t, p)
	for _, fault := range plan.Faults {
		t.Error(fault)
	}
	for _, r := range p.Apply(t.Context(), plan, nil) {
		if r.Outcome != Done {
			t.Errorf("%s: %s %s: %s", r.Key, r.Action, r.Outcome, r.Why)
		}
	}
	return plan
}

// settled wants a plan that changes nothing.
func (f *testFleet) settled(t *testing.T, replace ...string) *Plan {
	t.Helper()
	plan := f.plan(t, f.open(t, Options{}, replace...))
	for _, c := range plan.Changes {
		t.Errorf("still to do: %s %s %v", c.Action, c.Key, c.Fields)
	}
	for _, fault := range plan.Faults {
		t.Error(fault)
	}
	return plan
}
