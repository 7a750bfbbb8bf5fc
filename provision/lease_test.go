package provision

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/internal/trial"
)

// noLease wants no Harbor to be held any more.
func (f *testFleet) noLease(t *testing.T) {
	t.Helper()
	for name, h := range f.harbors {
		if all := strings.TrimSpace(string(call(t, h, "GET", "/labels?scope=g", nil))); all != "[]" {
			t.Errorf("%s is held by nobody who runs: %s", name, all)
		}
	}
}

// Of two applies that begin at once one does everything, and the other nothing but say
// who is at work.
func TestTwoAppliesAtOnceExcludeEachOther(t *testing.T) {
	f := newTestFleet(t)
	var all sync.WaitGroup
	var mu sync.Mutex
	outcomes := map[string]int{}
	for range 3 {
		p := f.open(t, Options{})
		plan := f.plan(t, p)
		all.Go(func() {
			n := map[string]int{}
			for _, r := range p.Apply(t.Context(), plan, nil) {
				n[r.Outcome]++
				if r.Outcome != Done && !strings.Contains(r.Why, "is at work there") {
					t.Errorf("%s %s: %s", r.Outcome, r.Key, r.Why)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			outcomes[fmt.Sprint(n)]++
		})
	}
	all.Wait()
	n := len(f.plan(t, f.open(t, Options{})).want.objects)
	if outcomes[fmt.Sprintf("map[done:%d]", n)] < 1 {
		t.Errorf("nobody did all of it: %v", outcomes)
	}
	f.settled(t)
	f.noLease(t)
}

// A rotation does not begin beside an apply, nor an apply beside a rotation, whichever
// Harbors they have in common.
func TestARotationBesideAnApply(t *testing.T) {
	f := newTestFleet(t)
	f.apply(t, Options{})
	applies := f.open(t, Options{Datacenters: []string{"dc2"}})
	if err := applies.Hold(t.Context(), "apply"); err != nil {
		t.Fatal(err)
	}
	rotates := f.open(t, Options{})
	if err := rotates.Rotate(t.Context(), RotateOptions{Robot: "sync"}); err == nil || !strings.Contains(err.Error(), "dc2: apply by ") {
		t.Error(err)
	}
	if err := f.open(t, Options{Datacenters: []string{"dc1", "drp"}}).Hold(t.Context(), "apply"); err != nil {
		t.Errorf("what did not begin holds something: %v", err)
	}
	applies.Close()
	if err := f.open(t, Options{Datacenters: []string{"dc2"}}).Hold(t.Context(), "apply"); err != nil {
		t.Errorf("it is held after its end: %v", err)
	}
}

// What a run left that was killed keeps others out until its time is over, and no longer.
func TestALeaseEnds(t *testing.T) {
	f := newTestFleet(t)
	h := f.harbors["dc1"]
	until := func(at time.Time) map[string]any {
		return map[string]any{"name": leaseName, "scope": "g", "color": "#FFFFFF", "description": fmt.Sprintf("rotate sync by host-1, process 7, until %s or longer [x]", at.UTC().Format(time.RFC3339))}
	}
	call(t, h, "POST", "/labels", until(time.Now().Add(time.Minute)))
	p := f.open(t, Options{})
	for _, r := range p.Apply(t.Context(), f.plan(t, p), nil) {
		if r.Outcome != Failed || !strings.Contains(r.Why, "dc1: rotate sync by host-1, process 7 is at work there") {
			t.Errorf("%s: %s %s", r.Key, r.Outcome, r.Why)
		}
	}
	// Who holds it, since when, until when, and how to take over is said, and does.
	label := found(t, h, "/labels?scope=g", leaseName)
	err := f.open(t, Options{}).Hold(t.Context(), "apply")
	made, e := time.Parse(time.RFC3339, label["creation_time"].(string))
	if e != nil || err == nil || !strings.Contains(err.Error(), "process 7 is at work there since "+made.UTC().Format(time.RFC3339)+", until ") || !strings.Contains(err.Error(), "delete the label breakwater-lease in the portal") {
		t.Errorf("%v %v", err, e)
	}
	call(t, h, "PUT", "/labels/"+id(label), until(time.Now().Add(-time.Second)))
	f.apply(t, Options{})
	f.noLease(t)
	call(t, h, "POST", "/labels", until(time.Now().Add(time.Minute)))
	call(t, h, "DELETE", "/labels/"+id(found(t, h, "/labels?scope=g", leaseName)), nil)
	if err := f.open(t, Options{}).Hold(t.Context(), "apply"); err != nil {
		t.Error(err)
	}
}

// While a run goes on its lease does; where another run has taken it over it stops.
func TestALeaseIsRenewedAndLost(t *testing.T) {
	f := newTestFleet(t)
	h := f.harbors["dc1"]
	p := f.open(t, Options{})
	p.leases.term = 300 * time.Millisecond
	plan := f.plan(t, p)
	if err := p.Hold(t.Context(), "apply"); err != nil {
		t.Fatal(err)
	}
	first := found(t, h, "/labels?scope=g", leaseName)
	trial.Until(t, func() error {
		if now := found(t, h, "/labels?scope=g", leaseName); now["update_time"] == first["update_time"] {
			return fmt.Errorf("it is as it was: %v", now)
		}
		return nil
	})
	call(t, h, "DELETE", "/labels/"+id(first), nil)
	<-p.leases.over.Done()
	for _, r := range p.Apply(t.Context(), plan, nil) {
		if r.Outcome != Stopped && r.Outcome != Deferred {
			t.Errorf("%s: %s", r.Key, r.Outcome)
		}
	}
	p.Close()
	f.noLease(t)
}

// The answer to the label may be lost, or an account may make none: neither keeps a run
// from its work.
func TestALeaseThatIsHardToTake(t *testing.T) {
	for name, fault := range map[string]lab.Fault{"the answer is lost": {Name: "500", Late: true, Times: 1}, "forbidden": {Name: "403"}, "given back twice": {Name: "500", Times: 1}} {
		t.Run(name, func(t *testing.T) {
			f := newTestFleet(t)
			fault.Path = map[bool]string{true: "DELETE", false: "POST"}[name == "given back twice"] + " /api/v2.0/labels"
			if err := f.harbors["dc1"].SetFaults(fault); err != nil {
				t.Fatal(err)
			}
			p := f.open(t, Options{})
			if err := p.Hold(t.Context(), "apply"); err != nil {
				t.Fatal(err)
			}
			plan := f.plan(t, p)
			for _, r := range p.Apply(t.Context(), plan, nil) {
				if r.Outcome != Done {
					t.Errorf("%s: %s: %s", r.Key, r.Outcome, r.Why)
				}
			}
			p.Close()
			f.noLease(t)
			if noted := strings.Contains(strings.Join(plan.Notes, "\n"), "dc1: this account may make no label there"); noted != (name == "forbidden") {
				t.Errorf("%v", plan.Notes)
			}
		})
	}
}

// A limiter that stops the label says nothing of the account: the run does not go on unheld.
func TestALimiterBeforeALease(t *testing.T) {
	f := newTestFleet(t)
	if err := f.harbors["dc1"].SetFaults(lab.Fault{Name: "429", Path: "POST /api/v2.0/labels"}); err != nil {
		t.Fatal(err)
	}
	p := f.open(t, Options{Datacenters: []string{"dc1"}})
	for _, r := range p.Apply(t.Context(), f.plan(t, p), nil) {
		if r.Outcome == Done {
			t.Errorf("%s: %s", r.Key, r.Outcome)
		}
	}
	p.Close()
	f.noLease(t)
}
