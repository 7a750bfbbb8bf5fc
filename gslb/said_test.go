package gslb

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// sayer is a name server that is told things, by a clock of its own.
type sayer struct {
	said
	ahead time.Duration
}

func (s *sayer) now(t time.Time) time.Time { return t.Add(s.ahead) }

// keeps is what it goes by at a time of its clock, without what each has for itself.
func (s *sayer) keeps(now time.Time) string {
	s.said, _ = s.living(now)
	var all []string
	for _, o := range s.Overrides {
		o.SafeAt = time.Time{}
		text, _ := json.Marshal(o)
		all = append(all, string(text))
	}
	slices.Sort(all)
	return fmt.Sprint(all)
}

// hear has it hear what another one keeps, over the wire.
func (s *sayer) hear(other *sayer, at time.Time) {
	text, _ := json.Marshal(Observation{said: other.said})
	var x Observation
	if err := json.Unmarshal(text, &x); err != nil {
		panic(err)
	}
	s.said, _ = s.merge(x.said, func(o Override) error {
		if o.expired(s.now(at)) {
			return errors.New("it has ended")
		}
		return nil
	})
}

// Whatever is said to whom, and whoever hears whom in whatever order: when all have heard each
// other they keep the same, and of what was said of the same by one who had heard of the rest,
// the last counts, however wrong its clock is.
func TestAllKeepTheSame(t *testing.T) {
	for seed := range uint64(500) {
		random := rand.New(rand.NewPCG(seed, 1))
		all := []*sayer{{}, {ahead: 3 * time.Minute}, {ahead: -time.Hour}}
		at := time.Unix(1_800_000_000, 0).UTC()
		say := func(s *sayer, datacenter string, step int) {
			since := s.next(datacenter, "", s.now(at))
			if random.IntN(3) == 0 {
				s.said = s.over(Released{datacenter, "", since})
				return
			}
			o := Override{Datacenter: datacenter, Mode: []Mode{Drain, Up, Down}[random.IntN(3)], Since: since, Reason: fmt.Sprint(step)}
			if random.IntN(3) == 0 {
				o.Until = at.Add(time.Duration(1+random.IntN(20)) * time.Second)
			}
			s.said = s.with(o)
		}
		for step := range 40 {
			at = at.Add(time.Duration(random.IntN(3)) * time.Second)
			s := all[random.IntN(3)]
			switch random.IntN(3) {
			case 0:
				say(s, []string{"par1", "mad1"}[random.IntN(2)], step)
			case 1:
				s.hear(all[random.IntN(3)], at)
			default:
				s.keeps(s.now(at)) // what has ended by its clock ends
			}
		}
		together := func() {
			for range 2 {
				for _, s := range all {
					for _, other := range all {
						s.hear(other, at)
					}
				}
			}
		}
		together()
		at = at.Add(2 * time.Hour) // everything that ends has ended, by all clocks
		for _, s := range all {
			s.keeps(s.now(at))
		}
		together()
		for i, s := range all {
			if got, want := s.keeps(s.now(at)), all[0].keeps(all[0].now(at)); got != want {
				t.Fatalf("seed %d: %d keeps %s, and the first %s", seed, i, got, want)
			}
		}
		last := all[random.IntN(3)]
		last.said = last.with(Override{Datacenter: "par1", Mode: Up, Since: last.next("par1", "", last.now(at)), Reason: "the last word"})
		together()
		for i, s := range all {
			if o, _ := s.of("par1", ""); o < 0 || s.Overrides[o].Reason != "the last word" {
				t.Fatalf("seed %d: %d keeps %s after the last word", seed, i, s.keeps(s.now(at)))
			}
		}
		last = all[random.IntN(3)]
		last.said = last.over(Released{"par1", "", last.next("par1", "", last.now(at))})
		together()
		for i, s := range all {
			if o, _ := s.of("par1", ""); o >= 0 {
				t.Fatalf("seed %d: %d keeps %s after it was taken back", seed, i, s.keeps(s.now(at)))
			}
		}
	}
}

// What is heard is bounded, and what this fleet knows nothing of is not taken; when an answer is
// safe is each node's own.
func TestWhatIsHeardIsBounded(t *testing.T) {
	at := time.Unix(1_800_000_000, 0).UTC()
	var many said
	for i := range 2 * maxOverrides {
		many.Overrides = append(many.Overrides, Override{Datacenter: fmt.Sprint("o", i), Mode: Drain, Since: at, SafeAt: at})
		many.Released = append(many.Released, Released{fmt.Sprint("r", i), "", at.Add(time.Duration(i))})
	}
	wrong := func(o Override) error {
		if o.Datacenter == "o7" {
			return errors.New("there is no such datacenter")
		}
		return nil
	}
	all, changed := said{}.merge(many, wrong)
	if len(all.Overrides) != maxOverrides || len(changed) != maxOverrides || len(all.Released) != maxReleased {
		t.Errorf("%d overrides, of which %d are news, and %d tombstones", len(all.Overrides), len(changed), len(all.Released))
	}
	for _, o := range all.Overrides {
		if o.Datacenter == "o7" || !o.SafeAt.IsZero() {
			t.Errorf("%+v", o)
		}
	}
	if _, r := all.of(fmt.Sprint("r", 2*maxOverrides-1), ""); r < 0 {
		t.Error("the latest tombstone is not kept")
	}
	if again, changed := all.merge(all, wrong); len(changed) != 0 || len(again.Overrides) != len(all.Overrides) {
		t.Errorf("what is known is news: %v", changed)
	}
}

// A name server whose clock is ahead ends nothing for the others.
func TestAClockThatIsAheadEndsNothingForOthers(t *testing.T) {
	at := time.Unix(1_800_000_000, 0).UTC()
	right, ahead := &sayer{}, &sayer{ahead: time.Hour}
	right.said = right.with(Override{Datacenter: "par1", Mode: Drain, Since: at, Until: at.Add(30 * time.Minute)})
	ahead.said = right.said
	for range 2 {
		ahead.keeps(ahead.now(at))
		right.hear(ahead, at)
		ahead.hear(right, at)
	}
	if o, _ := right.of("par1", ""); o < 0 {
		t.Error("the drain has ended for all")
	}
	if o, _ := ahead.of("par1", ""); o >= 0 {
		t.Error("what has ended has come back")
	}
}

// What one that was away has kept does not come back when what was said after it has ended.
func TestWhatWasSaidBeforeDoesNotComeBack(t *testing.T) {
	at := time.Unix(1_800_000_000, 0).UTC()
	here, away := &sayer{}, &sayer{}
	here.said = here.with(Override{Datacenter: "par1", Mode: Drain, Since: at})
	away.hear(here, at)
	here.said = here.with(Override{Datacenter: "par1", Mode: Up, Since: at.Add(time.Minute), Until: at.Add(time.Hour)})
	at = at.Add(2 * time.Hour)
	here.keeps(at)
	here.hear(away, at)
	away.hear(here, at)
	if here.keeps(at) != "[]" || away.keeps(at) != "[]" {
		t.Errorf("%s here, %s at the one that was away", here.keeps(at), away.keeps(at))
	}
}

// When a datacenter that takes no clients is safe to stop is each node's own to say. That a drain
// is said again, to another node, takes back nothing of that; that it serves in between does.
func TestWhenItIsSafeOutlivesThatItIsSaidAgain(t *testing.T) {
	at := time.Unix(1_800_000_000, 0).UTC()
	safe := at.Add(time.Minute)
	for name, c := range map[string]struct {
		own, theirs Mode
		want        time.Time
	}{
		"a drain, again":             {Drain, Drain, safe},
		"forced down after a drain":  {Drain, Down, safe},
		"a drain of what was forced": {Up, Drain, time.Time{}},
		"forced up after a drain":    {Drain, Up, time.Time{}},
		"the first drain":            {"", Drain, time.Time{}},
	} {
		var own, theirs said
		if c.own != "" {
			own = own.with(Override{Datacenter: "par1", Mode: c.own, Since: at, SafeAt: safe})
		}
		theirs = theirs.with(Override{Datacenter: "par1", Mode: c.theirs, Since: at.Add(time.Second), SafeAt: at.Add(time.Hour)})
		all, changed := own.merge(theirs, func(Override) error { return nil })
		if len(changed) != 1 || len(all.Overrides) != 1 || all.Overrides[0].Mode != c.theirs || !all.Overrides[0].SafeAt.Equal(c.want) {
			t.Errorf("%s: %+v, want it safe at %v", name, all.Overrides, c.want)
		}
	}
}
