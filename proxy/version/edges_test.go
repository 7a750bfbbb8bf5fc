package version_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.org/breakwater/proxy/version"
)

// A clock that is ahead is followed, by 15 minutes at most; one that is behind is not.
func TestAClockThatIsAheadIsFollowed(t *testing.T) {
	for ahead, followed := range map[time.Duration]bool{
		time.Second: true, 14*time.Minute + 59*time.Second: true, 15 * time.Minute: false, time.Hour: false, -time.Minute: false,
	} {
		w := someday()
		l := ledger("par1", w, nil)
		if !l.Hear(w.Add(ahead).UnixMilli() << 16) {
			t.Errorf("%v ahead: no clock's word", ahead)
		}
		w.Time = w.Add(2 * time.Hour) // what was heard itself is past
		want := w.Time
		if followed {
			want = want.Add(ahead)
		}
		if got := moment(l.Begin(repo, "").Version); got.Sub(want).Abs() > 10*time.Millisecond {
			t.Errorf("%v ahead: two hours later it is %v here, want %v", ahead, got, want)
		}
		l.Hear(w.Add(time.Minute).UnixMilli() << 16) // another one, that is less ahead
		if got := moment(l.Begin(repo, "").Version); followed && ahead > time.Minute && got.Sub(want).Abs() > 10*time.Millisecond {
			t.Errorf("%v ahead, and another one a minute: %v, want %v", ahead, got, want)
		}
	}
	l := ledger("par1", someday(), nil)
	for _, word := range []int64{0, -1, 1 << 62} {
		if l.Hear(word) {
			t.Errorf("%d is a clock's word", word)
		}
	}
}

// A record on disk that cannot be read is none, and is replaced by the next.
func TestARecordThatCannotBeRead(t *testing.T) {
	w, s := someday(), newDisk()
	write(ledger("par1", w, s), "v1", one)
	s.values[tag.String()] = []byte(`{"d":"` + one.String() + `","v":{"t":7,"dc":"par1"},"k":[]}`) // what is known is no list
	l := ledger("par1", w, s)
	if r := l.Get(tag); r.Known() || r.Digest != "" {
		t.Errorf("it is %v", r)
	}
	write(l, "v1", two)
	if r := ledger("par1", w, s).Get(tag); r.Digest != two {
		t.Errorf("then it is %v", r)
	}
}

// What is in use is written down so once a day, and what is not there is not.
func TestUseIsNotedOnceADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := someday(), &touched{disk: newDisk()}
		l := ledger("par1", w, s)
		write(l, "v1", one)
		for _, step := range []struct {
			after   time.Duration
			touches int
		}{{0, 0}, {23 * time.Hour, 0}, {time.Hour + time.Second, 1}, {time.Second, 0}, {24*time.Hour - time.Second, 0}, {time.Second, 1}} {
			w.Time = w.Add(step.after)
			before := s.touches
			if r := l.Use(tag); r.Digest != one {
				t.Errorf("%v", r)
			}
			l.Use(version.Key{Repo: repo, Reference: "nothing"})
			synctest.Wait()
			if got := s.touches - before; got != step.touches {
				t.Errorf("%v later: written %d times", step.after, got)
			}
		}
	})
}

type touched struct {
	*disk
	touches int
}

func (d *touched) TouchVersioned(key string, value []byte) error {
	d.touches++
	return d.disk.TouchVersioned(key, value)
}

// What bounds a record that another edge says.
func TestTheBoundsOfARecord(t *testing.T) {
	good := said(tag, one, version.Version{Time: 1, Datacenter: "mad1"})
	knew := func(n int) version.Knew {
		k := version.Knew{}
		for i := range n {
			k[strings.Repeat("x", i)] = 1
		}
		return k
	}
	for name, c := range map[string]struct {
		change func(*version.Announced)
		valid  bool
	}{
		"as it is":                 {func(*version.Announced) {}, true},
		"a type of 255 letters":    {func(a *version.Announced) { a.MediaType = strings.Repeat("x", 255) }, true},
		"one of 256":               {func(a *version.Announced) { a.MediaType = strings.Repeat("x", 256) }, false},
		"a thousand datacenters":   {func(a *version.Announced) { a.Knew = knew(1000) }, true},
		"one more":                 {func(a *version.Announced) { a.Knew = knew(1001) }, false},
		"a delete":                 {func(a *version.Announced) { a.Digest = "" }, true},
		"no digest":                {func(a *version.Announced) { a.Digest = "sha256:short" }, false},
		"no version":               {func(a *version.Announced) { a.Version = version.Version{} }, false},
		"of nobody":                {func(a *version.Announced) { a.Version.Datacenter = "" }, false},
		"a digest's":               {func(a *version.Announced) { a.Reference = one.String() }, true},
		"one that was pushed anew": {func(a *version.Announced) { a.Reference = "@" + one.String() }, true},
		"of what is no digest":     {func(a *version.Announced) { a.Reference = "sha256:short" }, false},
	} {
		a := good
		c.change(&a)
		if a.Valid() != c.valid {
			t.Errorf("%s: valid %t", name, a.Valid())
		}
	}
}

// What is heard from another edge is told to the others where it replaced what they may
// not have heard of: for a minute after that was written here.
func TestWhatReplacesAnOwnVersionIsTold(t *testing.T) {
	for after, told := range map[time.Duration]bool{0: true, 59 * time.Second: true, time.Minute: false, time.Hour: false} {
		w := someday()
		l := ledger("par1", w, nil)
		r := write(l, "v1", one)
		w.Time = w.Add(after)
		l.Learn("mad1", []version.Announced{said(tag, two, version.Version{Time: r.Version.Time + int64(2*time.Hour/time.Millisecond)<<16, Datacenter: "mad1"}), said(version.Key{Repo: repo, Reference: "v2"}, two, version.Version{Time: 1, Datacenter: "mad1"})}, false, nil)
		all, _, _ := l.Since(0, 10)
		for _, a := range all {
			if want := a.Reference == "v1" && told; a.Own != want {
				t.Errorf("%v after it was written: %s is told %t", after, a.Reference, a.Own)
			}
		}
		if len(all) != 2 {
			t.Errorf("%d records", len(all))
		}
	}
}

// With a digest that is deleted here go the tags that were it: the others are told of them
// too, who may not have heard that they were. One that was claimed is so for good: an edge that
// heard of the delete alone would show the tag's version before, and the edge that had claimed it
// may be gone.
func TestTheTagsOfADeletedDigestAreTold(t *testing.T) {
	w := someday()
	l := ledger("mad1", w, nil)
	begun := w.UnixMilli() << 16
	at := func(n int64) version.Version { return version.Version{Time: begun + n, Datacenter: "par1"} }
	key := func(name string) version.Key { return version.Key{Repo: repo, Reference: name} }
	l.Learn("par1", []version.Announced{said(key("v1"), one, at(1)), said(key("v2"), two, at(2)), said(version.Key{Repo: "multi-dc-demo/other", Reference: "v4"}, one, at(3))}, false, nil)
	l.Learn("par1", []version.Announced{said(key("v3"), one, at(4))}, true, nil)
	w.Time = w.Add(time.Hour)
	remove(l, version.Buried(repo, one))
	told := map[string]bool{}
	all, _, _ := l.Since(0, 10)
	for _, a := range all {
		told[a.Reference] = a.Own
	}
	if len(all) != 5 || !told["v1"] || told["v2"] || !told["v3"] || told["v4"] || !told[one.String()] {
		t.Errorf("told are %v", told)
	}
	if _, by := l.Claim(key("v3")); by != "" || l.Withdraw(key("v3"), at(4)) || !l.Deleted(repo, l.Get(key("v3"))) {
		t.Errorf("the claimed tag is %v, claimed by %q", l.Get(key("v3")), by)
	}
	if r := l.Get(key("v1")); r.Version != at(1) || r.Digest != one {
		t.Errorf("the tag's version is %v", r)
	}
}
