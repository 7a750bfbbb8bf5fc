package provision

import (
	"context"
	"errors"
	"fmt"
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

// endsAtWrites holds all writes until so many of them wait, and then ends the run.
type endsAtWrites struct {
	http.RoundTripper
	left  *atomic.Int64
	ended context.Context
	end   context.CancelFunc
}

func (e endsAtWrites) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method != http.MethodGet && !strings.Contains(req.URL.Path, "/labels") { // the lease is one
		if e.left.Add(-1) == 0 {
			e.end()
		}
		select {
		case <-e.ended.Done():
		case <-req.Context().Done():
		}
	}
	return e.RoundTripper.RoundTrip(req)
}

// No change begins while others of its Harbor wait for an answer, so that Ctrl-C ends few.
func TestFewChangesBeginAtOnce(t *testing.T) {
	f := newTestFleet(t)
	f.apply(t, Options{})
	p := f.open(t, Options{Rewrite: true})
	plan := f.plan(t, p)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var left atomic.Int64
	left.Store(int64(len(p.harbors) * atOnce))
	for _, h := range p.harbors {
		h.host = endsAtWrites{h.host, &left, ctx, stop}
	}
	n := 0
	for _, r := range p.Apply(ctx, plan, nil) {
		if r.Outcome == Done {
			n++
		}
	}
	if n != len(p.harbors)*atOnce {
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

// Whoever is waited for is named before the time is over, the others are not held up by it,
// and two that are silent are waited for at the same time: in a plan, an apply, a
// verification, a rotation and an export.
func TestWhoIsWaitedForIsSaid(t *testing.T) {
	f := newTestFleet(t)
	f.apply(t, Options{})
	release := make(chan struct{})
	silent := func() *httptest.Server {
		srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
		t.Cleanup(srv.Close)
		return srv
	}
	one, two := silent(), silent()
	t.Cleanup(func() { close(release) })
	const timeout = 3 * time.Second
	for name, do := range map[string]func(p *Provisioner) error{
		"plan": func(p *Provisioner) error {
			plan := f.plan(t, p)
			for _, note := range plan.ShortNotes() {
				if strings.Contains(note, "secret could not be proven") && !strings.Contains(note, "does not answer") {
					t.Error(note)
				}
			}
			return errors.Join(errors.New(fmt.Sprint(plan.Faults)), plan.Refused())
		},
		"apply": func(p *Provisioner) error {
			if err := p.Hold(t.Context(), "apply"); err != nil {
				return err
			}
			return errors.New(fmt.Sprint(f.plan(t, p).Faults))
		},
		"verify": func(p *Provisioner) error {
			checks, err := p.Verify(t.Context(), VerifyOptions{NoCanary: true})
			return errors.Join(errors.New(fmt.Sprint(checks)), err)
		},
		"rotate": func(p *Provisioner) error { return p.Rotate(t.Context(), RotateOptions{Robot: "readonly"}) },
		"export": nil,
	} {
		t.Run(name, func(t *testing.T) {
			said := make(chan string, 100)
			began := time.Now()
			var err error
			if do == nil {
				_, _, err = Export(t.Context(), ExportOptions{Domain: "h.example.org", Harbors: map[string]string{"dc2": one.URL, "drp": two.URL}, Username: "admin", Password: "x", Secret: "env:{what}",
					Waiting: func(line string) { said <- line }, adjust: func(h *harbor) { h.timeout, h.patience, h.notice = timeout, timeout, timeout/3 }})
			} else {
				p := f.open(t, Options{Waiting: func(line string) { said <- line }}, f.harbors["dc2"].URL(), one.URL, f.harbors["drp"].URL(), two.URL)
				for _, h := range p.harbors {
					h.timeout, h.patience, h.notice = timeout, 10*timeout, timeout/3
				}
				err = do(p)
			}
			if took := time.Since(began); took > 2*timeout {
				t.Errorf("it took %v", took)
			}
			if err == nil || !strings.Contains(err.Error(), one.URL) && !strings.Contains(err.Error(), two.URL) || !strings.Contains(err.Error(), "gave no answer in 3s") {
				t.Errorf("%v", err)
			}
			var lines []string
			for len(said) > 0 {
				lines = append(lines, <-said)
			}
			if text := strings.Join(lines, "\n"); len(lines) == 0 || len(lines) > 2 || !strings.Contains(text, "waiting for dc2: the Harbor at "+one.URL+" has not answered GET /c/login for 1s; it is waited for until 3s are over") {
				t.Errorf("%q", text)
			}
		})
	}
}
