package provision

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/lab"
)

// article is the example fleet file that the tests apply.
const article = "../deploy/fleet.article.yaml"

// testFleet is the article's fleet: three Harbors that hold nothing, its Vault, its
// Artifactory, and an internet.
type testFleet struct {
	harbors  map[string]*lab.Harbor
	internet map[string]string  // where registries are, by their addresses
	text     string             // of the fleet file
	vault    sync.Map           // secrets that are others now
	told     chan *http.Request // what Harbors tell their edges; once it is full no more is kept

	artifactory string // its address
}

// testSecrets are what the Vault holds at secret/harbor; others are in secret/artifactory.
var testSecrets = map[string]string{
	"admin-user": "admin", "admin-password": "Harbor12345", "oidc-client-id": "harbor", "oidc-client-secret": "s3cretOidc", "robot-password/edge": "EdgeSecret1", "robot-password/sync": "Group1Secret",
	"robot-password/readonly/repo1": "ReadOnly1repo1", "robot-password/readwrite/repo1": "ReadWrite1repo1", "robot-password/replication/repo1": "Replication1repo1",
	"robot-password/readonly/repo2": "ReadOnly1repo2", "robot-password/readwrite/repo2": "ReadWrite1repo2", "robot-password/replication/repo2": "Replication1repo2",
}

const (
	artifactoryPassword = "s3cret"
	testPeerKey         = "PeerKey1PeerKey2PeerKey3PeerKey4" // at secret/breakwater
)

// serveVault answers as a Vault with key/value secrets of version 2 at secret/.
func (f *testFleet) serveVault(w http.ResponseWriter, r *http.Request) {
	now := maps.Clone(testSecrets)
	f.vault.Range(func(k, v any) bool { now[k.(string)] = v.(string); return true })
	answer := map[string]any{
		"/v1/auth/approle/login":      map[string]any{"auth": map[string]any{"client_token": "a-token"}},
		"/v1/secret/data/harbor":      map[string]any{"data": map[string]any{"data": now}},
		"/v1/secret/data/breakwater":  map[string]any{"data": map[string]any{"data": map[string]string{"peer-key": testPeerKey}}},
		"/v1/secret/data/artifactory": map[string]any{"data": map[string]any{"data": map[string]string{"harbor_ro_password": artifactoryPassword}}},
	}[r.URL.Path]
	if strings.HasPrefix(r.URL.Path, "/v1/sys/internal/ui/mounts/secret/") {
		answer = map[string]any{"data": map[string]any{"path": "secret/", "type": "kv", "options": map[string]string{"version": "2"}}}
	}
	if answer == nil {
		http.Error(w, `{"errors":[]}`, http.StatusNotFound)
		return
	}
	json.NewEncoder(w).Encode(answer) //nolint:errcheck // the client is gone
}

// testKey is with which all Harbors of these tests sign: to make one each would be most of their work.
var testKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func newTestFleet(t *testing.T) *testFleet {
	t.Helper()
	upstream, err := lab.StartUpstream(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { upstream.Close() }) //nolint:errcheck // the test is over
	f := &testFleet{told: make(chan *http.Request, 100), harbors: map[string]*lab.Harbor{}, internet: map[string]string{"https://hub.docker.com": upstream.URL(), "https://quay.io": upstream.URL(), "https://gcr.io": upstream.URL(), "https://ghcr.io": upstream.URL()}}
	// Artifactory's own registry checks logins; any Harbor with such a robot does for it.
	const reader = "robot$harbor-ro"
	checking, err := lab.StartHarbor(lab.HarborConfig{Key: testKey()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { checking.Close() }) //nolint:errcheck // the test is over
	checking.CreateRobot("*", "harbor-ro", artifactoryPassword, "pull")
	f.internet["https://team-a.artifactory.example.org"] = checking.URL()
	vault, artifactory := httptest.NewServer(http.HandlerFunc(f.serveVault)), httptest.NewServer(repositories(reader, "team-a", "tmp-x"))
	t.Cleanup(vault.Close)
	t.Cleanup(artifactory.Close)
	f.artifactory = artifactory.URL
	text, err := os.ReadFile(article)
	if err != nil {
		t.Fatal(err)
	}
	here := []string{"https://vault.example.org", vault.URL, "https://artifactory.example.org", artifactory.URL, "username: harbor-ro", "username: " + reader}
	for _, name := range []string{"role-id", "secret-id"} {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, []byte("something\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		here = append(here, "/etc/breakwater/"+name, file)
	}
	for _, name := range []string{"dc1", "dc2", "drp"} {
		h, err := lab.StartHarbor(lab.HarborConfig{Key: testKey(), Registries: f.internet, ReplicationDelay: 50 * time.Millisecond, StatusLag: 50 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { h.Close() }) //nolint:errcheck // the test is over
		f.harbors[name] = h
		edge := httptest.NewServer(http.HandlerFunc(f.takeWebhook))
		t.Cleanup(edge.Close)
		here = append(here, "https://harbor."+name+".example.org", h.URL(), "https://edge."+name+".example.org", edge.URL)
	}
	f.text = strings.NewReplacer(here...).Replace(string(text))
	return f
}

// takeWebhook is all that there is of the edges.
func (f *testFleet) takeWebhook(_ http.ResponseWriter, r *http.Request) {
	select {
	case f.told <- r:
	default:
	}
}

// harborsOwnTags has replication bring tags too, as before there were edges for it.
func (f *testFleet) harborsOwnTags() {
	f.text = strings.Replace(f.text, ownedByEdges, ownedByHarbors, 1)
}

const (
	ownedByEdges   = "push: event }" // in a fleet whose datacenters all have edges
	ownedByHarbors = "push: event, tags: harbor }"
)

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

// refusal is why the fleet file is refused before any Harbor is read.
func (f *testFleet) refusal(t *testing.T, replace ...string) string {
	t.Helper()
	loaded, err := fleet.Load("fleet.yaml", []byte(strings.NewReplacer(replace...).Replace(f.text)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err = Open(t.Context(), Options{Fleet: loaded}); err == nil {
		t.Fatal("it is taken")
	}
	return err.Error()
}
