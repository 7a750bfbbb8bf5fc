package provision

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.org/breakwater/internal/lab"
)

// impatient waits for answers as long as a test does.
func impatient(p *Provisioner, d time.Duration) {
	for _, h := range p.harbors {
		h.timeout, h.patience = d, d
	}
}

// A Harbor that takes calls and never answers is waited for once, in a plan and in
// all that an apply has to do there.
func TestASilentHarborIsWaitedForOnce(t *testing.T) {
	f := newTestFleet(t)
	var calls atomic.Int64
	release := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls.Add(1); <-release }))
	t.Cleanup(func() { close(release); srv.Close() })
	p := f.open(t, Options{}, f.harbors["drp"].URL(), srv.URL)
	impatient(p, time.Second)
	if err := p.Hold(t.Context(), "apply"); err != nil {
		t.Fatal(err)
	}
	plan := f.plan(t, p)
	if len(plan.Faults) != 1 || !plan.Faults[0].Away || !strings.Contains(plan.Faults[0].Message, "left alone for the rest of this run") {
		t.Errorf("%v", plan.Faults)
	}
	results := p.Apply(t.Context(), plan, nil)
	if AnyFailed(results) || !Partial(plan, results) {
		t.Errorf("%v", results)
	}
	if n := calls.Load(); n != 1 {
		t.Errorf("it was asked %d times", n)
	}
}

// Where it falls silent in the middle of an apply, what is half done is named, the rest
// of it waits, and the others are done. The next run completes.
func TestAHarborThatFallsSilent(t *testing.T) {
	for what, fault := range map[string]lab.Fault{
		"a robot":   {Name: "hang", Path: "PATCH /api/v2.0/robots/"},
		"a project": {Name: "hang", Path: "POST /api/v2.0/projects$", After: 2, Late: true},
		"a policy":  {Name: "hang", Path: "POST /api/v2.0/replication/policies"},
	} {
		t.Run(what, func(t *testing.T) {
			f := newTestFleet(t)
			p := f.open(t, Options{})
			impatient(p, 2*time.Second)
			plan := f.plan(t, p)
			if err := f.harbors["dc1"].SetFaults(fault); err != nil {
				t.Fatal(err)
			}
			half, deferred := 0, 0
			for _, r := range p.Apply(t.Context(), plan, nil) {
				switch {
				case r.Outcome == HalfDone && r.Datacenter == "dc1" && strings.Contains(r.Why, "not known whether it was done") || strings.Contains(r.Why, "has no secret"):
					half++
				case r.Outcome == Deferred && r.Away:
					deferred++
				case r.Outcome != Done:
					t.Errorf("%s: %s: %s", r.Key, r.Outcome, r.Why)
				}
			}
			if half == 0 || half > 2*atOnce || deferred == 0 {
				t.Errorf("%d are half done, %d wait", half, deferred)
			}
			f.harbors["dc1"].SetFaults() //nolint:errcheck // none is none
			f.apply(t, Options{})
			f.settled(t)
			f.noLease(t)
		})
	}
}

// After Ctrl-C what has begun is waited for a little, and said to be half done.
func TestCtrlCEndsWhatHangs(t *testing.T) {
	f := newTestFleet(t)
	p := f.open(t, Options{})
	p.grace = time.Second
	plan := f.plan(t, p)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	if err := f.harbors["dc1"].SetFaults(lab.Fault{Name: "hang", Path: "POST /api/v2.0/projects$"}); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(time.Second, stop)
	began := time.Now()
	half, stopped := 0, 0
	for _, r := range p.Apply(ctx, plan, nil) {
		switch {
		case r.Outcome == HalfDone && r.Datacenter == "dc1" && r.Kind == kindProject:
			half++
		case r.Outcome == Stopped:
			stopped++
		case r.Outcome == Failed:
			t.Errorf("%s: %s", r.Key, r.Why)
		}
	}
	if took := time.Since(began); took > callTimeout/2 || half == 0 || half > atOnce || stopped == 0 {
		t.Errorf("after %v: %d are half done, %d not begun", took, half, stopped)
	}
	f.harbors["dc1"].SetFaults() //nolint:errcheck // none is none
	f.noLease(t)
	f.apply(t, Options{})
	f.settled(t)
}

// No change begins while others of its Harbor wait for an answer, so that Ctrl-C ends few.
func TestFewChangesBeginAtOnce(t *testing.T) {
	f := newTestFleet(t)
	f.apply(t, Options{})
	p := f.open(t, Options{Rewrite: true})
	plan := f.plan(t, p)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	n := 0
	for _, r := range p.Apply(ctx, plan, func(Result) { stop() }) {
		if r.Outcome == Done {
			n++
		}
	}
	if n == 0 || n > 3*atOnce {
		t.Errorf("%d changes were done after the run was ended", n)
	}
}

// That a peer gives a Harbor no answer says nothing of the Harbor, and is waited for once.
func TestASilentPeer(t *testing.T) {
	f := newTestFleet(t)
	f.apply(t, Options{})
	for _, name := range []string{"dc1", "drp"} {
		if err := f.harbors[name].SetFaults(lab.Fault{Name: "hang", Path: "POST /api/v2.0/registries/ping"}); err != nil {
			t.Fatal(err)
		}
	}
	p := f.open(t, Options{Rewrite: true})
	impatient(p, 2*time.Second)
	plan := f.plan(t, p)
	if len(plan.Faults) != 0 {
		t.Errorf("%v", plan.Faults)
	}
	for _, r := range p.Apply(t.Context(), plan, nil) {
		if r.Outcome != Done && (r.Outcome != Deferred || !r.Away || r.Kind != kindRegistry) {
			t.Errorf("%s: %s: %s", r.Key, r.Outcome, r.Why)
		}
	}
}
