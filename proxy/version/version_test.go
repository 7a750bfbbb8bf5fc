package version_test

import (
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/version"
)

const repo = "multi-dc-demo/app"

var (
	tag           = version.Key{Repo: repo, Reference: "v1"}
	one, two, six = digest.FromString("one"), digest.FromString("two"), digest.FromString("six")
)

// wall is a clock that a test sets.
type wall struct{ time.Time }

func (w *wall) now() time.Time { return w.Time }

func someday() *wall { return &wall{time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)} }

func ledger(datacenter string, w *wall, s version.State) *version.Ledger {
	return version.New(version.Config{Datacenter: datacenter, State: s, Log: slog.New(slog.DiscardHandler), Now: w.now})
}

func said(key version.Key, d digest.Digest, v version.Version) version.Announced {
	return version.Announced{Repo: key.Repo, Reference: key.Reference, Record: version.Record{Digest: d, MediaType: "type", Version: v}}
}

// write is a push, and remove a delete, that begins and ends now.
func write(l *version.Ledger, tag string, d digest.Digest) version.Record {
	r, _ := l.Write(repo, tag, d, "type", l.Pushes(repo, d, l.Begin(repo, tag)))
	return r
}

func remove(l *version.Ledger, key version.Key) version.Version {
	b := l.Begin(key.Repo, "")
	l.Delete(key, b.Version)
	return b.Version
}

// moment is the time of a version, by the clock of the edge that made it.
func moment(v version.Version) time.Time { return time.UnixMilli(v.Time >> 16) }

func TestVersionsAreOrderedByTimeThenDatacenter(t *testing.T) {
	order := []version.Version{{}, {Time: 1, Datacenter: "par1"}, {Time: 2, Datacenter: "drp1"}, {Time: 2, Datacenter: "mad1"}, {Time: 3, Datacenter: "a"}}
	for i, v := range order {
		for j, other := range order {
			if got, want := v.Newer(other), i > j; got != want {
				t.Errorf("%v newer than %v: %v", v, other, got)
			}
		}
	}
}

func TestParseMarkIsTheInverseOfMark(t *testing.T) {
	v := version.Version{Time: 1<<62 - 1, Datacenter: "x-y"}
	for _, r := range []version.Record{{Version: version.Version{Time: 1, Datacenter: "par1"}}, {Digest: one, MediaType: "type", Version: v, Root: v, After: v, Blind: true, Claimed: true, Knew: version.Knew{"mad1": 3}}} {
		if got, err := version.ParseMark(r.Mark()); err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("%v: %v, %v", r, got, err)
		}
	}
	for _, text := range []string{"", "{}", "x", "[]", "1@par1", `{"v":{"t":0,"dc":"par1"}}`, `{"v":{"t":-1,"dc":"par1"}}`, `{"v":{"t":1}}`, `{"v":{"t":4611686018427387904,"dc":"par1"}}`} {
		if r, err := version.ParseMark(text); err == nil || r.Known() {
			t.Errorf("%q is %v", text, r)
		}
	}
}

// What this edge writes is newer than all that it has seen, whatever its clock says.
func TestAWrongClockMakesNoOlderVersion(t *testing.T) {
	w := someday()
	l := ledger("par1", w, nil)
	before := write(l, "v1", one).Version
	if at := moment(before); at.Before(w.Time) || at.Sub(w.Time) > time.Second {
		t.Errorf("made at %v, and says %v", w.Time, at)
	}
	w.Time = w.Add(-time.Hour)
	again := write(l, "v1", two).Version
	if !again.Newer(before) {
		t.Errorf("the clock was put back: %v is not newer than %v", again, before)
	}
	ahead := version.Version{Time: w.Add(24*time.Hour).UnixMilli() << 16, Datacenter: "mad1"}
	l.Learn("mad1", []version.Announced{said(version.Key{Repo: repo, Reference: "other"}, one, ahead)}, false, nil)
	if after := write(l, "v1", six).Version; !after.Newer(ahead) {
		t.Errorf("%v is not newer than another edge's %v", after, ahead)
	}
	seen := version.Version{Time: ahead.Time + 1000, Datacenter: "mad1"}
	if l.Hear(0) || l.Hear(-1) || l.Hear(1<<62) || !l.Hear(seen.Time) {
		t.Error("what can be a clock's word is heard, and nothing else")
	}
	if gone := remove(l, tag); !gone.Newer(seen) {
		t.Errorf("the delete's %v is not newer than %v", gone, seen)
	}
}

// A restart with a clock that was put back: what replaces a record is newer than it.
func TestAfterARestartVersionsGoOn(t *testing.T) {
	w, s := someday(), newDisk()
	before := write(ledger("par1", w, s), "v1", one).Version
	w.Time = w.Add(-time.Hour)
	l := ledger("par1", w, s)
	if r := l.Get(tag); r.Digest != one || r.MediaType != "type" || r.Version != before {
		t.Errorf("it has %v", r)
	}
	if gone := remove(l, version.Buried(repo, one)); !gone.Newer(before) {
		t.Errorf("a delete of the digest: %v, and the tag's is %v", gone, before)
	}
	if !l.Deleted(repo, l.Get(tag)) {
		t.Error("the tag outlives its digest's delete")
	}
}

func TestOfTwoVersionsTheNewerIsLearned(t *testing.T) {
	w := someday()
	at := func(n int64, datacenter string) version.Version {
		return version.Version{Time: w.UnixMilli()<<16 + n, Datacenter: datacenter}
	}
	all := []version.Announced{said(tag, one, at(1, "par1")), said(tag, two, at(2, "mad1")), said(tag, six, at(2, "par1")), said(tag, "", at(1, "zrh1"))}
	for shift := range all { // in whatever order
		l := ledger("drp1", w, nil)
		for i := range all {
			l.Learn("mad1", all[(i+shift)%len(all):][:1], false, nil)
		}
		if r := l.Get(tag); r.Digest != six || r.Version != at(2, "par1") {
			t.Errorf("shifted by %d: %v", shift, r)
		}
	}
	l := ledger("drp1", w, nil)
	if taken := l.Learn("mad1", all, false, nil); len(taken) != 3 || l.Get(tag).Digest != six {
		t.Errorf("in one batch: took %v, has %v", taken, l.Get(tag))
	}
	if taken := l.Learn("mad1", all, false, nil); len(taken) != 0 {
		t.Errorf("a second time: took %v", taken)
	}
}

func TestADeleteOfADigestTakesItsTagsAlong(t *testing.T) {
	l := ledger("par1", someday(), nil)
	write(l, "v1", one)
	write(l, "latest", one)
	write(l, "v2", two)
	remove(l, version.Buried(repo, one))
	tags := l.Tags(repo)
	if !tags["v1"].Deleted() || !tags["v1"].Known() || !tags["latest"].Deleted() || tags["v2"].Digest != two || len(tags) != 3 {
		t.Errorf("after the delete: %v", tags)
	}
	if !l.Gone(repo, one) || l.Gone(repo, two) || l.Gone("multi-dc-demo/other", one) {
		t.Error("another digest is gone than the one that was deleted")
	}
	if r := write(l, "v3", one); !r.Known() || l.Gone(repo, one) {
		t.Error("a push under another tag does not end the delete")
	}
	if tags := l.Tags(repo); !tags["v1"].Deleted() || tags["v3"].Digest != one {
		t.Errorf("a push of a deleted digest under another tag: %v", tags)
	}
	remove(l, version.Buried(repo, one))
	if !l.Gone(repo, one) || !l.Deleted(repo, l.Get(version.Key{Repo: repo, Reference: "v3"})) {
		t.Error("it cannot be deleted again")
	}
	if r := write(l, "", one); !r.Known() || l.Gone(repo, one) {
		t.Error("a push by the digest does not end the delete")
	}
}

// Two edges hear of a digest's delete and of the push after it in either order.
func TestDeleteAndPushAgainInEitherOrder(t *testing.T) {
	from := ledger("par1", someday(), nil)
	write(from, "v1", one)
	remove(from, version.Buried(repo, one))
	write(from, "v1", one)
	all, _, _ := from.Since(0, 100)
	if len(all) != 3 {
		t.Fatalf("it tells %v", all)
	}
	for range 2 {
		l := ledger("mad1", someday(), nil)
		for i := range all {
			l.Learn("mad1", all[i:i+1], false, nil)
		}
		if l.Gone(repo, one) || l.Tags(repo)["v1"].Digest != one {
			t.Errorf("%v", l.Tags(repo))
		}
		slices.Reverse(all)
	}
}

func TestADeleteOfATagLeavesItsDigest(t *testing.T) {
	l := ledger("par1", someday(), nil)
	write(l, "v1", one)
	write(l, "v2", one)
	remove(l, tag)
	if tags := l.Tags(repo); !tags["v1"].Deleted() || tags["v2"].Digest != one || l.Gone(repo, one) {
		t.Errorf("%v, gone %v", tags, l.Gone(repo, one))
	}
}

func TestWhatATagWasBeforeIsRemembered(t *testing.T) {
	l := ledger("par1", someday(), nil)
	for _, d := range []digest.Digest{one, two, six} {
		write(l, "v1", d)
	}
	if !l.Had(tag, one) || !l.Had(tag, two) || l.Had(tag, six) {
		t.Error("had: wrong")
	}
	write(l, "v1", one)
	if l.Had(tag, one) || !l.Had(tag, six) {
		t.Error("what it is again is not of the past")
	}
	for i := range 200 { // bounded, the latest stay
		write(l, "v1", digest.FromString(fmt.Sprint(i)))
	}
	if l.Had(tag, two) || !l.Had(tag, digest.FromString("198")) {
		t.Error("the latest are to stay, and no others")
	}
}

func TestAClaimIsWithdrawnToWhatWasCertain(t *testing.T) {
	w := someday()
	l := ledger("par1", w, newDisk())
	certain := write(l, "v1", one)
	first, second := version.Version{Time: certain.Version.Time + 1, Datacenter: "mad1"}, version.Version{Time: certain.Version.Time + 2, Datacenter: "drp1"}
	l.Learn("mad1", []version.Announced{said(tag, two, first)}, true, nil)
	l.Learn("mad1", []version.Announced{said(tag, six, second)}, true, nil)
	if r := l.Get(tag); r.Digest != six || !l.Claimed(tag) {
		t.Errorf("a claim counts at once: %v", r)
	}
	if l.Withdraw(tag, first) {
		t.Error("another version than the one that is claimed was withdrawn")
	}
	if !l.Withdraw(tag, second) || l.Get(tag).Version != certain.Version || l.Get(tag).Digest != one || l.Claimed(tag) {
		t.Errorf("withdrawn: %v, want %v", l.Get(tag), certain)
	}
	if l.Withdraw(tag, certain.Version) {
		t.Error("what is certain was withdrawn")
	}
	other := version.Key{Repo: repo, Reference: "other"}
	l.Learn("mad1", []version.Announced{said(other, two, first)}, true, nil)
	if taken := l.Learn("mad1", []version.Announced{said(other, six, first)}, false, nil); len(taken) != 0 || !l.Claimed(other) {
		t.Error("another digest makes the claim certain")
	}
	l.Learn("mad1", []version.Announced{said(other, two, first)}, false, nil)
	if l.Claimed(other) || l.Withdraw(other, first) || l.Get(other).Digest != two {
		t.Error("a claim that was shown to be true is withdrawn all the same")
	}
	fresh := version.Key{Repo: repo, Reference: "fresh"}
	l.Learn("mad1", []version.Announced{said(fresh, two, first)}, true, nil)
	if !l.Withdraw(fresh, first) || l.Get(fresh).Known() {
		t.Errorf("there was nothing before: %v", l.Get(fresh))
	}
}

func TestRetireForgetsExactlyThatVersion(t *testing.T) {
	l := ledger("par1", someday(), nil)
	before := write(l, "v1", one).Version
	after := write(l, "v1", two).Version
	if l.Retire(tag, before); l.Get(tag).Digest != two {
		t.Error("a newer version was retired")
	}
	if l.Retire(tag, after); l.Get(tag).Known() {
		t.Errorf("%v", l.Get(tag))
	}
	if all, _, _ := l.Since(0, 100); len(all) > 0 {
		t.Errorf("others are told of it: %v", all)
	}
}

// A push is newer than a delete of its digest that its edge has not heard of: whoever
// hears of both, in whatever order, still has it.
func TestAPushThatDidNotHearOfADelete(t *testing.T) {
	w := someday()
	par1, mad1 := ledger("par1", w, nil), ledger("mad1", w, nil)
	shared := write(par1, "v1", one)
	mad1.Learn("mad1", []version.Announced{{Repo: repo, Reference: "v1", Record: shared}}, false, nil)
	remove(par1, version.Buried(repo, one)) // in a partition
	w.Time = w.Add(time.Minute)
	write(mad1, "v1", one)
	deleted, _, _ := par1.Since(0, 100)
	pushed, _, _ := mad1.Since(0, 100)
	par1.Learn("mad1", pushed, true, nil)
	mad1.Learn("par1", deleted, true, nil)
	third := ledger("drp1", w, nil)
	third.Learn("mad1", deleted, true, nil)
	third.Learn("mad1", pushed, true, nil)
	for name, l := range map[string]*version.Ledger{"par1": par1, "mad1": mad1, "drp1": third} {
		if l.Gone(repo, one) || l.Tags(repo)["v1"].Digest != one {
			t.Errorf("%s: gone %v, %v", name, l.Gone(repo, one), l.Tags(repo))
		}
	}
}

// The same where the deleting edge's clock is ahead: what it knew says what it deleted.
func TestADeleteByAClockThatIsAheadTakesWhatItKnew(t *testing.T) {
	ahead, w := someday(), someday()
	ahead.Time = ahead.Add(10 * time.Minute)
	par1, mad1 := ledger("par1", ahead, nil), ledger("mad1", w, nil)
	shared := write(par1, "v1", one)
	mad1.Learn("mad1", []version.Announced{{Repo: repo, Reference: "v1", Record: shared}}, false, nil)
	again := ledger("drp1", w, nil).Begin(repo, "v2").Version // a push of a third edge, that has heard of neither
	remove(par1, version.Buried(repo, one))
	deleted, _, _ := par1.Since(0, 100)
	mad1.Learn("mad1", deleted, false, nil)
	if !mad1.Gone(repo, one) || !mad1.Tags(repo)["v1"].Deleted() {
		t.Fatal("what was known is not deleted")
	}
	pushed := []version.Announced{said(version.Key{Repo: repo, Reference: "v2"}, two, again)}
	for name, l := range map[string]*version.Ledger{"par1": par1, "mad1": mad1} {
		l.Learn("mad1", pushed, false, nil)
		if l.Gone(repo, two) || l.Tags(repo)["v2"].Digest != two || !l.Gone(repo, one) {
			t.Errorf("%s: %v", name, l.Tags(repo))
		}
		later := write(l, "v1", one)
		if l.Gone(repo, one) || l.Tags(repo)["v1"].Digest != one || later.After == (version.Version{}) {
			t.Errorf("%s: pushed again, after the delete: %v", name, l.Tags(repo))
		}
	}
}

// A delete of what had no version takes whatever was not pushed after it.
func TestADeleteOfWhatHadNoVersion(t *testing.T) {
	w := someday()
	par1, mad1 := ledger("par1", w, nil), ledger("mad1", w, nil)
	write(mad1, "v0", one) // that par1 has not heard of
	w.Time = w.Add(time.Second)
	remove(par1, version.Buried(repo, one))
	deleted, _, _ := par1.Since(0, 100)
	mad1.Learn("mad1", deleted, false, nil)
	if !par1.Gone(repo, one) || !mad1.Gone(repo, one) || !mad1.Tags(repo)["v0"].Deleted() {
		t.Error("it is not gone")
	}
	write(mad1, "v1", one)
	pushed, _, _ := mad1.Since(0, 100)
	par1.Learn("mad1", pushed, false, nil)
	if par1.Gone(repo, one) || mad1.Gone(repo, one) || par1.Tags(repo)["v1"].Digest != one {
		t.Error("it was pushed again, and is gone")
	}
}
