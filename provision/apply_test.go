package provision

import "testing"

// Three empty Harbors converge in one run, and a second one has nothing to do.
func TestConvergesInOneRun(t *testing.T) {
	f := newTestFleet(t)
	p := f.open(t, Options{})
	plan := f.plan(t, p)
	for _, r := range p.Apply(t.Context(), plan, nil) {
		if r.Outcome != Done {
			t.Errorf("%s: %s %s: %s", r.Key, r.Action, r.Outcome, r.Why)
		}
	}
	for name, calls := range p.Calls() {
		if calls > 80 {
			t.Errorf("%s was called %d times", name, calls)
		}
		t.Logf("%s: %d calls", name, calls)
	}
	again := f.settled(t)
	t.Logf("%d objects; to see that nothing is to be done takes %d calls and %d proofs of all three", again.Objects, again.Calls, again.Proofs)
	if again.Calls > 3*50 { // members and rules of each project too, which others may have put there
		t.Errorf("%d calls for a plan without a change", again.Calls)
	}
}
