package version_test

import (
	"fmt"
	"log/slog"
	"maps"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/version"
)

// Where there is no version, what Harbor goes back to within a quarter of an hour of something
// else that clients were shown was brought back: they are shown the latest.
func TestWhatHarborGoesBackTo(t *testing.T) {
	w := someday()
	var again time.Time
	l := version.New(version.Config{Datacenter: "par1", Log: slog.New(slog.DiscardHandler), Now: w.now, Since: func(string) time.Time { return again }})
	expect := func(when string, want map[digest.Digest]digest.Digest) {
		t.Helper()
		for d, instead := range want {
			if got := l.Instead(tag, d); got != instead {
				t.Errorf("%s: instead of %s it is %q, want %q", when, d, got, instead)
			}
		}
	}
	expect("nothing was shown", map[digest.Digest]digest.Digest{one: "", two: ""})
	l.Shown(tag, one)
	expect("one alone", map[digest.Digest]digest.Digest{one: "", two: ""})
	w.Time = w.Add(time.Hour)
	l.Shown(tag, two)
	l.Shown(tag, one) // it is shown again: no news
	expect("two after it", map[digest.Digest]digest.Digest{one: two, two: "", six: ""})
	w.Time = w.Add(15 * time.Minute)
	expect("for a quarter of an hour", map[digest.Digest]digest.Digest{one: two})
	w.Time = w.Add(1)
	expect("then it may be a push past the edges", map[digest.Digest]digest.Digest{one: ""})
	if got := l.Instead(version.Key{Repo: repo, Reference: "v2"}, one); got != "" {
		t.Errorf("another tag's is %s", got)
	}
	for i := range 7 {
		l.Shown(tag, digest.FromString(fmt.Sprint(i)))
	}
	latest := digest.FromString("6")
	expect("of many the last eight", map[digest.Digest]digest.Digest{one: "", two: latest, digest.FromString("0"): latest, latest: ""})
	again = w.Add(time.Second)
	w.Time = w.Add(2 * time.Second)
	expect("in a project before", map[digest.Digest]digest.Digest{two: ""})
	l.Shown(tag, one)
	l.Shown(tag, six)
	expect("in the new one", map[digest.Digest]digest.Digest{one: six, two: "", latest: ""})
}

// A push that did not know of another one is newer by its time, unless it was shown here
// before there was a version: then it is late. What stays is confirmed by a version that is
// newer for everybody.
func TestWhatWasShownBeforeItsVersionIsLate(t *testing.T) {
	for name, c := range map[string]struct {
		shown digest.Digest // here, before the push of two
		asks  bool          // that is known by the configuration's Seen
		comes digest.Digest
		knew  bool // of two
		stays bool
	}{
		"it was shown":               {one, false, one, false, true},
		"it is known to be":          {one, true, one, false, true},
		"another one was":            {six, false, one, false, false},
		"nothing was":                {"", false, one, false, false},
		"it was, and then pushed":    {one, false, one, true, false},
		"it was, and comes a delete": {one, false, "", false, false},
		"the same is pushed there":   {one, false, two, false, false},
	} {
		w := someday()
		seen := func(version.Key) digest.Digest { return "" }
		if c.asks {
			seen = func(version.Key) digest.Digest { return c.shown }
		}
		l := version.New(version.Config{Datacenter: "par1", Log: slog.New(slog.DiscardHandler), Now: w.now, Seen: seen})
		if !c.asks && c.shown != "" {
			l.Shown(tag, c.shown)
		}
		w.Time = w.Add(time.Minute)
		mine := write(l, "v1", two)
		comes := said(tag, c.comes, version.Version{Time: mine.Version.Time + 5, Datacenter: "mad1"})
		if c.knew {
			comes.Knew = version.Knew{"par1": mine.Version.Time}
		}
		if taken := l.Learn("mad1", []version.Announced{comes}, true, nil); len(taken) != 1 {
			t.Errorf("%s: taken %v", name, taken)
		}
		r := l.Get(tag)
		if want := (version.Version{Time: comes.Version.Time + 1, Datacenter: "par1"}); c.stays && (r.Digest != two || r.Version != want || r.Root != mine.Version || l.Claimed(tag)) {
			t.Errorf("%s: it is %+v, want %v", name, r, want)
		}
		if !c.stays && (r.Version != comes.Version || r.Digest != c.comes) {
			t.Errorf("%s: it is %+v", name, r)
		}
		for at, of := range map[string][]version.Announced{"par1 hears it again": {comes}, "and again with what it told": {comes, {Repo: repo, Reference: "v1", Record: r}}} {
			if l.Learn("mad1", of, true, nil); l.Get(tag).Version != r.Version {
				t.Errorf("%s, %s: it is %+v", name, at, l.Get(tag))
			}
		}
		if all, _, _ := l.Since(0, 10); c.stays && (len(all) != 1 || !all[0].Own || all[0].Version != r.Version) {
			t.Errorf("%s: the others are told %+v", name, all)
		}
	}
}

// Of two versions the one whose edge knew the other is newer, whatever their times; where each
// knew the other, or neither did, the time decides. In whatever order they are heard.
func TestWhoKnewTheOtherIsNewer(t *testing.T) {
	w := someday()
	early := version.Version{Time: w.UnixMilli() << 16, Datacenter: "mad1"}
	late := version.Version{Time: w.Add(time.Minute).UnixMilli() << 16, Datacenter: "drp1"}
	for name, c := range map[string]struct {
		earlyKnew, lateKnew bool // the other
		wins                version.Version
		confirmed           bool
	}{
		"neither":                             {false, false, late, false},
		"the later":                           {false, true, late, false},
		"the one by the clock that is behind": {true, false, early, true},
		"both":                                {true, true, late, false},
	} {
		for _, reversed := range []bool{false, true} {
			first, second := said(tag, one, early), said(tag, two, late)
			if c.earlyKnew {
				first.Knew = version.Knew{late.Datacenter: late.Time}
			}
			if c.lateKnew {
				second.Knew = version.Knew{early.Datacenter: early.Time}
			}
			order := []version.Announced{first, second}
			if reversed {
				order = []version.Announced{second, first}
			}
			apart, together := ledger("par1", w, nil), ledger("par1", w, nil)
			for _, a := range order {
				apart.Learn("mad1", []version.Announced{a}, false, nil)
			}
			together.Learn("mad1", order, false, nil)
			for _, l := range []*version.Ledger{apart, together} {
				r := l.Get(tag)
				want := version.Record{Digest: map[version.Version]digest.Digest{early: one, late: two}[c.wins], Version: c.wins}
				if c.confirmed {
					want.Version, want.Root = version.Version{Time: late.Time + 1, Datacenter: "par1"}, early
				}
				if r.Version != want.Version || r.Digest != want.Digest || r.Root != want.Root {
					t.Errorf("%s knew the other, reversed %t: it is %+v", name, reversed, r)
				}
				if all, _, _ := l.Since(0, 10); len(all) != 1 || all[0].Own != c.confirmed {
					t.Errorf("%s: told is %+v", name, all)
				}
			}
		}
	}
}

// What two edges confirm, each by a version of its own, is one answer in the end.
func TestWhatTwoEdgesConfirmIsOneAnswer(t *testing.T) {
	w := someday()
	early, late := version.Version{Time: w.UnixMilli() << 16, Datacenter: "mad1"}, version.Version{Time: w.Add(time.Minute).UnixMilli() << 16, Datacenter: "drp1"}
	first, second := said(tag, one, early), said(tag, two, late)
	first.Knew = version.Knew{late.Datacenter: late.Time}
	var told [2][]version.Announced
	edges := [2]*version.Ledger{ledger("par1", w, nil), ledger("zrh1", w, nil)}
	for i, l := range edges {
		l.Learn("mad1", []version.Announced{second, first}, false, nil)
		told[i], _, _ = l.Since(0, 10)
	}
	for i, l := range edges {
		if taken := l.Learn("other", told[1-i], false, nil); (len(taken) == 1) != (i == 0) {
			t.Errorf("edge %d takes %v", i, taken)
		}
		if r := l.Get(tag); r.Digest != one || r.Version != told[1][0].Version || r.Root != early {
			t.Errorf("edge %d has %+v", i, r)
		}
	}
}

// An announcement is late after seven seconds; a clock that is off by a quarter of an hour
// says nothing.
func TestWhatIsLate(t *testing.T) {
	for ago, late := range map[time.Duration]bool{
		-time.Minute: false, 0: false, 7 * time.Second: false, 7*time.Second + time.Millisecond: true, 15*time.Minute - time.Millisecond: true, 15 * time.Minute: false, time.Hour: false,
	} {
		w := someday()
		if got := ledger("par1", w, nil).Late(w.Add(-ago).UnixMilli() << 16); got != late {
			t.Errorf("%v ago: late %t", ago, got)
		}
	}
}

// A run over a log is named, and says where the log ended when it began.
func TestARunIsNamed(t *testing.T) {
	w, s := someday(), newDisk()
	first := ledger("par1", w, s)
	write(first, "v1", one)
	write(first, "v2", one)
	second := ledger("par1", w, s)
	a, b := first.Run(), second.Run()
	if a.Epoch != "epoch" || b.Epoch != "epoch" || a.Run == b.Run || a.Run == "" || a.Start != 0 || b.Start != 2 {
		t.Errorf("%+v, %+v", a, b)
	}
	if x, y := ledger("par1", w, nil).Run(), ledger("par1", w, nil).Run(); x.Epoch == "" || x.Epoch == y.Epoch {
		t.Error("two logs that nothing is kept of have one name")
	}
	if first.Datacenter() != "par1" {
		t.Error(first.Datacenter())
	}
	if at := first.Clock(); at >= first.Clock() || time.UnixMilli(at>>16).Sub(w.Time).Abs() > 10*time.Millisecond {
		t.Errorf("the clock says %d", at)
	}
}

// A write knows the version that it replaces, the one that this confirms, and what their edges
// knew; the first one knows nothing.
func TestWhatAWriteKnew(t *testing.T) {
	w := someday()
	l := ledger("par1", w, nil)
	if knew := l.Begin(repo, "v1").Knew; len(knew) != 0 {
		t.Errorf("of what is not there %v is known", knew)
	}
	r := said(tag, one, version.Version{Time: w.UnixMilli() << 16, Datacenter: "mad1"})
	r.Root = version.Version{Time: r.Version.Time - 5, Datacenter: "drp1"}
	r.Knew = version.Knew{"zrh1": 7, "drp1": 3}
	l.Learn("mad1", []version.Announced{r}, false, nil)
	if knew, want := l.Begin(repo, "v1").Knew, (version.Knew{"mad1": r.Version.Time, "drp1": r.Root.Time, "zrh1": 7}); !maps.Equal(knew, want) {
		t.Errorf("known is %v, want %v", knew, want)
	}
	if knew := l.Begin(repo, "").Knew; len(knew) != 0 {
		t.Errorf("of no tag %v is known", knew)
	}
	mine := write(l, "v1", two)
	if knew := l.Begin(repo, "v1").Knew; knew["par1"] != mine.Version.Time || !knew.Has(r.Version) || !knew.Has(r.Root) || knew.Has(version.Version{Time: 8, Datacenter: "zrh1"}) {
		t.Errorf("after another write it is %v", knew)
	}
}
