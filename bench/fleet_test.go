package main

import (
	"io"
	"strings"
	"testing"
	"time"
)

// smallFleet is a fleet that takes some seconds.
func smallFleet(t *testing.T) fleetPlan {
	small(t) // skips where there is no /proc
	return fleetPlan{Datacenters: 5, Projects: 30, Tags: 1000, Pushes: 2, Missing: 5, Asks: 5, Window: 4 * time.Second, Policies: 500, Dir: t.TempDir()}
}

// What is counted of a small fleet is what is known of it: every other edge is told of a push
// once, and asked once for what nobody has.
func TestFleet(t *testing.T) {
	if testing.Short() {
		t.Skip("edges take their time before they say that they have nothing to say")
	}
	p := smallFleet(t)
	r, err := runFleet(t.Context(), p, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	r.writeText(&text)
	others := p.Datacenters - 1
	rows := map[string]messageRow{}
	for _, m := range r.Push.Rows {
		rows[m.Kind] = m
	}
	if a := rows[announced]; a.Before != float64(others) || a.All.Messages != int64(others) || a.All.Out == 0 || a.All.In == 0 {
		t.Errorf("announcements: %+v", a)
	}
	if q := rows[asksPeer]; q.All.Messages != int64(others) || rows[harborsOf+manifests].All.Messages < int64(2*others) {
		t.Errorf("followers: %+v, %+v", q, rows[harborsOf+manifests])
	}
	if r.Push.Acknowledged != float64(others) || r.Push.Harbors != float64(p.Datacenters) || r.Push.Seconds < (2*fleetFar).Seconds() {
		t.Errorf("pushes: %+v", r.Push)
	}
	if a := r.Asks[3]; a.First.Own != 1 || a.First.Peers != 3 || a.Later.Peers > 0 {
		t.Errorf("%+v", a)
	}
	for i, a := range r.Asks[:2] {
		if a.First.Peers != float64(others) || a.First.Theirs != float64(others) || a.First.Own != 1 || a.Later.Peers > 0 || a.Later.Own != 1 {
			t.Errorf("%d: %+v", i, a)
		}
	}
	if a := r.Asks[2]; a.First.Peers < 1 || a.First.Peers > float64(others) {
		t.Errorf("%+v", a)
	}
	if r.Everywhere.Peers != float64(p.Datacenters*others) {
		t.Errorf("one that nobody has, at each edge: %+v", r.Everywhere)
	}
	judgeKnowing(t, p, r)
	if t.Failed() || testing.Verbose() {
		t.Log(text.String())
	}
}

// judgeKnowing judges what is measured of one edge's ledger and of Harbors' objects.
func judgeKnowing(t *testing.T, p fleetPlan, r *fleetResult) {
	t.Helper()
	if l := r.Ledger; l.Heard != p.Tags || l.Hearing <= 0 || l.Proving <= 0 || l.Told < 100 || l.Disk < int64(100*p.Tags) || l.Start <= 0 || l.Looks < 10 || l.Looks > 60 {
		t.Errorf("the ledger: %+v", l)
	}
	each := p.Datacenters - 1
	for i, o := range r.Objects {
		projects := []int{p.Policies / (2 * p.Datacenters * each), p.Projects, p.Projects}[i]
		want := [][2]int{{projects * each, 2 * projects * each}, {each, 2 * each}, {each, 2 * each}}[i]
		if o.Projects != projects || o.Registries != want[0] || o.Policies != want[1] || o.Objects == 0 || o.Pulls == 0 {
			t.Errorf("%+v, want %d projects, and of registries and replications %v", o, projects, want)
		}
	}
	if len(r.Objects) != 3 || len(r.breaks()) != 6 {
		t.Errorf("%d ways, %d of what breaks", len(r.Objects), len(r.breaks()))
	}
}

func TestFleetThatThereIsNot(t *testing.T) {
	good := fleetPlan{Datacenters: 5, Projects: 30, Tags: 100, Pushes: 2, Missing: 5, Asks: 10, Window: 4 * time.Second, Policies: 500}
	for says, change := range map[string]func(*fleetPlan){
		"--datacenters": func(p *fleetPlan) { p.Datacenters = 3 },
		"--projects":    func(p *fleetPlan) { p.Projects = 4 },
		"--tags":        func(p *fleetPlan) { p.Tags = 0 },
		"--pushes":      func(p *fleetPlan) { p.Pushes = 0 },
		"--missing":     func(p *fleetPlan) { p.Missing = 0 },
		"--asks":        func(p *fleetPlan) { p.Asks = 1 },
		"--window":      func(p *fleetPlan) { p.Window = time.Hour },
		"--policies":    func(p *fleetPlan) { p.Policies = 0 },
	} {
		p := good
		change(&p)
		if err := p.check(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("want %q, got %v", says, err)
		}
	}
}
