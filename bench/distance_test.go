package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"example.org/breakwater/internal/trial"
)

// Every work is done by everybody at every distance, and takes as long as the link does at least.
func TestDistance(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program")
	}
	const far = 100 * time.Millisecond // more than the work takes by itself, even on a busy machine
	trial.Client(t, "nginx")
	p := distancePlan{Peers: []string{"edge", "nginx-cache"}, Rounds: 1, Trips: []time.Duration{0, far}, Rate: 100e6, Push: mib, Fill: 2 * mib, Dir: small(t).Dir}
	var out, progress strings.Builder
	r, err := runDistance(t.Context(), p, &progress)
	if err != nil {
		t.Fatalf("%v\n%s", err, &progress)
	}
	if err := r.print(&out); err != nil {
		t.Fatal(err)
	}
	rows := map[string]int{}
	for _, row := range r.Rows {
		rows[row.Work+" "+row.Over]++
		least, source := row.Trip, 0.0
		switch row.Work {
		case pushWork:
			least *= 2 // a session is opened first
		case fillWork, cappedWork, edgeWork:
			source = float64(p.Fill)
		}
		if row.Seconds < least || row.Bytes <= 0 || row.Source < source || row.OfFirst <= 0 || row.OfDirect <= 0 && row.Work != edgeWork || row.Peak <= 0 {
			t.Errorf("want %.3f s and %.0f bytes of the source at least: %+v", least, source, row)
		}
		if row.Work == cappedWork && row.Peer != "ranges" && row.Bytes > float64(p.Rate) {
			t.Errorf("quicker than its connection: %+v", row)
		}
	}
	if got := rows[edgeWork+" "+http2]; got != 2 {
		t.Errorf("%d rows of %s, not 2", got, edgeWork)
	}
	for work, want := range map[string]int{pushWork: 4, pullWork: 6, fillWork: 8, cappedWork: 8} { // edge, direct, without pushes nginx and, in fills, ranges, at two distances
		for _, over := range []string{plainHTTP, http1, http2} {
			if got := rows[work+" "+over]; got != want {
				t.Errorf("%d rows of %s over %s, not %d", got, work, over, want)
			}
		}
	}
	if left, err := os.ReadDir(p.Dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if t.Failed() {
		t.Log(out.String())
	}
}

func TestDistancesThatThereAreNot(t *testing.T) {
	good := distancePlan{Rounds: 1, Fill: mib, Trips: []time.Duration{0}, Rate: 1e6}
	none, backwards, unknown, nobody := good, good, good, good
	nobody.Peers = []string{"squid"}
	none.Trips, backwards.Trips, unknown.Work = nil, []time.Duration{-time.Second}, []string{"fly"}
	for says, p := range map[string]distancePlan{"--trips: want 1 or more": none, "--trips -1s: want 0 to 10s": backwards, `no work "fly"`: unknown, `no peer "squid"`: nobody} {
		if err := p.check(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("want %q, got %v", says, err)
		}
	}
}
