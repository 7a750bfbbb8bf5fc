package provision

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"example.org/breakwater/internal/trial"
)

// However one write of a move goes wrong, whichever it is and in both directions: nothing
// is left without replication then, nobody is refused, and the next run completes the move.
func TestEveryWriteOfAMoveMayFail(t *testing.T) {
	if testing.Short() {
		t.Skip("dozens of runs")
	}
	modes := []string{"refused before", "cut after", "failed after", "ended"}
	for _, way := range []struct {
		name     string
		from, to []string
	}{{"to groups", nil, inGroups}, {"back", inGroups, nil}} {
		t.Run(way.name, func(t *testing.T) {
			f, j := newGroupable(t, []string{"dc1", "dc2"}, "app: {}", "web: {}")
			f.apply(t, Options{}, way.from...)
			j.expect(2 * 2 * 2)
			move(t, f, way.to...)
			writes, want := j.writes, f.replications(t, way.to...)
			for _, wrong := range j.verdict() {
				t.Error(wrong)
			}
			slots := make(chan struct{}, 2)
			var all sync.WaitGroup
			for at := 1; at <= writes; at++ {
				for n, mode := range modes {
					if at%len(modes) != n || !trial.Full() && at%5 != 0 { // each write once, in one of the ways; or some
						continue
					}
					slots <- struct{}{}
					all.Go(func() {
						defer func() { <-slots }()
						brokenMove(t, mode, at, way.from, way.to, want)
					})
				}
			}
			all.Wait()
			t.Logf("%d writes", writes)
		})
	}
}

// replications are the objects of replication that all Harbors hold.
func (f *testFleet) replications(t *testing.T, replace ...string) string {
	t.Helper()
	all := map[Key]string{}
	for k, text := range f.contents(t, replace...) {
		if k.Kind == kindPolicy || k.Kind == kindRegistry || k.Kind == kindRobot {
			all[k] = text
		}
	}
	return fmt.Sprint(all)
}

func brokenMove(t *testing.T, mode string, at int, from, to []string, want string) {
	f, j := newGroupable(t, []string{"dc1", "dc2"}, "app: {}", "web: {}")
	f.apply(t, Options{}, from...)
	j.expect(2 * 2 * 2)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	j.mu.Lock()
	j.at, j.mode, j.stop = at, mode, stop
	j.mu.Unlock()
	p := f.open(t, Options{}, to...)
	p.settling = time.Millisecond
	if plan, err := p.Plan(ctx); err == nil {
		p.Apply(ctx, plan, nil)
	}
	p.Close()
	for n := range 2 { // what was struck, and then nothing
		again := f.open(t, Options{}, to...)
		again.settling = time.Millisecond
		plan, err := again.Plan(t.Context())
		if err != nil || n == 1 && len(plan.Changes)+len(plan.Faults) > 0 {
			t.Errorf("write %d, %s %s: it does not settle: %v %+v", at, j.struck, mode, err, plan)
			return
		}
		for _, r := range again.Apply(t.Context(), plan, nil) {
			if r.Outcome != Done {
				t.Errorf("write %d, %s %s: the next run's %s %s: %s: %s", at, j.struck, mode, r.Action, r.Key, r.Outcome, r.Why)
			}
		}
		again.Close()
	}
	if got := f.replications(t, to...); got != want {
		t.Errorf("write %d, %s %s: there is %s, want %s", at, j.struck, mode, got, want)
	}
	for _, wrong := range j.verdict() {
		t.Errorf("write %d, %s %s: %s", at, j.struck, mode, wrong)
	}
}
