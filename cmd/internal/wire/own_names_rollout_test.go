package wire

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/internal/trial"
)

// open has a Harbor show platform to everybody, or close it.
func (w *ownNames) open(datacenter string, public bool) {
	w.t.Helper()
	h := w.harbors[datacenter]
	body := fmt.Sprintf(`{"metadata":{"public":"%t"}}`, public)
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPut, h.URL()+"/api/v2.0/projects/platform", strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.SetBasicAuth(h.Admin())
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		w.t.Fatal(resp.Status)
	}
}

// While one datacenter's edge has the fleet file of before, where a project of that name is
// everybody's, nothing of the other's private one gets out there, by no token of either. Each says
// what is wrong, and once both have the file they agree.
func TestAnEdgeWithTheFileOfBeforeOpensNothing(t *testing.T) {
	w := newOwnNames(t)
	w.open("mad1", true)
	theirs := w.push(w.harbors["mad1"].URL(), "platform/app:v1", 50)
	w.declare("par1", declares)
	w.declare("mad1", "")
	w.start("par1", "mad1")
	ours := w.push(w.edges["par1"], "platform/app:v1", 1)
	secret := w.push(w.edges["par1"], "platform/app:only-here", 2)

	tokens := map[string]string{"nobody": "", "a token of mad1's Harbor for everybody": w.anonymous(w.harbors["mad1"].URL(), "platform/app"),
		"of mad1's edge": w.anonymous(w.edges["mad1"], "platform/app"), "of par1's edge": w.anonymous(w.edges["par1"], "platform/app")}
	for who, token := range tokens {
		for _, reference := range []string{"v1", "only-here", secret.String()} {
			path := "/v2/platform/app/manifests/" + reference
			if a := w.ask(http.MethodGet, w.edges["par1"], path, token); a.status != http.StatusUnauthorized {
				t.Errorf("%s gets %s in par1: %d", who, reference, a.status)
			}
			if a := w.ask(http.MethodGet, w.edges["mad1"], path, token); a.digest == ours.String() || a.digest == secret.String() {
				t.Errorf("%s gets par1's %s in mad1", who, reference)
			}
		}
	}
	if a := w.tag("mad1", "v1"); a.digest != theirs.String() {
		t.Errorf("in mad1 it is a plain project still: %d %s", a.status, a.digest)
	}
	if a := w.tag("par1", "v1"); a.digest != ours.String() {
		t.Errorf("in par1: %d %s", a.status, a.digest)
	}
	if a := w.tag("par1", "nowhere"); a.status != http.StatusServiceUnavailable {
		t.Errorf("mad1 cannot say: %d %s", a.status, a.body)
	}
	if want := "does not have the project platform, and that of the edge of par1 does"; !strings.Contains(w.logs["par1"].String(), want) || !strings.Contains(w.logs["mad1"].String(), want) {
		t.Errorf("nobody says why:\n%s\n%s", w.logs["par1"], w.logs["mad1"])
	}

	w.redeclare("mad1", declares) // and its Harbor shows it to everybody still
	for who, token := range tokens {
		for _, edge := range w.edges {
			if a := w.ask(http.MethodGet, edge, "/v2/platform/app/manifests/only-here", token); a.status != http.StatusUnauthorized {
				t.Errorf("%s gets it at %s, where it is declared: %d", who, edge, a.status)
			}
		}
	}
	if a := w.tag("mad1", "only-here"); a.status != http.StatusNotFound {
		t.Errorf("a Harbor's own project for everybody has par1's: %d", a.status)
	}
	w.open("mad1", false)
	trial.Until(t, func() error {
		for tag, want := range map[string]string{"v1": ours.String(), "only-here": secret.String()} {
			for datacenter := range w.edges {
				if a := w.tag(datacenter, tag); a.digest != want {
					return fmt.Errorf("%s in %s: %d %s, want %s", tag, datacenter, a.status, a.digest, want)
				}
			}
		}
		return nil
	})
	if a := w.tag("par1", "nowhere"); a.status != http.StatusNotFound {
		t.Errorf("both can say: %d %s", a.status, a.body)
	}
}

// What an edge knew of a project while it was declared counts for nothing when it has been plain
// meanwhile: it was pushed to and deleted from, unseen.
func TestAProjectThatIsDeclaredAgainIsKnownAnew(t *testing.T) {
	w := newOwnNames(t)
	w.declare("par1", declares)
	w.start("par1")
	edge, harbor := w.edges["par1"], w.harbors["par1"]
	old := w.push(edge, "platform/app:moved", 1)
	gone := w.push(edge, "platform/app:gone", 2)
	w.push(edge, "platform/app:back", 3)
	deleted := w.push(edge, "platform/app:deleted", 4)
	if a := w.ask(http.MethodDelete, edge, "/v2/platform/app/manifests/"+deleted.String(), ci); a.status != http.StatusAccepted {
		t.Fatal(a)
	}
	for _, tag := range []string{"moved", "gone", "back"} {
		if a := w.tag("par1", tag); a.status != http.StatusOK {
			t.Fatal(a)
		}
	}

	w.redeclare("par1", "") // plain: a push and a delete pass, and nothing is taken note of
	moved := w.push(edge, "platform/app:moved", 5)
	again := w.push(edge, "platform/app:deleted", 4)
	if a := w.ask(http.MethodDelete, edge, "/v2/platform/app/manifests/"+gone.String(), ci); a.status != http.StatusAccepted {
		t.Fatal(a)
	}
	if a := w.tag("par1", "moved"); a.digest != moved.String() {
		t.Errorf("plain: %+v", a)
	}

	w.redeclare("par1", declares)
	for tag, want := range map[string]string{"moved": moved.String(), "deleted": again.String()} {
		if a := w.tag("par1", tag); a.digest != want {
			t.Errorf("%s is %d %s, want %s", tag, a.status, a.digest, want)
		}
	}
	if a := w.tag("par1", "gone"); a.digest != "" {
		t.Errorf("what was deleted while it was plain is %d", a.status)
	}
	w.redeclare("par1", "")
	w.redeclare("par1", declares)
	if err := harbor.SetFaults(lab.Fault{Name: "down"}); err != nil {
		t.Fatal(err)
	}
	for _, tag := range []string{"moved", "gone", "back"} { // of another time: nobody can say now
		if a := w.tag("par1", tag); a.status == http.StatusOK {
			t.Errorf("%s is %s while its Harbor is down; it was %s once", tag, a.digest, old)
		}
	}
	if err := harbor.SetFaults(); err != nil {
		t.Fatal(err)
	}
	trial.Until(t, func() error {
		if a := w.tag("par1", "deleted"); a.digest != again.String() {
			return fmt.Errorf("the tag that was deleted once is %d", a.status)
		}
		return nil
	})
	if a := w.ask(http.MethodGet, harbor.URL(), "/v2/platform/app/manifests/deleted", ci); a.digest != again.String() {
		t.Errorf("the edge has taken it from Harbor by a delete of before: %d", a.status)
	}
}
