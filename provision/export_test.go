package provision

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.org/breakwater/internal/fleet"
)

// What apply made is exported as a file that plans to nothing, whoever owns the tags.
func TestExportPlansToNothing(t *testing.T) {
	for name, replace := range map[string][]string{
		"edges":                    {"    repo2: {}", `    repo2: { quota: 20GiB, immutable_tags: ["v*", "release-*"], members: [{ group: dev, role: developer }], replication: { push: none, pull: 6h }, datacenters: { drp: { quota: 5GiB } } }`},
		"no webhooks in one":       {"repo1: {}", "repo1: { webhooks: false }"},
		"no webhooks in one place": {"repo1: {}", "repo1: { datacenters: { dc1: { webhooks: false } } }"},
		"Harbors":                  {"repo1: {}", "repo1: { replication: { tags: harbor } }"},
		"pulls that overlap":       {"replication: { pull", "replication: { single_active: false, copy_by_chunk: true, pull", "every: 15m, flatten", "single_active: false, every: 15m, flatten"},
		"one writes":               {ownedByEdges, "push: none, tags: harbor }", "repo1: {}", "repo1: { datacenters: { dc2: { replication: { push: event } } } }"},
		"groups":                   slices.Concat(articleInGroups, []string{"pull: 15m", "pull: 30m"}),
		"groups of several ways":   slices.Concat(articleInGroups, []string{"repo1: {}", "repo1: { replication: { pull: 1h, push: none }, datacenters: { drp: { replication: { pull: 6h } } } }"}),
		"groups of Harbors' tags":  slices.Concat(articleInGroups, []string{ownedByEdges, ownedByHarbors}),
		"copies":                   {"  multi-dc:\n", "  multi-dc:" + inSome, "repo2: {}", "repo2: { replication: { push: none, pull: 6h } }"},
		"copies in groups":         slices.Concat([]string{"  multi-dc:\n", "  multi-dc:\n    replication: grouped" + inSome, "repo2: {}", "repo2: { replication: { push: none, pull: 6h } }"}, articleInGroups[2:]),
		"preheat":                  slices.Concat(preheating, []string{"ghcr: {", "ghcr: { preheat: { trigger: manual, tags: [latest] }, "}),
		"names of their own":       ownNames,
		"own names in groups":      slices.Concat(articleInGroups, ownNames),
		"no edges":                 {`, edge: "https://edge.drp.example.org"`, "", ", push: event }", " }"},
	} {
		t.Run(name, func(t *testing.T) { exportsToNothing(t, replace...) })
	}
}

// articleInGroups has the article's projects replicated in groups.
var articleInGroups = []string{"  multi-dc:\n", "  multi-dc:\n    replication: grouped\n", "  oidc:\n", "  sync_robot: { secret: \"vault:secret/harbor#robot-password/sync\" }\n  oidc:\n"}

func exportsToNothing(t *testing.T, replace ...string) {
	f := newTestFleet(t)
	f.apply(t, Options{}, replace...)
	secrets := t.TempDir()
	for name, secret := range map[string]string{"admin-password": "Harbor12345", "cache-password/team-a": artifactoryPassword, "peer-key": testPeerKey} {
		testSecret(t, secrets, name, secret)
	}
	for name, secret := range testSecrets {
		testSecret(t, secrets, name, secret)
	}
	file, notes := f.export(t, secrets)
	if len(notes) != 0 {
		t.Fatal(notes)
	}
	for _, secret := range testSecrets {
		if strings.Contains(file, secret) && secret != "admin" && secret != "harbor" {
			t.Errorf("%q is in\n%s", secret, file)
		}
	}
	if strings.Contains(file, "Bearer") || strings.Contains(file, testPeerKey) {
		t.Errorf("a webhook's secret is in\n%s", file)
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

func (f *testFleet) export(t *testing.T, secrets string) (file string, notes []string) {
	t.Helper()
	o := ExportOptions{Domain: "harbor.example.org", Harbors: map[string]string{}, Username: "admin", Password: "Harbor12345", Secret: "file:" + secrets + "/{what}"}
	for name, h := range f.harbors {
		o.Harbors[name] = h.URL()
	}
	file, notes, err := Export(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return file, notes
}

// Edges that show each other certificates have no webhooks, and a Harbor does not say
// where they are; or their robot is gone. That they own tags cannot be written then, and
// is said.
func TestExportOfEdgesThatAreNotSeen(t *testing.T) {
	certificates := newTestFleet(t)
	certificates.apply(t, Options{}, `peers: { key: "vault:secret/breakwater#peer-key" }`, "peers: { ca: /ca.pem }")
	noRobot := newTestFleet(t)
	noRobot.apply(t, Options{})
	for _, h := range noRobot.harbors {
		call(t, h, "DELETE", "/robots/"+id(found(t, h, "/robots", "robot$breakwater-edge")), nil)
	}
	for name, f := range map[string]*testFleet{"certificates": certificates, "no robot": noRobot} {
		file, notes := f.export(t, t.TempDir())
		if len(notes) == 0 || len(notes) > 2 || strings.Contains(file, "push: ") || !strings.Contains(notes[len(notes)-1], "dc1, dc2, drp: project multi-dc-repo1, multi-dc-repo2: it is replicated without its tags, as with tags: edges") || strings.Contains(file, "tags: edges") {
			t.Errorf("%s: %q\n%s", name, notes, file)
		}
		if _, err := fleet.Load("exported.yaml", []byte(file)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
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
