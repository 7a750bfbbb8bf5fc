package gslb

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"example.org/breakwater/internal/trial"
)

// A state file that is of the future, or knows of something there, was written by a clock that
// was wrong, or is read by one that is: nothing of it lasts longer than it can.
func TestAStateFileOfTheFuture(t *testing.T) {
	now := time.Now()
	for says, ahead := range map[string]time.Duration{"a year ahead": 365 * 24 * time.Hour, "a machine that begins in 1970": 56 * 365 * 24 * time.Hour, "as it is": -time.Minute} {
		at := now.Add(ahead)
		s := state{At: at, Health: map[string]DatacenterHealth{"par1": {Since: at}},
			said: said{Overrides: []Override{{Datacenter: "mad1", Mode: Drain, Since: at, SafeAt: at.Add(time.Hour), Until: at.Add(2 * time.Hour)}}},
			Kept: map[string]time.Time{"h.example.": at.Add(time.Hour), "two.h.example.": at.Add(-time.Hour), "ever": at.Add(1e6 * time.Hour)}}
		s.read(now, silent)
		o, want := s.Overrides[0], min(time.Hour, time.Hour+ahead)
		if ahead > 0 {
			want = time.Hour
		}
		if s.At.IsZero() != (ahead > 0) || s.Health["par1"].Since.After(now) || o.Since.After(now) {
			t.Errorf("%s: it was seen in the future: %+v", says, s)
		}
		if got := o.SafeAt.Sub(now); got != want {
			t.Errorf("%s: safe to stop in %v, want %v", says, got, want)
		}
		if got := s.Kept["h.example."].Sub(now); got != want+writeEvery {
			t.Errorf("%s: answers are kept for %v, want %v", says, got, want)
		}
		if s.Kept["two.h.example."].After(now.Add(writeEvery)) || s.Kept["ever"].After(now.Add(longestTTL+writeEvery)) {
			t.Errorf("%s: %v", says, s.Kept)
		}
		if !o.Until.Equal(at.Add(2 * time.Hour)) {
			t.Errorf("%s: what was drained ends at %v", says, o.Until)
		}
	}
}

// What went down at a time that is still to come stays down for its hold, and not until then;
// and a snapshot of the future is none.
func TestWhatFellInTheFuture(t *testing.T) {
	f := newFleetOfFiles(t)
	f.cfg.Probe.Hold = 100 * time.Millisecond
	write := func(s state) {
		t.Helper()
		if data, err := s.encode(); err != nil || os.WriteFile(f.cfg.State, data, 0o600) != nil {
			t.Fatal(err)
		}
	}
	later := time.Now().Add(365 * 24 * time.Hour)
	up := DatacenterHealth{Up: true, Since: later}
	write(state{At: time.Now(), Health: map[string]DatacenterHealth{"par1": {Since: later}, "mad1": up, "drp1": up}})
	r := f.run(t)
	r.becomes("h.example.", "10.1.2.0/24", "192.0.2.1")
	r.stop()
	write(state{At: later, Health: map[string]DatacenterHealth{"par1": up, "mad1": up, "drp1": up}})
	f.cfg.Targets[0] = Target{Datacenter: "par1", Kind: ProbeHTTP, URL: "http://" + serveTCP(t, func(net.Conn) {})}
	f.cfg.Probe.Timeout, f.cfg.Probe.Interval = time.Hour, time.Hour // no round is ever in
	r = f.run(t)
	trial.Until(t, func() error {
		if len(r.Report().Datacenters) < 2 {
			return errors.New("no probe is in")
		}
		return nil
	})
	if r.Report().Answering {
		t.Error("it answers by a snapshot of the future")
	}
}
