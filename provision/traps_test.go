package provision

import (
	"os"
	"strings"
	"testing"

	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/naming"
)

// Each trap into which configurations of several Harbors fall has a test; those that
// lint says are in TestTraps, those that a Harbor must show are named at the end.

// wantedOf is what the article's fleet file wants, with replacements.
func wantedOf(t *testing.T, replace ...string) *wanted {
	t.Helper()
	text, err := os.ReadFile(article)
	if err != nil {
		t.Fatal(err)
	}
	f, err := fleet.Load("fleet.yaml", []byte(strings.NewReplacer(replace...).Replace(string(text))))
	if err != nil {
		t.Fatal(err)
	}
	w := &wanting{fleet: f, secret: func(ref fleet.Ref, project string) string { return "Secret1" + ref.Key + project }, prefixes: map[string]string{"dc1": "robot$", "dc2": "bot_", "drp": "robot$"}}
	return w.wants()
}

// Keyed by datacenter alone, the second project's registry would overwrite the first's.
func TestTrapRegistriesOfTwoProjectsAreTwo(t *testing.T) {
	d := wantedOf(t)
	for _, name := range []string{"multi-dc-repo1-dc2", "multi-dc-repo2-dc2"} {
		r, ok := d.objects[Key{"dc1", kindRegistry, name}].(*registry)
		if !ok || r.user != "bot_"+strings.TrimSuffix(name, "-dc2")+"+sync" {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// A filter of ** would push every project's images into this one.
func TestTrapFiltersAreOfOneProject(t *testing.T) {
	for k, o := range wantedOf(t).objects {
		p, ok := o.(*policy)
		if !ok || !strings.HasPrefix(p.namespace, naming.MultiDC) {
			continue
		}
		if p.filters[0] != (filter{kind: "name", value: p.namespace + "/**"}) {
			t.Errorf("%s: %v", k, p.filters)
		}
	}
}

// -1 would make x/app and y/app one.
func TestTrapPathsAreKept(t *testing.T) {
	for k, o := range wantedOf(t, "flatten: all", "flatten: 1").objects {
		p, ok := o.(*policy)
		if ok && p.flatten != 1 {
			t.Errorf("%s drops %d elements", k, p.flatten)
		}
	}
	text := strings.NewReplacer("library/traefik", "x/app", "fluent/fluent-bit", "y/app")
	file, err := os.ReadFile(article)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fleet.Load("fleet.yaml", []byte(text.Replace(string(file)))); err == nil || !strings.Contains(err.Error(), "would both become app") {
		t.Errorf("two images that become one are taken: %v", err)
	}
}

// A registry waits for the robot at the peer, or one pass fails.
func TestTrapPeersRobotsComeFirst(t *testing.T) {
	d := wantedOf(t)
	needs := d.needs[Key{"dc1", kindRegistry, "multi-dc-repo1-dc2"}]
	if len(needs) != 1 || needs[0] != (Key{"dc2", kindRobot, "multi-dc-repo1+sync"}) {
		t.Errorf("%v", needs)
	}
}

// A weak secret orphans a robot: it is refused before anything is written.
func TestTrapWeakSecrets(t *testing.T) {
	for secret, strong := range map[string]bool{"Abcdefg1": true, "Abcdef1": false, "abcdefg1": false, "ABCDEFG1": false, "Abcdefgh": false, strings.Repeat("Aa1", 43): false, strings.Repeat("Aa1", 42) + "x1": true} {
		if strongSecret(secret) != strong {
			t.Errorf("%q: %v", secret, !strong)
		}
	}
}

// A rule into a project that nobody declared would make Harbor create it without
// quota or retention.
func TestTrapRulesNeedTheirProject(t *testing.T) {
	d := wantedOf(t)
	for k, o := range d.objects {
		p, ok := o.(*policy)
		if !ok {
			continue
		}
		if _, there := d.objects[Key{k.Datacenter, kindProject, p.namespace}]; !there {
			t.Errorf("%s leads into %s, which is not wanted", k, p.namespace)
		}
		if d.objects[Key{k.Datacenter, kindRetention, p.namespace}] == nil {
			t.Errorf("%s has no retention", p.namespace)
		}
	}
}

// The others: the robots' prefix (TestRobotPrefixOfAHarbor), keys of Artifactory that
// are no projects, collisions and short answers (TestArtifactoryThatIsNotWell,
// TestPrune), a cache of another provider (TestReplacementIsRefused).
