package gslb

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"example.org/breakwater/internal/trial"
)

// steeredFleet is the fleet of files with a panic policy, and without the one IPv6 address
// whose loss would be a trouble of every drain of par1.
func steeredFleet(t *testing.T, p Panic) *fleetOfFiles {
	t.Helper()
	f := newFleetOfFiles(t)
	f.cfg.Fleet.Datacenters[0].Addresses = addrs("192.0.2.1")
	f.cfg.Fleet.Zones[0].Names = f.cfg.Fleet.Zones[0].Names[:1]
	f.cfg.Fleet.Zones[0].Names[0].Panic = p
	return f
}

func (r *running) steer(mode Mode, datacenter string, change func(*Steering)) Steered {
	r.t.Helper()
	x := Steering{Override: Override{Datacenter: datacenter, Mode: mode, By: "ann@desk"}}
	if change != nil {
		change(&x)
	}
	done, err := r.Steer(x)
	if err != nil {
		r.t.Fatal(err)
	}
	return done
}

func yes(x *Steering)     { x.Yes = true }
func release(x *Steering) { x.Release = true }

// wantTroubles wants just these troubles, each with these words.
func wantTroubles(t *testing.T, says string, done Steered, want ...string) {
	t.Helper()
	if len(done.Troubles) != len(want) {
		t.Errorf("%s: %q; want %q", says, done.Troubles, want)
		return
	}
	for i, words := range want {
		if !strings.Contains(done.Troubles[i], words) {
			t.Errorf("%s: %q does not say %q", says, done.Troubles[i], words)
		}
	}
}

// The last datacenter that serves cannot be drained by a drain that promises what is not
// so: what clients would get is said, nothing is changed, and with yes there is no time at
// which it is safe to stop.
func TestADrainOfTheLastDatacenter(t *testing.T) {
	for p, c := range map[Panic]struct {
		says     string
		answered string // what is answered then
		safe     bool
	}{
		PanicLastGood: {"clients get them all the same: par1", "192.0.2.1", false},
		PanicAll:      {"clients get them all the same: par1", "192.0.2.1", false},
		PanicBackup:   {"clients get them all the same: par1", "192.0.2.1", false},
		PanicNodata:   {"answers are empty", "", true},
	} {
		t.Run(string(p), func(t *testing.T) {
			r := steeredFleet(t, p).run(t)
			r.becomes("h.example.", "10.1.2.0/24", "192.0.2.1")
			for _, other := range []string{"mad1", "drp1"} {
				done := r.steer(Drain, other, nil)
				wantTroubles(t, "drain "+other, done)
				if !done.Done || done.SafeAt.IsZero() {
					t.Errorf("%s: %+v", other, done)
				}
			}
			done := r.steer(Drain, "par1", nil)
			if done.Done || done.SafeAt.IsZero() == c.safe || len(done.Troubles) == 0 || !strings.Contains(done.Troubles[0], c.says) {
				t.Errorf("%+v; want to hear of %q, and nothing done", done, c.says)
			}
			if got := r.addresses("h.example.", "10.1.2.0/24"); !slices.Equal(got, []string{"192.0.2.1"}) || len(r.Report().Overrides) != 2 {
				t.Errorf("something is changed: %v %+v", got, r.Report().Overrides)
			}
			done = r.steer(Drain, "par1", yes)
			if !done.Done || done.SafeAt.IsZero() == c.safe || len(done.Answers) != 1 || !done.Answers[0].Panic {
				t.Errorf("%+v; want it done", done)
			}
			if got := strings.Join(r.addresses("h.example.", "10.1.2.0/24"), ""); got != c.answered {
				t.Errorf("answered is %q, want %q", got, c.answered)
			}
			report := r.Report()
			for _, o := range report.Overrides { // a backup is answered when there is no primary, drained or not
				if holds := c.safe || o.Datacenter == "drp1"; o.Holds != holds || o.SafeAt.IsZero() == holds {
					t.Errorf("%+v; want it to hold: %v", o, holds)
				}
			}
			if !report.Answers[0].Panic || len(report.Wrong) == 0 {
				t.Errorf("all is well: %+v", report)
			}
			if c.safe {
				return
			}
			// The drain of before is named, with who said it.
			wantTroubles(t, "with yes", done, "clients go on coming to par1: ", "mad1 was drained at ")
			if !strings.Contains(done.Troubles[1], " by ann@desk") {
				t.Error(done.Troubles)
			}
		})
	}
}

// A policy that falls back on somebody else moves clients there, healthy or not: the drain
// holds, and who is answered is said.
func TestADrainThatLeavesTheUnhealthy(t *testing.T) {
	f := steeredFleet(t, PanicLastGood)
	r := f.run(t)
	r.becomes("h.example.", "10.1.2.0/24", "192.0.2.1")
	f.say(t, "mad1", "down")
	f.say(t, "drp1", "down")
	r.becomes("h.example.", "10.2.2.0/24", "192.0.2.1")
	r.goesDown("drp1")
	r.settled()
	done := r.steer(Drain, "par1", nil)
	wantTroubles(t, "drain", done, "clients get those that are left: mad1")
	if done.Done || done.SafeAt.IsZero() {
		t.Errorf("%+v", done)
	}
}

// What is said later makes what was said before untrue: that is asked for too.
func TestWhatMakesADrainUntrue(t *testing.T) {
	f := steeredFleet(t, PanicLastGood)
	r := f.run(t)
	r.becomes("h.example.", "10.1.2.0/24", "192.0.2.1")
	f.say(t, "drp1", "down")
	r.goesDown("drp1")
	r.steer(Down, "drp1", nil)
	r.steer(Drain, "mad1", nil)
	for says, x := range map[string]func(*Steering){
		"force down": func(x *Steering) { x.Mode = Down },
		"for a name": func(x *Steering) { x.Name = "h.example" },
		"for a time": func(x *Steering) { x.Until = time.Now().Add(time.Hour) },
	} {
		done := r.steer(Drain, "par1", x)
		if done.Done || len(done.Troubles) != 2 {
			t.Errorf("%s: %+v", says, done)
		}
	}
	// Its own end ends nothing else: nobody is worse off than by the probes alone.
	done := r.steer(Up, "par1", func(x *Steering) { x.Until = time.Now().Add(time.Hour) })
	wantTroubles(t, "force up", done)
	f.say(t, "par1", "down")
	r.goesDown("par1")
	// Now it alone serves, by force: to take that back, or to let it end, leaves nobody.
	done = r.steer(Up, "par1", release)
	if done.Done || len(done.Troubles) == 0 || !strings.Contains(done.Troubles[0], "PANIC") {
		t.Errorf("release: %+v", done)
	}
	done = r.steer(Up, "par1", func(x *Steering) { x.Until = time.Now().Add(2 * time.Hour) })
	if !done.Done || len(done.Notes) == 0 || !strings.Contains(done.Notes[0], "when this ends at ") {
		t.Errorf("the end is not told: %+v", done)
	}
	r.steer(Up, "par1", nil)
	done = r.steer(Up, "par1", func(x *Steering) { x.Until = time.Now().Add(2 * time.Hour) })
	if done.Done || len(done.Troubles) == 0 || !strings.Contains(done.Troubles[0], "when this ends at ") {
		t.Errorf("an end in place of none is not told: %+v", done)
	}
	// A drain that is good as long as somebody else is forced up.
	r.steer(Drain, "mad1", release)
	r.settled()
	f.say(t, "mad1", "down")
	r.goesDown("mad1")
	r.steer(Up, "mad1", func(x *Steering) { x.Until, x.Yes = time.Now().Add(time.Minute), true })
	done = r.steer(Drain, "mad1", func(x *Steering) { x.Name, x.Dry = "h.example", true })
	if done.Done || len(r.Report().Overrides) != 3 {
		t.Errorf("dry: %+v", done)
	}
}

// The probes, too, make a drain untrue, and the status marks it; with another that serves it
// holds again, and is safe once more when the answers in between have run out.
func TestADrainIsMarkedWhenTheRestFalls(t *testing.T) {
	f := steeredFleet(t, PanicAll)
	f.cfg.Fleet.Zones[0].Names[0].Members = []int{0, 1}
	f.cfg.Fleet.Zones[0].Names[0].Panic = PanicLastGood
	r := f.run(t)
	r.becomes("h.example.", "10.1.2.0/24", "192.0.2.1")
	first := r.steer(Drain, "par1", nil)
	held := func(want bool) (h Held) {
		t.Helper()
		trial.Until(t, func() error {
			if h = r.Report().Overrides[0]; h.Holds != want {
				return fmt.Errorf("%+v; want it to hold: %v", h, want)
			}
			return nil
		})
		return h
	}
	held(true)
	r.steer(Drain, "mad1", yes)
	if h := held(false); !h.SafeAt.IsZero() || !strings.Contains(h.Why, "clients of h.example get it") {
		t.Errorf("%+v", h)
	}
	r.steer(Drain, "mad1", release)
	if h := held(true); !h.SafeAt.After(first.SafeAt) {
		t.Errorf("%+v is as safe as it was before", h)
	}
	r.stop() // and it survives a restart
	r = f.run(t)
	trial.Until(t, func() error {
		if o := r.Report().Overrides; len(o) != 1 || !o[0].Holds || o[0].By != "ann@desk" {
			return fmt.Errorf("%+v", o)
		}
		return nil
	})
}

// What was said of one name is no promise for the others.
func TestADrainForOneName(t *testing.T) {
	f := newFleetOfFiles(t)
	f.cfg.Fleet.Datacenters[0].Addresses = addrs("192.0.2.1")
	r := f.run(t)
	r.becomes("h.example.", "10.1.2.0/24", "192.0.2.1")
	done := r.steer(Drain, "par1", func(x *Steering) { x.Name = "two.h.example" })
	if !done.Done || !done.SafeAt.IsZero() || len(done.Notes) != 1 || !strings.Contains(done.Notes[0], "par1 still gets the clients of h.example") {
		t.Errorf("%+v", done)
	}
	r.steer(Up, "par1", func(x *Steering) { x.Name = "h.example" })
	done = r.steer(Drain, "par1", nil)
	wantTroubles(t, "one name is forced up", done, "clients go on coming to par1: an operator has forced it up for h.example")
	if done = r.steer(Drain, "par1", yes); !done.SafeAt.IsZero() {
		t.Errorf("%+v", done)
	}
	if got := r.addresses("h.example.", "10.1.2.0/24"); !slices.Equal(got, []string{"192.0.2.1"}) {
		t.Errorf("answered is %v", got)
	}
}

// Who alone has an IPv6 address is the only one for clients that have nothing else.
func TestADrainOfTheOnlyOneOfAFamily(t *testing.T) {
	f := newFleetOfFiles(t)
	r := f.run(t)
	r.becomes("h.example.", "10.1.2.0/24", "192.0.2.1")
	done := r.steer(Drain, "par1", nil)
	wantTroubles(t, "IPv6", done, "h.example: clients get no IPv6 address: mad1 has none", "two.h.example: clients get no IPv6 address: mad1 has none")
	if done.Done || done.SafeAt.IsZero() {
		t.Errorf("%+v", done)
	}
	r.steer(Drain, "par1", yes)
	if a := r.ask("h.example.", "10.1.2.0/24", dns.TypeAAAA); len(a.Answer) != 0 || len(a.Ns) != 1 || a.Ns[0].Header().Ttl > 5 {
		t.Errorf("%v", a)
	}
	if got := r.Report().Answers[0].Sentence; !strings.HasSuffix(got, "; IPv6: no datacenter with an IPv6 address is left: operators have taken out par1; answers are empty") {
		t.Error(got)
	}
}

// A name whose method is static has its next one, healthy or not.
func TestADrainOfAStaticName(t *testing.T) {
	f := steeredFleet(t, PanicLastGood)
	f.cfg.Fleet.Zones[0].Names[0].Method = Static
	r := f.run(t)
	r.becomes("h.example.", "", "192.0.2.1")
	f.say(t, "mad1", "down")
	r.goesDown("mad1")
	done := r.steer(Drain, "par1", nil)
	wantTroubles(t, "static", done, "mad1 (not healthy)")
	if done.Done || done.SafeAt.IsZero() {
		t.Errorf("%+v", done)
	}
}

// Safe to stop is when the answers with the longest TTL have run out, also with one that has
// been lowered a moment ago, here or before a restart.
func TestSafeToStopKnowsTheTTLOfBefore(t *testing.T) {
	f := steeredFleet(t, PanicLastGood)
	f.cfg.Fleet.Zones[0].Names[0].TTL = time.Hour
	r := f.run(t)
	r.becomes("h.example.", "10.1.2.0/24", "192.0.2.1")
	lowered := time.Now()
	f.cfg.Fleet.Zones = []Zone{{Origin: "h.example.", Mbox: "sre.h.example.", Names: []Name{{Name: "h.example.", Method: Nearest, TTL: time.Second, Members: []int{0, 1, 2}}}}}
	if err := r.Reload(f.cfg); err != nil {
		t.Fatal(err)
	}
	if done := r.steer(Drain, "par1", nil); done.SafeAt.Before(lowered.Add(time.Hour)) {
		t.Errorf("safe at %v, and answers of %v are kept for an hour", done.SafeAt, lowered)
	}
	r.stop()
	r = f.run(t)
	r.becomes("h.example.", "10.1.2.0/24", "192.0.2.2")
	if done := r.steer(Drain, "par1", nil); done.SafeAt.Before(lowered.Add(time.Hour)) {
		t.Errorf("after a restart: safe at %v, and answers of %v are kept for an hour", done.SafeAt, lowered)
	}
}

// Safe to stop is a datacenter's own: who was named in no answer may stop at once, and what is
// kept of another does not matter.
func TestSafeToStopIsOfOneDatacenter(t *testing.T) {
	f := steeredFleet(t, PanicLastGood)
	n := f.cfg.Fleet.Zones[0].Names[0]
	n.TTL = time.Hour
	long := n
	long.Name, long.TTL, long.Members = "long.h.example.", 3*time.Hour, []int{1}
	f.cfg.Fleet.Zones[0].Names = []Name{n, long}
	r := f.run(t)
	r.becomes("h.example.", "10.1.2.0/24", "192.0.2.1")
	begun := time.Now()
	for datacenter, kept := range map[string]time.Duration{"par1": time.Hour, "drp1": 0} {
		done := r.steer(Drain, datacenter, func(x *Steering) { x.Dry = true })
		if at := done.SafeAt; at.Before(begun.Add(kept)) || at.After(time.Now().Add(kept)) {
			t.Errorf("%s is safe to stop at %v, which is %v from now; want %v", datacenter, at, time.Until(at), kept)
		}
	}
	// Its answers count from when they were given last, not from when the file was read.
	r.steer(Drain, "par1", nil)
	ended := time.Now()
	n.TTL, n.Members = time.Second, []int{1, 2}
	f.cfg.Fleet.Zones = slices.Clone(f.cfg.Fleet.Zones) // the node reads the old one
	f.cfg.Fleet.Zones[0].Names = []Name{n, long}
	if err := r.Reload(f.cfg); err != nil {
		t.Fatal(err)
	}
	if done := r.steer(Drain, "par1", nil); done.SafeAt.After(ended.Add(time.Hour)) || done.SafeAt.Before(begun.Add(time.Hour)) {
		t.Errorf("par1 was given until %v, and is safe at %v", ended, done.SafeAt)
	}
}

func TestWhatIsAnsweredIsSaid(t *testing.T) {
	f := newFleetOfFiles(t)
	f.cfg.Fleet.Datacenters[0].Addresses = addrs("192.0.2.1")
	r := f.run(t)
	r.becomes("h.example.", "10.1.2.0/24", "192.0.2.1")
	says := func(want ...string) {
		t.Helper()
		trial.Until(t, func() error {
			var got []string
			for _, a := range r.Report().Answers {
				got = append(got, a.Sentence)
			}
			if !slices.Equal(got, want) {
				return fmt.Errorf("%q, want %q", got, want)
			}
			return nil
		})
	}
	says("h.example: par1 and mad1, each client its nearest, by weight where several are as near", "two.h.example: mad1, the first in order that serves")
	shares := r.Report().Answers[0].Shares
	if len(shares) != 2 || shares[0].Datacenter != "par1" || shares[0].Networks != 1 || shares[0].Tier != tierNearest || r.Report().Answers[0].Networks != 2 {
		t.Errorf("%+v", r.Report().Answers[0])
	}
	if wrong := r.Report().Wrong; wrong != nil {
		t.Errorf("all is well, and %q", wrong)
	}
	f.say(t, "mad1", "down of late")
	says("h.example: par1, all clients", "two.h.example: par1, the first in order that serves")
	r.settled()
	f.say(t, "par1", "down")
	says("h.example: drp1 (a backup), all clients", "two.h.example: PANIC: no datacenter is healthy; answers are empty (panic: nodata)")
	r.settled()
	f.say(t, "drp1", "down")
	says("h.example: PANIC: no datacenter is healthy; clients get the last good: drp1, all clients", "two.h.example: PANIC: no datacenter is healthy; answers are empty (panic: nodata)")
	if wrong := strings.Join(r.Report().Wrong, "\n"); !strings.Contains(wrong, "PANIC") || !strings.Contains(wrong, "mad1 is down: ") || !strings.Contains(wrong, "of late") {
		t.Error(wrong)
	}
}

// A drain that holds only as long as something else that was said does is no promise: what
// comes when that ends is said before.
func TestADrainThatHoldsUntilSomethingElseEnds(t *testing.T) {
	f := steeredFleet(t, PanicAll)
	f.cfg.Fleet.Zones[0].Names[0].Members = []int{0, 1}
	r := f.run(t)
	r.becomes("h.example.", "10.1.2.0/24", "192.0.2.1")
	r.steer(Drain, "mad1", nil)
	r.steer(Up, "mad1", func(x *Steering) { x.Name, x.Until, x.Yes = "h.example", time.Now().Add(time.Hour), true })
	done := r.steer(Drain, "par1", nil)
	wantTroubles(t, "until the force ends", done,
		"when the force up of mad1 for h.example ends at ", "mad1 was drained at ", "clients of h.example get par1 again")
	if !strings.Contains(done.Troubles[0], "PANIC") || done.Done || done.SafeAt.IsZero() {
		t.Errorf("%+v", done)
	}
	// One that ends before is worth its word.
	done = r.steer(Drain, "par1", func(x *Steering) { x.Until = time.Now().Add(time.Minute) })
	wantTroubles(t, "it ends before", done)
	if !done.Done {
		t.Errorf("%+v", done)
	}
}
