package provision

import (
	"strings"
	"testing"
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
