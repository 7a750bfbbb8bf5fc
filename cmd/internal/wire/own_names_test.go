package wire

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/lab"
	"example.org/breakwater/internal/trial"
)

// A project that is declared under its own name is what one with a prefix is: pushed here it is
// there at once, pulled and pushed while a Harbor is down, deleted everywhere, and nobody's
// without a login.
func TestAProjectUnderItsOwnNameIsSharedByDatacenters(t *testing.T) {
	w := newOwnNames(t)
	for datacenter := range w.harbors {
		w.declare(datacenter, declares)
	}
	w.start("par1", "mad1")
	first := w.push(w.edges["par1"], "platform/app:v1", 1)
	if a := w.tag("mad1", "v1"); a.status != http.StatusOK || a.digest != first.String() {
		t.Fatalf("pushed in par1, pulled in mad1: %d %s", a.status, a.body)
	}
	if err := pullAll(w.edges["mad1"]+"/platform/app:v1", &authn.Basic{Username: ci, Password: ciSecret}); err != nil {
		t.Error(err)
	}
	const path = "/v2/platform/app/manifests/v1"
	for datacenter, edge := range w.edges {
		if a := w.ask(http.MethodGet, edge, path, ""); a.status != http.StatusUnauthorized {
			t.Errorf("%s: nobody gets %d", datacenter, a.status)
		}
		if a := w.ask(http.MethodGet, edge, path, w.anonymous(edge, "platform/app")); a.status != http.StatusUnauthorized {
			t.Errorf("%s: with an anonymous token, %d", datacenter, a.status)
		}
	}
	if err := w.harbors["par1"].SetFaults(lab.Fault{Name: "down"}); err != nil {
		t.Fatal(err)
	}
	var second string
	trial.Until(t, func() error { // it is known to be down
		second = w.push(w.edges["par1"], "platform/app:v2", 2).String()
		if a := w.tag("par1", "v2"); a.status != http.StatusOK || a.digest != second {
			return fmt.Errorf("pushed while its Harbor is down: %d %s", a.status, a.body)
		}
		return nil
	})
	if a := w.ask(http.MethodGet, w.harbors["mad1"].URL(), "/v2/platform/app/manifests/v2", ci); a.digest != second {
		t.Errorf("mad1's Harbor has not what was pushed in par1: %d", a.status)
	}
	if err := w.harbors["par1"].SetFaults(); err != nil {
		t.Fatal(err)
	}
	if a := w.ask(http.MethodDelete, w.edges["mad1"], "/v2/platform/app/manifests/"+first.String(), ci); a.status != http.StatusAccepted {
		t.Fatalf("deleted in mad1: %d %s", a.status, a.body)
	}
	trial.Until(t, func() error {
		if a := w.tag("par1", "v1"); a.status != http.StatusNotFound {
			return fmt.Errorf("deleted in mad1, in par1 it is %d", a.status)
		}
		return nil
	})
}

// Caches and public images under their own names come past a Harbor that cannot fetch them, take no
// pushes, and are mirrors of their registries.
func TestCachesUnderTheirOwnNames(t *testing.T) {
	w := newOwnNames(t)
	w.declare("par1", fmt.Sprintf(`  cache:
    hub: { project: dockerhub, endpoint: %q, public: true }
  repl:
    core:
      project: kubernetes
      images: [{ from: hub, name: open/app, flatten: all }]
`, w.hub.URL()))
	w.start("par1")
	(&changing{t: t}).fillHub(w.hub)
	edge, host := w.edges["par1"], strings.TrimPrefix(w.hub.URL(), "http://")
	for _, image := range []string{"dockerhub/open/app:v1", "kubernetes/app:v1"} {
		if err := pullAll(edge+"/"+image, authn.Anonymous); err != nil {
			t.Errorf("%s: %v", image, err)
		}
	}
	token := w.anonymous(edge, "dockerhub/open/app")
	for _, path := range []string{"/v2/open/app/manifests/v1?ns=" + host, "/dockerhub/v2/open/app/manifests/v1", "/v2/dockerhub/open/app/manifests/v1?ns=" + host} {
		if a := w.ask(http.MethodGet, edge, path, token); a.status != http.StatusOK {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	ref, err := name.ParseReference(edge+"/dockerhub/open/mine:v1", name.Insecure)
	if err == nil {
		err = remote.Write(ref, imageOf(t, 1, 100), remote.WithAuth(adminOf(w.harbors["par1"])))
	}
	if err == nil || !strings.Contains(err.Error(), "proxy cache and takes no pushes") {
		t.Errorf("a push into a cache: %v", err)
	}
}

func (c *changing) fillHub(h *lab.Harbor) {
	c.t.Helper()
	ref, err := name.ParseReference(strings.TrimPrefix(h.URL(), "http://")+"/open/app:v1", name.Insecure)
	if err := errors.Join(err, remote.Write(ref, imageOf(c.t, 7, 10<<10), remote.WithAuth(adminOf(h)))); err != nil {
		c.t.Fatal(err)
	}
}

// Accounts that replicate a project are told from its users by the project's name.
func TestReplicationsOfOwnNamesAreKnown(t *testing.T) {
	f, err := fleet.Load("fleet.yaml", []byte(`domain: harbor.example.org
datacenters: { par1: { harbor: "https://harbor.par1.example.net" }, mad1: { harbor: "https://harbor.mad1.example.net" } }
projects: { multi-dc: { team: { project: platform, replication: { tags: harbor } } }, cache: { hub: { project: dockerhub, provider: docker-hub } } }
`))
	if err != nil {
		t.Fatal(err)
	}
	for account, want := range map[string]bool{
		"robot$platform+sync": true, "robot$multi-dc-x+sync": true, "robot$platform+ci": false, "robot$team+sync": false, "robot$dockerhub+sync": false, "robot$other+sync": false, "platform+sync": false,
	} {
		if got := machine(f)(account); got != want {
			t.Errorf("%s is a machine: %v", account, got)
		}
	}
	for _, project := range []string{"team", "multi-dc-team", "platform", "dockerhub"} {
		if ownsTags(f, "par1")(project) {
			t.Errorf("edges own the tags of %s", project)
		}
	}
}
