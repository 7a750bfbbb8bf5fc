package version_test

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/version"
)

// Where another datacenter's Harbor takes a push, the edge there may tell of it before this
// one has noted it.
func TestAPushThatItsPeerToldFirstIsOwn(t *testing.T) {
	l := ledger("drp1", someday(), nil)
	begun := l.Pushes(repo, two, l.Begin(repo, tag.Reference))
	l.Learn("par1", []version.Announced{said(tag, two, begun.Version)}, true, nil)
	r, newest := l.Write(repo, tag.Reference, two, "type", begun)
	if _, by := l.Claim(tag); !newest || by != "" || l.Withdraw(tag, r.Version) {
		t.Errorf("what a client was answered: newest %v, claimed by %q", newest, by)
	}
	if all, _, _ := l.Since(0, 10); len(all) != 1 || !all[0].Own || all[0].Version != r.Version {
		t.Errorf("it tells %v", all)
	}
}

// Also where an edge tells the others of a claim, because they may not have heard of what it
// replaces, the edge that it heard it from is who has to show it.
func TestAClaimIsOfTheEdgeThatMadeIt(t *testing.T) {
	l := ledger("drp1", someday(), nil)
	write(l, tag.Reference, one)
	begun := l.Begin(repo, tag.Reference)
	l.Learn("par1", []version.Announced{said(tag, two, begun.Version)}, true, nil) // drp1's own push, of which it died
	if _, by := l.Claim(tag); by != "par1" {
		t.Errorf("claimed by %q, not by par1", by)
	}
	if all, _, _ := l.Since(0, 10); len(all) != 1 || !all[0].Own {
		t.Errorf("the others are told %v", all)
	}
}

// A push comes by an edge that has not heard of the digest's delete, to one that has.
func TestAPushByAPeerThatDidNotHearOfADelete(t *testing.T) {
	w := someday()
	par1, mad1 := ledger("par1", w, nil), ledger("mad1", w, nil)
	write(mad1, tag.Reference, one)
	remove(mad1, version.Buried(repo, one))
	if !mad1.Gone(repo, one) {
		t.Fatal("it is not deleted")
	}
	w.Time = w.Add(time.Second)
	begun := par1.Pushes(repo, one, par1.Begin(repo, tag.Reference))
	if r, newest := mad1.Write(repo, tag.Reference, one, "type", begun); !newest || mad1.Gone(repo, one) || mad1.Deleted(repo, r) {
		t.Errorf("pushed again: newest %v, gone %v", newest, mad1.Gone(repo, one))
	}
}

// What was overtaken before it was heard of, an own push or another edge's, is known to be
// no news. It makes no other version, and is not told to anybody.
func TestWhatWasOvertakenIsKnown(t *testing.T) {
	changed := 0
	l := version.New(version.Config{Datacenter: "par1", Log: slog.New(slog.DiscardHandler), Now: someday().now, Changed: func(map[version.Key]version.Record, bool) { changed++ }})
	slow := l.Begin(repo, tag.Reference)
	newest := write(l, tag.Reference, two)
	before := changed
	if _, ok := l.Write(repo, tag.Reference, one, "type", slow); ok {
		t.Error("the push that began first counts as the newest")
	}
	l.Learn("mad1", []version.Announced{said(tag, six, version.Version{Time: 1, Datacenter: "mad1"})}, true, nil)
	l.Learn("mad1", []version.Announced{said(tag, "", version.Version{Time: 2, Datacenter: "mad1"})}, true, nil)
	if !l.Had(tag, one) || !l.Had(tag, six) || l.Had(tag, two) || l.Had(tag, "") {
		t.Errorf("it had one %v, six %v, two %v", l.Had(tag, one), l.Had(tag, six), l.Had(tag, two))
	}
	if r := l.Get(tag); r.Version != newest.Version || r.Digest != two || changed != before {
		t.Errorf("it is %v, told %d times", r, changed-before)
	}
}

// A push that is noted late, of a digest whose delete did not know of it, makes the digest be
// there again, and not the tag what it was.
func TestALatePushOfADeletedDigestMovesNoTag(t *testing.T) {
	l := ledger("mad1", someday(), nil)
	late := l.Begin(repo, tag.Reference)
	write(l, tag.Reference, one)
	remove(l, version.Buried(repo, one))
	r := write(l, tag.Reference, two)
	late.Version.Datacenter = "par1"
	if _, newest := l.Write(repo, tag.Reference, one, "type", late); newest {
		t.Error("it counts as the newest")
	}
	if now := l.Get(tag); now.Version != r.Version || l.Gone(repo, one) {
		t.Errorf("the tag is %v, the digest gone: %v", now, l.Gone(repo, one))
	}
}

// A Harbor tells late of a push that was overtaken, and its edge has not heard of any of it.
// What that edge makes of it is no news to one that knows better, in whichever order the two
// hear of each other; a push through an edge always is.
func TestWhatAHarborTellsLateOfReturnsNowhere(t *testing.T) {
	for _, adopted := range []bool{true, false} {
		w := someday()
		par1, mad1 := ledger("par1", w, nil), ledger("mad1", w, nil)
		write(par1, tag.Reference, one)
		write(par1, tag.Reference, two)
		w.Time = w.Add(time.Minute)
		b := mad1.Pushes(repo, one, mad1.Begin(repo, tag.Reference))
		b.Adopted = adopted
		mad1.Write(repo, tag.Reference, one, "type", b)
		exchange(par1, mad1)
		want := one
		if adopted {
			want = two
		}
		if p, m := par1.Get(tag), mad1.Get(tag); p.Digest != want || m.Digest != want || p.Version != m.Version {
			t.Errorf("adopted %v: par1 says %v, mad1 says %v", adopted, p, m)
		}
	}
}

// Two edges each find at their Harbors what the other knows to be overtaken: they agree.
func TestTwoThatFindWhatTheOtherHadAgree(t *testing.T) {
	w := someday()
	par1, mad1 := ledger("par1", w, nil), ledger("mad1", w, nil)
	for l, digests := range map[*version.Ledger][]digest.Digest{par1: {one, two}, mad1: {two, one}} {
		write(l, tag.Reference, digests[0])
		b := l.Pushes(repo, digests[1], l.Begin(repo, tag.Reference))
		b.Adopted = true
		l.Write(repo, tag.Reference, digests[1], "type", b)
	}
	for range 3 {
		exchange(par1, mad1)
	}
	rests := par1.Get(tag).Version
	exchange(par1, mad1)
	if p, m := par1.Get(tag), mad1.Get(tag); p.Digest != m.Digest || p.Version != m.Version || p.Version != rests {
		t.Errorf("par1 says %v, mad1 says %v, and before %v", p, m, rests)
	}
}

// exchange has each hear all of the other, twice.
func exchange(a, b *version.Ledger) {
	for range 2 {
		all, _, _ := a.Since(0, 100)
		b.Learn(a.Datacenter(), all, false, nil)
		all, _, _ = b.Since(0, 100)
		a.Learn(b.Datacenter(), all, false, nil)
	}
}

// Who deletes a digest that a tag no longer is deletes what was pushed until then, and not
// what another edge pushes that has not heard of the delete.
func TestADeleteOfWhatATagWasTakesNoPushThatItDidNotKnow(t *testing.T) {
	w := someday()
	par1, mad1 := ledger("par1", w, nil), ledger("mad1", w, nil)
	write(par1, tag.Reference, one)
	write(par1, tag.Reference, two)
	exchange(par1, mad1)
	remove(par1, version.Buried(repo, one))
	w.Time = w.Add(time.Second)
	r := write(mad1, tag.Reference, one)
	exchange(par1, mad1)
	for name, l := range map[string]*version.Ledger{"par1": par1, "mad1": mad1} {
		if now := l.Get(tag); now.Version != r.Version || l.Deleted(repo, now) || l.Gone(repo, one) {
			t.Errorf("%s says %v; deleted %v, the digest gone %v", name, now, l.Deleted(repo, now), l.Gone(repo, one))
		}
	}
}

// An edge tells of the pushes that were overtaken where it took them, and of those before
// the version that it tells: a log has each reference once.
func TestEdgesKnowWhatWasOvertakenElsewhere(t *testing.T) {
	w := someday()
	par1, mad1, drp1 := ledger("par1", w, nil), ledger("mad1", w, nil), ledger("drp1", w, nil)
	slow := mad1.Begin(repo, tag.Reference)
	write(par1, tag.Reference, six)
	write(par1, tag.Reference, two)
	exchange(par1, mad1)
	told, _, _ := par1.Since(0, 100)
	drp1.Learn("par1", told, false, nil)
	if !drp1.Had(tag, six) {
		t.Error("it does not know what the tag was before it heard of it")
	}
	_, _, position := mad1.Since(0, 0)
	mad1.Write(repo, tag.Reference, one, "type", slow)
	all, _, _ := mad1.Since(position, 100)
	if len(all) != 1 || !all[0].Own || all[0].Digest != two {
		t.Fatalf("mad1 tells %v", all)
	}
	drp1.Learn("mad1", all, true, nil)
	if !drp1.Had(tag, one) || !drp1.Had(tag, six) || drp1.Had(tag, two) || drp1.Claimed(tag) {
		t.Errorf("it had one %v, six %v, two %v", drp1.Had(tag, one), drp1.Had(tag, six), drp1.Had(tag, two))
	}
	many := all[0]
	for i := range 9 {
		many.Past = append(many.Past, digest.FromString(fmt.Sprint(i)))
	}
	bad := all[0]
	bad.Past = []digest.Digest{"sha256:1"}
	if !all[0].Valid() || many.Valid() || bad.Valid() {
		t.Errorf("valid: %v, too many %v, no digest %v", all[0].Valid(), many.Valid(), bad.Valid())
	}
}

// So is a delete that went to a peer's Harbor, of which that peer's edge told first.
func TestADeleteThatItsPeerToldFirstIsOwn(t *testing.T) {
	l := ledger("par1", someday(), nil)
	write(l, tag.Reference, one)
	buried, begun := version.Buried(repo, one), l.Begin(repo, "").Version
	l.Learn("mad1", []version.Announced{{Repo: repo, Reference: buried.Reference, Record: version.Record{Version: begun}}}, true, nil)
	l.Delete(buried, begun)
	if _, by := l.Claim(buried); by != "" || !l.Deleted(repo, l.Get(tag)) {
		t.Errorf("claimed by %q; the tag is %v", by, l.Get(tag))
	}
	all, _, _ := l.Since(0, 10)
	if !slices.ContainsFunc(all, func(a version.Announced) bool { return a.Key() == buried && a.Own && a.Version == begun }) {
		t.Errorf("it tells %+v", all)
	}
}

// A delete that began before what is known changes nothing, and so does a push by the digest
// alone: nothing is written, and nobody is told.
func TestADeleteThatWasOvertaken(t *testing.T) {
	s, changed := newDisk(), 0
	l := version.New(version.Config{Datacenter: "par1", State: s, Log: slog.New(slog.DiscardHandler), Now: someday().now, Changed: func(map[version.Key]version.Record, bool) { changed++ }})
	slow := l.Begin(repo, "")
	r := write(l, tag.Reference, one)
	remove(l, version.Buried(repo, two))
	write(l, "", two)
	written, told := s.writes, changed
	l.Delete(tag, slow.Version)
	l.Delete(version.Buried(repo, two), slow.Version)
	if _, newest := l.Write(repo, "", two, "type", slow); newest {
		t.Error("a push that began before a later one is the newest")
	}
	if l.Get(tag).Version != r.Version || l.Gone(repo, two) || s.writes != written || changed != told {
		t.Errorf("it is %v; written %d times, told %d", l.Get(tag), s.writes-written, changed-told)
	}
}
