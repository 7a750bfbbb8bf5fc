package announce_test

import (
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/announce"
	"example.org/breakwater/proxy/version"
)

func tag(name string) version.Key { return version.Key{Repo: repo, Reference: name} }

// claims is a batch of one record of another edge.
func claims(key version.Key, d digest.Digest, v version.Version) announce.Batch {
	return announce.Batch{Run: version.Run{Epoch: "e"}, Until: 1, Records: []version.Announced{{Repo: key.Repo, Reference: key.Reference, Record: version.Record{Digest: d, Version: v}}}}
}

func at(d time.Duration, datacenter string) version.Version {
	return version.Version{Time: time.Now().Add(d).UnixMilli() << 16, Datacenter: datacenter}
}

// What is no reference that edges tell each other of, or no record, is refused; what is
// older than what is known changes nothing. Both are counted.
func TestWhatIsNotTaken(t *testing.T) {
	in(t, func(t *testing.T) {
		f := newFleet(t, "par1", "mad1")
		mad1 := f.edges["mad1"]
		one := digest.FromString("one")
		for i, key := range []version.Key{{Repo: "plain/app", Reference: "v1"}, {Repo: "cache-dockerhub/app", Reference: "v1"}, {Repo: repo, Reference: "sha256:x"}} {
			if _, ok := mad1.announcer.Hear("par1", claims(key, one, at(0, "par1"))); !ok || mad1.ledger.Get(key).Known() || mad1.counted(t, "refused") != i+1 {
				t.Errorf("%v: heard %v, has %v, %d were refused", key, ok, mad1.ledger.Get(key), mad1.counted(t, "refused"))
			}
		}
		bad := claims(tag("v1"), "sha256:x", at(0, "par1"))
		if mad1.announcer.Hear("par1", bad); mad1.get("v1").Known() || mad1.counted(t, "refused") != 4 {
			t.Errorf("no digest: %v", mad1.get("v1"))
		}
		mine := mad1.push("v2", "two")
		for range 2 {
			mad1.announcer.Hear("par1", claims(tag("v2"), one, at(-time.Hour, "par1")))
		}
		if !same(mad1.get("v2"), mine) || mad1.counted(t, "old") != 2 || mad1.counted(t, "taken") != 0 {
			t.Errorf("it has %v; %d were old", mad1.get("v2"), mad1.counted(t, "old"))
		}
	})
}

// A record counts from when it is heard until the edge that made it turns out to serve
// something else.
func TestAnAnnouncementIsACue(t *testing.T) {
	one, two := digest.FromString("one"), digest.FromString("two")
	later := func(r version.Record) version.Record { r.Version.Time++; r.Digest = two; return r }
	for name, c := range map[string]struct {
		serves  func(r version.Record) version.Record // what par1 says when it is asked
		want    func(r version.Record) version.Record
		claimed bool
	}{
		"it serves it":      {serves: func(r version.Record) version.Record { return r }, want: func(r version.Record) version.Record { return r }},
		"another digest":    {serves: func(r version.Record) version.Record { r.Digest = two; return r }},
		"an older version":  {serves: func(r version.Record) version.Record { r.Version.Time--; return r }},
		"nothing":           {serves: func(version.Record) version.Record { return version.Record{} }},
		"a newer one":       {serves: later, want: later},
		"no version, it":    {serves: func(r version.Record) version.Record { r.Version = version.Version{}; return r }, want: func(r version.Record) version.Record { return r }},
		"no version, other": {serves: func(r version.Record) version.Record { return version.Record{Digest: two} }},
		"it does not say":   {want: func(r version.Record) version.Record { return r }, claimed: true},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T) {
				f := newFleet(t, "par1", "mad1")
				par1, mad1 := f.edges["par1"], f.edges["mad1"]
				pass(time.Second)
				certain := mad1.push("v1", "certain")
				pass(time.Second)
				r := version.Record{Digest: one, Version: at(0, "par1")}
				par1.do(func() { par1.mute = true }) // until it was looked at what counts at first
				mad1.announcer.Hear("par1", claims(tag("v1"), r.Digest, r.Version))
				if got := mad1.get("v1"); !same(got, r) {
					t.Errorf("at first: %v", got)
				}
				if c.serves != nil {
					par1.do(func() { par1.mute, par1.serves[tag("v1")] = false, c.serves(r) })
				}
				pass(20 * time.Second)
				want, unserved := certain, 1
				if c.want != nil {
					want, unserved = c.want(r), 0
				}
				if got := mad1.get("v1"); !same(got, want) || mad1.ledger.Claimed(tag("v1")) != c.claimed || mad1.counted(t, "unserved") != unserved {
					t.Errorf("then: %v, want %v; claimed %v; %d unserved", got, want, mad1.ledger.Claimed(tag("v1")), mad1.counted(t, "unserved"))
				}
			})
		})
	}
}

// A tombstone that nobody serves takes nothing away.
func TestATombstoneIsACueToo(t *testing.T) {
	in(t, func(t *testing.T) {
		f := newFleet(t, "par1", "mad1")
		par1, mad1 := f.edges["par1"], f.edges["mad1"]
		one := digest.FromString("one")
		par1.push("v1", "one")
		pass(time.Minute)
		mad1.announcer.Hear("par1", claims(tag("v1"), "", at(0, "par1")))
		buried := claims(version.Buried(repo, one), "", at(0, "par1"))
		par1.serve(version.Buried(repo, one), version.Record{Digest: one}, 0) // no version: it was never deleted there
		mad1.announcer.Hear("par1", buried)
		pass(time.Second)
		if r := mad1.get("v1"); r.Digest != one || mad1.ledger.Gone(repo, one) {
			t.Errorf("%v, gone %v", r, mad1.ledger.Gone(repo, one))
		}
		par1.do(func() { delete(par1.serves, version.Buried(repo, one)) })
		par1.remove(version.Buried(repo, one))
		pass(time.Minute)
		if !mad1.ledger.Gone(repo, one) || mad1.ledger.Claimed(version.Buried(repo, one)) {
			t.Errorf("it was deleted: gone %v", mad1.ledger.Gone(repo, one))
		}
	})
}

// What was not yet certain when the edge ended is looked at when it is there again.
func TestClaimsAreVerifiedAfterARestart(t *testing.T) {
	in(t, func(t *testing.T) {
		f := newFleet(t, "par1", "mad1")
		par1, mad1 := f.edges["par1"], f.edges["mad1"]
		mad1.stop()
		pass(0)
		state := newLog()
		mad1.start(t, state)
		par1.do(func() { par1.mute = true })
		pass(time.Second)
		served := par1.push("true", "true")
		pass(time.Second)
		par1.serve(tag("false"), version.Record{Digest: digest.FromString("other"), Version: at(-time.Hour, "par1")}, 0)
		mad1.announcer.Hear("par1", announce.Batch{Run: par1.ledger.Run(), After: 0, Until: 1, Records: claims(tag("false"), digest.FromString("false"), at(0, "par1")).Records})
		pass(time.Second)
		mad1.stop()
		pass(0)
		par1.do(func() { par1.mute = false })
		mad1.start(t, state)
		pass(5 * time.Second)
		if r := mad1.get("true"); !same(r, served) || mad1.ledger.Claimed(tag("true")) {
			t.Errorf("what is served: %v, claimed %v", r, mad1.ledger.Claimed(tag("true")))
		}
		if r := mad1.get("false"); r.Known() {
			t.Errorf("what is not: %v", r)
		}
	})
}

// Small new manifests come with their versions, and are kept where they are what they say.
func TestManifestsAreToldWithTheirVersions(t *testing.T) {
	in(t, func(t *testing.T) {
		f := newFleet(t, "par1", "mad1")
		par1, mad1 := f.edges["par1"], f.edges["mad1"]
		pass(time.Second)
		large, fits := strings.Repeat("x", 64<<10+1), strings.Repeat("x", 64<<10)
		par1.push("small", "small")
		par1.push("fits", fits)
		par1.push("large", large)
		pass(time.Minute)
		if mad1.manifest(digest.FromString("small")) == nil || mad1.manifest(digest.FromString(fits)) == nil || mad1.manifest(digest.FromString(large)) != nil || !mad1.get("large").Known() {
			t.Error("a small manifest is to come along, and a large one is not")
		}
		f.set("par1", "mad1", link{down: true})
		pass(time.Minute)
		par1.push("old", "old")
		pass(2 * time.Hour)
		f.set("par1", "mad1", link{})
		pass(time.Minute)
		if mad1.manifest(digest.FromString("old")) != nil || !mad1.get("old").Known() {
			t.Error("of what is settled the version alone is to come")
		}
		f.set("par1", "mad1", link{down: true})
		pass(time.Minute)
		for i := range 200 { // 12 MB of manifests
			par1.push("many"+strings.Repeat("x", i), strings.Repeat("m", 60<<10)+strings.Repeat("x", i))
		}
		f.batches("par1", "mad1")
		f.set("par1", "mad1", link{})
		pass(time.Minute)
		most := 0
		for _, b := range f.batches("par1", "mad1") {
			n := 0
			for _, r := range b.Records {
				n += len(r.Manifest)
			}
			if n > 4<<20 {
				t.Errorf("%d records with %d bytes of manifests in one batch", len(b.Records), n)
			}
			most = max(most, n)
		}
		if most < 4<<20-61<<10 {
			t.Errorf("no batch has more than %d bytes of manifests", most)
		}
		forged := claims(tag("forged"), digest.FromString("it"), at(0, "par1"))
		forged.Records[0].Manifest = []byte("another")
		mad1.announcer.Hear("par1", forged)
		if mad1.manifest(digest.FromString("it")) != nil || mad1.manifest(digest.FromString("another")) != nil {
			t.Error("a forged manifest is kept")
		}
	})
}

// A manifest is kept once, however often its version is told; what has none is not looked for.
func TestAManifestIsKeptOnce(t *testing.T) {
	in(t, func(t *testing.T) {
		f := newFleet(t, "par1", "mad1")
		par1, mad1 := f.edges["par1"], f.edges["mad1"]
		par1.do(func() { par1.mute = true })
		told := func(key version.Key, text string, manifest []byte) {
			b := claims(key, digest.FromString(text), at(0, "par1"))
			if text == "" {
				b.Records[0].Digest = ""
			}
			b.Records[0].Manifest = manifest
			for range 2 {
				mad1.announcer.Hear("par1", b)
			}
		}
		told(tag("v1"), "one", []byte("one"))
		told(tag("v2"), "two", nil)
		told(tag("v3"), "", []byte("three"))
		if mad1.manifest(digest.FromString("one")) == nil || mad1.keeps != 1 {
			t.Errorf("it was given to keep %d times", mad1.keeps)
		}
	})
}

// Edges that hear of the same tag in whatever order end on one answer.
func TestAllEdgesEndOnOneAnswer(t *testing.T) {
	in(t, func(t *testing.T) {
		names := []string{"par1", "mad1", "drp1"}
		f := newFleet(t, names...)
		pass(time.Second)
		for _, a := range names { // all is cut
			for _, b := range names {
				f.set(a, b, link{down: true})
			}
		}
		for i, name := range names {
			f.edges[name].push("v1", name)
			if i > 0 {
				f.edges[name].remove(tag("v2"))
			}
			f.edges[name].push("v2", name)
		}
		pass(time.Minute)
		for _, a := range names {
			for _, b := range names {
				f.set(a, b, link{twice: true})
				pass(7 * time.Second)
			}
		}
		pass(time.Minute)
		for _, tag := range []string{"v1", "v2"} {
			want := f.edges["par1"].get(tag)
			for _, name := range names {
				if got := f.edges[name].get(tag); !same(got, want) || f.edges[name].ledger.Claimed(version.Key{Repo: repo, Reference: tag}) {
					t.Errorf("%s at %s: %v, and %v at par1", tag, name, got, want)
				}
			}
		}
		if r := f.edges["mad1"].get("v1"); r.Digest != digest.FromString("par1") {
			t.Errorf("of three at one time the last by name wins, not %s", r.Version.Datacenter)
		}
	})
}
