package provision

import (
	"strings"
	"testing"
	"time"
)

func failures(checks []Check) (all []string) {
	for _, c := range checks {
		if !c.OK {
			all = append(all, c.Datacenter+": "+c.What+": "+c.Detail)
		}
	}
	return all
}

// Logins that do not work are named, and nothing else.
func TestVerifySaysWhatDoesNotWork(t *testing.T) {
	f := newTestFleet(t)
	f.apply(t, Options{})
	p := f.open(t, Options{})
	checks, err := p.Verify(t.Context(), VerifyOptions{NoCanary: true})
	if err != nil || len(failures(checks)) != 0 || len(checks) < 60 {
		t.Errorf("%v %d %v", err, len(checks), failures(checks))
	}
	h := f.harbors["dc2"]
	call(t, h, "PATCH", "/robots/"+id(found(t, h, robotsOf(t, h, "multi-dc-repo1"), "robot$multi-dc-repo1+sync")), map[string]any{"secret": "Changed1byhand"})
	if checks, err = f.open(t, Options{}).Verify(t.Context(), VerifyOptions{NoCanary: true}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"dc2: robot multi-dc-repo1+sync logs in: its secret is not the fleet file's", "dc1: registry multi-dc-repo1-dc2 logs in: ", "drp: registry multi-dc-repo1-dc2 logs in: "} {
		if !strings.Contains(strings.Join(failures(checks), "\n"), want) {
			t.Errorf("want %q in %v", want, failures(checks))
		}
	}
	if n := len(failures(checks)); n != 3 {
		t.Errorf("%d failures: %v", n, failures(checks))
	}
}

// What is in projects that are not tried is nobody's to delete, whatever it is called.
func TestVerifyOfOneProjectLeavesTheOthersAlone(t *testing.T) {
	f := newTestFleet(t)
	f.apply(t, Options{})
	h := f.harbors["dc1"]
	pushAndPull(t, h, "multi-dc-repo2/"+canaryRepo+":v1")
	checks, err := f.open(t, Options{}).Verify(t.Context(), VerifyOptions{Projects: []string{"repo1"}, Patience: time.Minute})
	if err != nil || len(failures(checks)) != 0 {
		t.Errorf("%v %v", err, failures(checks))
	}
	found(t, h, "/projects/multi-dc-repo2/repositories", "multi-dc-repo2/"+canaryRepo)
	if _, err := f.open(t, Options{}).Verify(t.Context(), VerifyOptions{Projects: []string{"repo9"}}); err == nil || !strings.Contains(err.Error(), `"repo9"`) {
		t.Error(err)
	}
}

// An artifact crosses every replication, by push and by pull, and nothing is left of it.
func TestVerifySeesReplication(t *testing.T) {
	f := newTestFleet(t)
	f.apply(t, Options{})
	checks, err := f.open(t, Options{}).Verify(t.Context(), VerifyOptions{Projects: []string{"repo1"}, Patience: time.Minute})
	if err != nil || len(failures(checks)) != 0 {
		t.Errorf("%v %v", err, failures(checks))
	}
	crossed := 0
	for _, c := range checks {
		if strings.Contains(c.What, "multi-dc-repo1 comes to ") && c.Seconds > 0 {
			crossed++
		}
	}
	if crossed != 6 {
		t.Errorf("%d replications were tried", crossed)
	}
	for name, h := range f.harbors {
		if all := call(t, h, "GET", "/projects/multi-dc-repo1/repositories", nil); strings.TrimSpace(string(all)) != "[]" {
			t.Errorf("%s: %s is left", name, all)
		}
	}
	// Where somebody has broken one, it is named, and only it.
	h := f.harbors["dc1"]
	to := found(t, h, policies, "multi-dc-repo1 to dc2")
	call(t, h, "PUT", policies+"/"+id(to), with(to, "enabled", false))
	// How long the others take is this machine's business: patience grows until they are through.
	for patience := 3 * time.Second; ; patience *= 3 {
		if checks, err = f.open(t, Options{}).Verify(t.Context(), VerifyOptions{Projects: []string{"repo1"}, Patience: patience}); err != nil {
			t.Fatal(err)
		}
		if len(failures(checks)) <= 1 || patience > time.Minute {
			break
		}
	}
	if all := failures(checks); len(all) != 1 || !strings.Contains(all[0], "dc1: multi-dc-repo1 comes to dc2: the push on events does not run") {
		t.Errorf("%v", all)
	}
}
