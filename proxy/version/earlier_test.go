package version_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/version"
)

// A project was made again: what was pushed into the one before, and deleted from it, counts
// for nothing, is told to nobody, and is not taken when another edge tells of it late. What
// comes after counts as in any project, and other projects keep what they have.
func TestVersionsOfAnEarlierProject(t *testing.T) {
	w, d := someday(), newDisk()
	var again time.Time
	since := func(of string) time.Time {
		if of == repo {
			return again
		}
		return time.Time{}
	}
	life := func() *version.Ledger {
		return version.New(version.Config{Datacenter: "par1", State: d, Log: slog.New(slog.DiscardHandler), Now: w.now, Since: since})
	}
	l := life()
	other := version.Key{Repo: "multi-dc-demo2/app", Reference: "v1"}
	l.Write(other.Repo, other.Reference, one, "type", l.Begin(other.Repo, other.Reference))
	old := write(l, "v1", one)
	write(l, "gone", two)
	remove(l, version.Buried(repo, two))
	w.Time = w.Add(time.Second)
	ahead := version.Version{Time: w.Add(10*time.Minute).UnixMilli() << 16, Datacenter: "mad1"} // by a clock that is ahead
	l.Learn("mad1", []version.Announced{said(version.Key{Repo: repo, Reference: "ahead"}, one, ahead)}, false, nil)
	w.Time = w.Add(time.Minute)
	again = w.Time
	w.Time = w.Add(time.Second)
	for _, lives := range []string{"this life", "the next"} {
		for _, key := range []version.Key{tag, {Repo: repo, Reference: "gone"}, {Repo: repo, Reference: "ahead"}, version.Buried(repo, two)} {
			if r := l.Get(key); r.Known() {
				t.Errorf("%s: %v is %v", lives, key, r)
			}
		}
		if l.Gone(repo, two) || len(l.Tags(repo)) > 0 {
			t.Errorf("%s: deleted %v, tags %v", lives, l.Gone(repo, two), l.Tags(repo))
		}
		if all, _, _ := l.Since(0, 100); len(all) != 1 || all[0].Repo != other.Repo {
			t.Errorf("%s: others are told %v", lives, all)
		}
		l.Each(func(key version.Key, r version.Record, _ string) {
			if key != other {
				t.Errorf("%s: there is %v", lives, key)
			}
		})
		if taken := l.Learn("mad1", []version.Announced{said(tag, one, old.Version)}, true, nil); len(taken) > 0 {
			t.Errorf("%s: taken late: %v", lives, taken)
		}
		l = life()
	}
	for name, of := range map[string]digest.Digest{"v1": two, "gone": one} {
		if write(l, name, of); l.Get(version.Key{Repo: repo, Reference: name}).Digest != of {
			t.Errorf("what is pushed into the new one: %s is %v", name, l.Get(version.Key{Repo: repo, Reference: name}))
		}
	}
	late := version.Version{Time: w.Add(time.Hour).UnixMilli() << 16, Datacenter: "mad1"}
	if taken := l.Learn("mad1", []version.Announced{said(tag, six, late)}, false, nil); len(taken) != 1 {
		t.Error("what is pushed elsewhere after that is not taken")
	}
}
