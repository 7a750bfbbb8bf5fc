package main

import (
	"encoding/json"
	"io"
	"strings"
	"testing"
)

// smallScale is a small fleet to which much happens.
func smallScale(t *testing.T) scalePlan {
	small(t) // skips where there is no /proc
	return scalePlan{Seed: 6, Days: 10, Datacenters: 5, Clients: 2000, Failures: 250, Sizes: []int{3}, Dir: t.TempDir()}
}

func play(t *testing.T, p scalePlan) *scaleResult {
	t.Helper()
	r, err := runScale(t.Context(), p, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// What the specification promises holds in a fleet to which much happens.
func TestScaleHoldsWhatIsPromised(t *testing.T) {
	p := smallScale(t)
	r := play(t, p)
	var text strings.Builder
	r.writeText(&text)
	for _, kind := range faultKinds {
		if r.Failures[kind] == 0 {
			t.Errorf("%s never failed", kind)
		}
	}
	if r.Samples.Asked == 0 || r.Samples.Wrong > 0 || r.Samples.Differ > 0 {
		t.Errorf("while nothing fails: %+v", r.Samples)
	}
	if r.Samples.Isolated == 0 || r.Samples.Raised > 0 {
		t.Errorf("no isolated name server may raise a backup: %+v", r.Samples)
	}
	// A verdict, a round of observations that goes on, and what is judged together.
	verdict := scaleProbe.Interval + 2*scaleProbe.Timeout + scaleProbe.Confirm
	most := (verdict + scaleProbe.Interval + 2*scaleRound + 2*scaleQuantum).Seconds()
	seen := false
	for _, w := range r.Wrong {
		if w.Why != "dead/edge" {
			continue
		}
		if seen = true; w.Max > most || w.CachedM > most+scaleTTL.Seconds() {
			t.Errorf("a dead datacenter was named for %.2f s, want %.2f at most", w.Max, most)
		}
	}
	for _, w := range r.Wrong {
		if strings.HasPrefix(w.Why, wrongBackup) && w.Why != "backup/cut" && w.Why != "backup/isolated" {
			t.Errorf("a backup was named while primaries served: %s, %.2f s", w.Why, w.Max)
		}
	}
	moved := 0
	for _, m := range r.Moves {
		moved += m.Moved
		if m.Needless > 0 {
			t.Errorf("%d clients moved that need not have: %s", m.Needless, m.Why)
		}
	}
	if !seen || moved == 0 {
		t.Error("nobody was named wrongly, or moved, whatever failed")
	}
	if t.Failed() {
		t.Log(text.String())
	}
}

// The same seed is the same year, and another one is another.
func TestScaleIsTheSameForOneSeed(t *testing.T) {
	p := smallScale(t)
	p.Days, p.Sizes = 2, nil
	said := func() string {
		r := play(t, p)
		r.Machine = nil
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	first := said()
	if again := said(); again != first {
		t.Errorf("%s\nand then\n%s", first, again)
	}
	p.Seed++
	if said() == first {
		t.Error("another seed is the same")
	}
}

func TestScaleThatThereIsNot(t *testing.T) {
	good := scalePlan{Days: 1, Datacenters: 5, Clients: 1000, Failures: 1}
	for says, change := range map[string]func(*scalePlan){
		"--datacenters": func(p *scalePlan) { p.Datacenters = 257 },
		"--sizes":       func(p *scalePlan) { p.Sizes = []int{1} },
		"--days":        func(p *scalePlan) { p.Days = 0 },
		"--clients":     func(p *scalePlan) { p.Clients = maxClients + 1 },
		"--failures":    func(p *scalePlan) { p.Failures = -1 },
	} {
		p := good
		change(&p)
		if err := p.check(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("want %q, got %v", says, err)
		}
	}
}
