package main

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"example.org/breakwater/cmd/internal/asjson"
)

// The tour plays its ten steps through by itself, and each is as it should be.
func TestTour(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	t.Parallel()
	text := output(t, exec.Command(bin(t, "lab"), "--tour", "--json", "--port", "0"))
	readJSONManual(t).holds(t, "breakwater-lab --tour", []byte(text))
	steps := 0
	for line := range strings.Lines(text) {
		var s struct {
			toured
			Format int
		}
		if err := json.Unmarshal([]byte(line), &s); err != nil || s.Format != asjson.Format {
			t.Fatalf("%v: %s", err, line)
		}
		if steps++; s.Step != steps || !s.OK || s.Wrong != "" || len(s.Seen) == 0 {
			t.Errorf("%s", line)
		}
	}
	if steps != len(tourSteps) || steps != 10 {
		t.Errorf("%d steps", steps)
	}
}

// A tour that is shown something old says so.
func TestATourSeesWhatIsWrong(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	t.Parallel()
	f := startLab(t)
	d := f.Datacenters[0]
	w := &watcher{datacenter: d.Name, edge: d.Edge, robot: f.Robots[1]}
	tr := &tour{clients: map[string]*watcher{d.Name: w}, out: new(strings.Builder)}
	if err := tr.push(t.Context(), d.Name, "one"); err != nil {
		t.Fatal(err)
	}
	if err := tr.shows(t.Context(), d.Name); err != nil {
		t.Error(err)
	}
	if _, _, err := w.pushText(t.Context(), tourRepo, "two"); err != nil { // that the tour does not know of
		t.Fatal(err)
	}
	if err := tr.shows(t.Context(), d.Name); err == nil || !strings.Contains(err.Error(), "par1 shows ") {
		t.Errorf("got %v", err)
	}
}
