package provision

import (
	"fmt"
	"testing"
	"time"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/internal/trial"
)

// A replication that hangs for longer than its schedule's interval is said, since its oldest
// execution; what ends is not, nor what there may still be time for.
func TestAReplicationThatDoesNotEndIsSaid(t *testing.T) {
	const name = "multi-dc-repo1 from dc2"
	f := newTestFleet(t)
	f.apply(t, Options{})
	p, h := f.open(t, Options{}), f.harbors["dc1"]
	pushAndPull(t, f.harbors["dc2"], "multi-dc-repo1/app:v1")
	for _, harbor := range f.harbors {
		harbor.Idle()
	}
	at := func(later time.Duration) (all []Queued) {
		t.Helper()
		all, faults, err := p.queuedAt(t.Context(), time.Now().Add(later))
		if err != nil || len(faults) > 0 {
			t.Fatalf("%v %v", faults, err)
		}
		return all
	}
	trial.Until(t, func() error { // what has ended is InProgress for a while
		if all := at(24 * time.Hour); len(all) > 0 {
			return fmt.Errorf("nothing runs: %+v", all)
		}
		return nil
	})
	if err := f.harbors["dc2"].SetFaults(lab.Fault{Name: "hang", Path: "/v2/|artifacts"}); err != nil {
		t.Fatal(err)
	}
	began := time.Now().Truncate(time.Second)
	for range 2 {
		if err := h.Replicate(name); err != nil {
			t.Fatal(err)
		}
	}
	every := interval(found(t, h, "/replication/policies", name)["trigger"].(map[string]any)["trigger_settings"].(map[string]any)["cron"].(string))
	if all := at(every - time.Minute); every <= time.Minute || len(all) > 0 {
		t.Errorf("every %v: %+v", every, all)
	}
	all := at(every + time.Minute)
	if len(all) != 1 || all[0].Datacenter != "dc1" || all[0].Replication != name || all[0].Every != every || all[0].Since.Before(began) || all[0].Since.After(time.Now()) {
		t.Errorf("every %v, since %v: %+v", every, began, all)
	}
	f.harbors["dc2"].ClearFaults()
	trial.Until(t, func() error {
		if all := at(24 * time.Hour); len(all) > 0 {
			return fmt.Errorf("it has ended: %+v", all)
		}
		return nil
	})
	if err := h.SetFaults(lab.Fault{Name: "500", Path: "/replication/executions"}); err != nil {
		t.Fatal(err)
	}
	if all, faults, err := p.queuedAt(t.Context(), time.Now()); err != nil || len(all) > 0 || len(faults) != 1 || faults[0].Datacenter != "dc1" {
		t.Errorf("%v %v %v", all, faults, err)
	}
}
