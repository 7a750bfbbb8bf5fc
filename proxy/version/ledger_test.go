package version_test

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/version"
)

// disk is a State that a test can make refuse.
type disk struct {
	values map[string][]byte
	at     map[string]uint64
	last   uint64
	heard  map[string]version.Heard
	full   bool
	writes int
}

func newDisk() *disk {
	return &disk{values: map[string][]byte{}, at: map[string]uint64{}, heard: map[string]version.Heard{}}
}

func (d *disk) Epoch() string                           { return "epoch" }
func (d *disk) Versioned(key string) ([]byte, bool)     { return d.values[key], true }
func (d *disk) HeardOf(datacenter string) version.Heard { return d.heard[datacenter] }
func (d *disk) ForgetHeard() error                      { clear(d.heard); return nil }
func (d *disk) EachVersioned(p string, do func(string, []byte)) {
	for _, key := range slices.Sorted(maps.Keys(d.values)) {
		if strings.HasPrefix(key, p) {
			do(key, d.values[key])
		}
	}
}

func (d *disk) PutVersioned(values map[string][]byte, heard *version.Heard) error {
	if d.writes++; d.full {
		return errFull
	}
	for key, value := range values {
		if value == nil {
			delete(d.values, key)
			delete(d.at, key)
			continue
		}
		d.last++
		d.values[key], d.at[key] = value, d.last
	}
	if heard != nil {
		d.heard[heard.Datacenter] = *heard
	}
	return nil
}

func (d *disk) TouchVersioned(key string, value []byte) error {
	if d.full {
		return errFull
	}
	if _, ok := d.values[key]; ok {
		d.values[key] = value
	}
	return nil
}

func (d *disk) Since(position uint64, most int, do func(uint64, string, []byte)) uint64 {
	var keys []string
	for key, at := range d.at {
		if at > position {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, func(a, b string) int { return cmp.Compare(d.at[a], d.at[b]) })
	for _, key := range keys[:min(most, len(keys))] {
		do(d.at[key], key, d.values[key])
	}
	return d.last
}

// What the disk refuses counts as long as the edge runs, and is written with the next
// write that the disk takes.
func TestADiskThatIsFull(t *testing.T) {
	w, s := someday(), newDisk()
	l := ledger("par1", w, s)
	write(l, "v0", one)
	s.full = true
	write(l, "v1", one)
	write(l, "v1", two)
	remove(l, version.Key{Repo: repo, Reference: "v0"})
	other := "multi-dc-other/app"
	l.Write(other, "w1", one, "type", l.Begin(other, "w1"))
	if tags := l.Tags(other); len(tags) != 1 || tags["w1"].Digest != one {
		t.Errorf("another repo: %v", tags)
	}
	tags := l.Tags(repo)
	if len(tags) != 2 || l.Get(tag).Digest != two || tags["v1"].Digest != two || !tags["v0"].Deleted() || !tags["v0"].Known() {
		t.Errorf("while it is full: %v", tags)
	}
	if r := ledger("par1", w, s).Get(tag); r.Known() {
		t.Errorf("it was full, and has %v", r)
	}
	s.full = false
	write(l, "v2", six)
	tags = ledger("par1", w, s).Tags(repo)
	if tags["v1"].Digest != two || tags["v2"].Digest != six || !tags["v0"].Deleted() || len(tags) != 3 {
		t.Errorf("on disk: %v", tags)
	}
	if all, _, _ := l.Since(0, 10); len(all) != 4 {
		t.Errorf("the peers are told %v", all)
	}
	write(l, "v1", six)
	write(l, "v3", six)
	if r := ledger("par1", w, s).Get(tag); r.Digest != six {
		t.Errorf("what waited for the disk has come back: %v", r)
	}
}

// What waits for a full disk is bounded, and of each reference it is the newest.
func TestMuchThatWaitsForTheDisk(t *testing.T) {
	w, s := someday(), newDisk()
	l := ledger("par1", w, s)
	s.full = true
	var all []version.Announced
	for i := range 20000 {
		all = append(all, said(version.Key{Repo: repo, Reference: fmt.Sprint("v", i)}, one, version.Version{Time: 1, Datacenter: "mad1"}))
	}
	l.Learn("mad1", all, false, nil)
	before := len(l.Tags(repo))
	for i := range 20 {
		write(l, fmt.Sprint("v", i), two)
	}
	s.full = false
	write(l, "last", one)
	again := ledger("par1", w, s)
	for i := range 20 {
		if r := again.Get(version.Key{Repo: repo, Reference: fmt.Sprint("v", i)}); r.Known() && r.Digest != two {
			t.Fatalf("v%d is an older version than was acknowledged: %v", i, r)
		}
	}
	if before >= len(all) || len(s.values) != before+1 {
		t.Errorf("%d waited, %d are on disk", before, len(s.values))
	}
}

// A tag that is retired while the disk is full is not there again when it takes writes.
func TestWhatIsRetiredWhileTheDiskIsFullStaysSo(t *testing.T) {
	w, s := someday(), newDisk()
	l := ledger("par1", w, s)
	v := write(l, "v1", one).Version
	s.full = true
	l.Retire(tag, v)
	if l.Get(tag).Known() || l.Tags(repo)["v1"].Known() {
		t.Error("it is there still")
	}
	s.full = false
	write(l, "v2", one)
	if r := ledger("par1", w, s).Get(tag); r.Known() {
		t.Errorf("it came back: %v", r)
	}
}

// Changed is told of what is on disk, and before the client hears of it.
func TestChangedIsToldWhatIsWritten(t *testing.T) {
	s := newDisk()
	var told []string
	l := version.New(version.Config{Datacenter: "par1", State: s, Log: slog.New(slog.DiscardHandler), Now: someday().now,
		Changed: func(all map[version.Key]version.Record, own bool) {
			for key, r := range all {
				told = append(told, fmt.Sprint(key.Reference, " ", r.Digest == one, own, s.values[key.String()] != nil))
			}
		}})
	v := write(l, "v1", one).Version
	l.Learn("mad1", []version.Announced{said(version.Key{Repo: repo, Reference: "v2"}, one, v)}, true, nil)
	l.Learn("mad1", []version.Announced{said(version.Key{Repo: repo, Reference: "v2"}, two, v)}, true, nil) // it is known
	remove(l, tag)
	want := []string{"v1 true true true", "v2 true false true", "v1 false true true"}
	if !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
}

func TestHowFarAPeersLogWasHeard(t *testing.T) {
	w, s := someday(), newDisk()
	l := ledger("par1", w, s)
	if h := l.HeardOf("mad1"); h != (version.Heard{Datacenter: "mad1"}) {
		t.Errorf("%v", h)
	}
	heard := version.Heard{Datacenter: "mad1", Epoch: "e", Position: 7}
	v := version.Version{Time: w.UnixMilli() << 16, Datacenter: "mad1"}
	l.Learn("mad1", []version.Announced{said(tag, one, v)}, true, &heard)
	for name, l := range map[string]*version.Ledger{"now": l, "after a restart": ledger("par1", w, s)} {
		if h := l.HeardOf("mad1"); h != heard {
			t.Errorf("%s: %v", name, h)
		}
		if !l.Claimed(tag) {
			t.Errorf("%s it is taken for certain", name)
		}
	}
	before := s.writes
	next := version.Heard{Datacenter: "mad1", Epoch: "e", Position: 9}
	if l.Learn("mad1", []version.Announced{said(tag, one, v)}, true, &next); l.HeardOf("mad1") != next || s.writes != before {
		t.Errorf("what says nothing new: %v, and %d writes", l.HeardOf("mad1"), s.writes-before)
	}
}

// What finds no room while the disk refuses was not heard: it is told again.
func TestWhatFindsNoRoomIsToldAgain(t *testing.T) {
	w, s := someday(), newDisk()
	l := ledger("par1", w, s)
	s.full = true
	n := 0
	learn := func(many int) uint64 {
		heard := l.HeardOf("mad1")
		var all []version.Announced
		for range many {
			n++
			all = append(all, said(version.Key{Repo: repo, Reference: fmt.Sprint("v", n)}, one, version.Version{Time: w.UnixMilli() << 16, Datacenter: "mad1"}))
		}
		heard.Position += uint64(many)
		l.Learn("mad1", all, true, &heard)
		if got := l.HeardOf("mad1").Position; got != heard.Position {
			t.Errorf("heard up to %d, and said to be %d", got, heard.Position)
		}
		return heard.Position
	}
	for want := uint64(4000); want <= 16000; want += 4000 { // 16,384 may wait
		if got := learn(4000); got != want {
			t.Fatalf("%d wait, and it is heard up to %d", want, got)
		}
	}
	if got := learn(500); got != 16000 || l.Get(version.Key{Repo: repo, Reference: "v16500"}).Known() {
		t.Errorf("it is heard up to %d", got)
	}
	s.full, n = false, n-500
	if got := learn(500); got != 16500 {
		t.Errorf("told again: it is heard up to %d", got)
	}
	after := ledger("par1", w, s)
	for i := range n {
		if name := fmt.Sprint("v", i+1); !after.Get(version.Key{Repo: repo, Reference: name}).Known() {
			t.Fatalf("after a restart %s is not known", name)
		}
	}
}

// Where all is to be heard anew, neither a restart nor what was being learned meanwhile goes back
// to how far it was heard before.
func TestWhatIsToBeHeardAnew(t *testing.T) {
	w, s := someday(), newDisk()
	l := ledger("par1", w, s)
	learn := func(heard version.Heard, position uint64, key version.Key) {
		heard.Position = position
		l.Learn("mad1", []version.Announced{said(key, one, version.Version{Time: w.UnixMilli()<<16 + int64(position), Datacenter: "mad1"})}, true, &heard)
	}
	is := func(when string, want uint64) {
		t.Helper()
		for name, l := range map[string]*version.Ledger{"now": l, "after a restart": ledger("par1", w, s)} {
			if got := l.HeardOf("mad1").Position; got != want {
				t.Errorf("%s, %s: heard up to %d, want %d", when, name, got, want)
			}
		}
	}
	other := version.Key{Repo: repo, Reference: "other"}
	learn(l.HeardOf("mad1"), 7, tag)
	is("before", 7)
	before := l.HeardOf("mad1")
	if err := l.HearAnew(); err != nil {
		t.Fatal(err)
	}
	is("anew", 0)
	learn(before, 8, other)
	is("what was being learned", 0)
	if r := l.Get(other); !r.Known() {
		t.Error("it is not taken")
	}
	learn(l.HeardOf("mad1"), 3, version.Key{Repo: repo, Reference: "third"})
	is("heard again", 3)
}

func TestSinceTellsInOrderAndNoClaims(t *testing.T) {
	w := someday()
	l := ledger("par1", w, nil)
	for i := range 5 {
		write(l, fmt.Sprint("v", i), one)
	}
	write(l, "v1", two) // moves to the end of the log
	l.Learn("mad1", []version.Announced{said(version.Key{Repo: repo, Reference: "claimed"}, one, version.Version{Time: 1, Datacenter: "mad1"})}, true, nil)
	var order []string
	position, last := uint64(0), uint64(1)
	for position < last {
		var all []version.Announced
		before := position
		if all, position, last = l.Since(position, 2); position <= before || len(all) > 2 {
			t.Fatalf("after %d: %d records until %d", before, len(all), position)
		}
		for _, a := range all {
			order = append(order, a.Reference)
			if !a.Valid() {
				t.Errorf("it tells what no edge would take: %v", a)
			}
		}
	}
	if want := []string{"v0", "v2", "v3", "v4", "v1"}; !slices.Equal(order, want) {
		t.Errorf("told %v, want %v", order, want)
	}
}

func TestWhatNobodyAsksAboutIsForgotten(t *testing.T) { synctest.Test(t, forgets) }

func forgets(t *testing.T) {
	w, s := someday(), newDisk()
	l := ledger("par1", w, s)
	write(l, "used", one)
	write(l, "unused", two)
	remove(l, version.Buried(repo, six))
	each := func() (all []string) {
		l.Expire()
		l.Each(func(key version.Key, r version.Record, claimedBy string) { all = append(all, key.Reference) })
		return all
	}
	const day = 24 * time.Hour
	for _, step := range []struct {
		after time.Duration
		use   bool
		stay  int
	}{{45 * day, true, 3}, {45 * day, false, 3}, {time.Second, false, 1}, {45*day - time.Second, false, 1}, {time.Second, false, 0}} {
		w.Time = w.Add(step.after)
		if step.use {
			l.Use(version.Key{Repo: repo, Reference: "used"})
			synctest.Wait()
		}
		all, before := each(), s.writes
		if len(all) != step.stay || len(s.values) != step.stay || step.stay == 1 && all[0] != "used" {
			t.Errorf("%v later there are %v, the disk has %d", step.after, all, len(s.values))
		}
		if each(); s.writes != before {
			t.Errorf("%v later nothing is to be forgotten, and it is written", step.after)
		}
	}
	if l.Get(version.Key{Repo: repo, Reference: "unused"}).Known() {
		t.Error("it is in memory still")
	}
}

func TestWhatIsNoRecordIsNotValid(t *testing.T) {
	v := version.Version{Time: 1, Datacenter: "mad1"}
	for name, a := range map[string]version.Announced{
		"no version": said(tag, one, version.Version{}), "nobody's": said(tag, one, version.Version{Time: 1}), "before time": said(tag, one, version.Version{Time: -1, Datacenter: "x"}),
		"after all time": said(tag, one, version.Version{Time: 1 << 62, Datacenter: "x"}), "no digest": said(tag, "sha256:x", v),
		"of no digest": said(version.Key{Repo: repo, Reference: "sha256:x"}, "", v), "of no revived digest": said(version.Key{Repo: repo, Reference: "@sha256:x"}, one, v),
	} {
		if a.Valid() {
			t.Errorf("%s: %v is valid", name, a)
		}
	}
	for _, a := range []version.Announced{said(tag, one, v), said(tag, "", v), said(version.Buried(repo, one), "", v), said(version.Revived(repo, one), one, v)} {
		if !a.Valid() {
			t.Errorf("%v is not valid", a)
		}
	}
}

func TestManyWriteAtOnce(t *testing.T) {
	l := ledger("par1", someday(), nil)
	done := make(chan version.Version)
	for i := range 50 {
		go func() { done <- write(l, "v1", digest.FromString(fmt.Sprint(i))).Version }()
	}
	seen := map[version.Version]bool{}
	var newest version.Version
	for range 50 {
		v := <-done
		if seen[v] {
			t.Errorf("%v twice", v)
		}
		if seen[v] = true; v.Newer(newest) {
			newest = v
		}
	}
	if l.Get(tag).Version != newest {
		t.Errorf("it has %v, the newest is %v", l.Get(tag).Version, newest)
	}
}

var errFull = errors.New("no space left on device")
