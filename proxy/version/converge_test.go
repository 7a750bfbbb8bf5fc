package version_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/version"
)

// fleet is edges whose clocks differ, and who tell each other of what they write.
type fleet struct {
	names  []string
	edges  map[string]*version.Ledger
	clocks map[string]*wall
	heard  map[string]uint64 // how far, by "who hears whom"
}

// newFleet makes three edges; their clocks are wrong by some minutes each.
func newFleet(random *rand.Rand) *fleet {
	f := &fleet{names: []string{"par1", "mad1", "drp1"}, edges: map[string]*version.Ledger{}, clocks: map[string]*wall{}, heard: map[string]uint64{}}
	for _, name := range f.names {
		f.clocks[name] = someday()
		f.clocks[name].Time = f.clocks[name].Add(time.Duration(random.IntN(600)-300) * time.Second)
		f.edges[name] = ledger(name, f.clocks[name], nil)
	}
	return f
}

// tell has one edge told what another has written since it was told last, at most so many
// records. It reports whether there was something.
func (f *fleet) tell(to, of string, most int) bool {
	position := f.heard[to+" hears "+of]
	all, until, _ := f.edges[of].Since(position, most)
	own := slices.DeleteFunc(all, func(a version.Announced) bool { return !a.Own })
	f.edges[to].Learn(of, own, false, nil)
	f.heard[to+" hears "+of] = until
	return until > position
}

// tellAgain has one edge told all that another knows, as after a restart.
func (f *fleet) tellAgain(to, of string) {
	all, _, _ := f.edges[of].Since(0, 1000)
	f.edges[to].Learn(of, all, false, nil)
}

// tellAll has everybody told of everything that is new.
func (f *fleet) tellAll() {
	for more := true; more; {
		more = false
		for _, to := range f.names {
			for _, of := range f.names {
				more = to != of && f.tell(to, of, 1000) || more
			}
		}
	}
}

var (
	fleetTags    = []string{"v1", "v2", "v3"}
	fleetDigests = []digest.Digest{one, two, six}
)

// same compares what clients of all edges are shown under tags, and with digests by
// digest too.
func (f *fleet) same(t *testing.T, what string, digests bool) {
	t.Helper()
	for _, name := range f.names[1:] {
		if got, want := f.answers(name, digests), f.answers("par1", digests); got != want {
			t.Fatalf("%s: %s shows %s, and par1 %s", what, name, got, want)
		}
	}
}

func (f *fleet) answers(name string, digests bool) (all string) {
	l := f.edges[name]
	for _, tag := range fleetTags {
		r := l.Get(version.Key{Repo: repo, Reference: tag})
		shown := r.Digest.String()
		if l.Deleted(repo, r) {
			shown = "deleted"
		}
		all += tag + "=" + shown + " "
	}
	for _, d := range fleetDigests {
		if digests {
			all += fmt.Sprintf("%s gone=%t ", d, l.Gone(repo, d))
		}
	}
	return all
}

// Whatever is written where, and in whatever order and how often edges hear of it: in the
// end all show the same.
func TestAllEdgesEndOnTheSame(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 0))
		f := newFleet(random)
		for range 40 {
			at, other := f.names[random.IntN(3)], f.names[random.IntN(3)]
			tag, d := fleetTags[random.IntN(3)], fleetDigests[random.IntN(3)]
			f.clocks[at].Time = f.clocks[at].Add(time.Duration(random.IntN(1000)) * time.Millisecond)
			switch random.IntN(8) {
			case 0, 1, 2:
				write(f.edges[at], tag, d)
			case 3:
				remove(f.edges[at], version.Key{Repo: repo, Reference: tag})
			case 4:
				remove(f.edges[at], version.Buried(repo, d))
			case 5, 6:
				if at != other {
					f.tell(at, other, 1+random.IntN(4))
				}
			case 7:
				if at != other {
					f.tellAgain(at, other)
				}
			}
		}
		f.tellAll()
		f.same(t, fmt.Sprint("seed ", seed), false)
		for range 2 {
			for _, at := range f.names {
				for _, other := range f.names {
					if at != other {
						f.tellAgain(at, other)
					}
				}
			}
		}
		f.same(t, fmt.Sprint("seed ", seed, ", told again"), true)
	}
}

// Where each edge knew what was written before, the last write is what all show, though
// the clock of its edge is minutes behind.
func TestTheLastWriteIsShownWhateverClocksSay(t *testing.T) {
	for seed := range uint64(100) {
		random := rand.New(rand.NewPCG(seed, 1))
		f := newFleet(random)
		tags, gone := map[string]digest.Digest{}, map[digest.Digest]bool{}
		for range 20 {
			at := f.names[random.IntN(3)]
			tag, d := fleetTags[random.IntN(3)], fleetDigests[random.IntN(3)]
			switch random.IntN(4) {
			case 0, 1:
				write(f.edges[at], tag, d)
				tags[tag] = d
				delete(gone, d)
			case 2:
				remove(f.edges[at], version.Key{Repo: repo, Reference: tag})
				delete(tags, tag)
			case 3:
				remove(f.edges[at], version.Buried(repo, d))
				gone[d] = true
				for tag, has := range tags {
					if has == d {
						delete(tags, tag)
					}
				}
			}
			f.tellAll()
			for _, name := range f.names {
				l := f.edges[name]
				for _, tag := range fleetTags {
					r := l.Get(version.Key{Repo: repo, Reference: tag})
					if want, there := tags[tag]; there && (l.Deleted(repo, r) || r.Digest != want) || !there && r.Known() && !l.Deleted(repo, r) {
						t.Fatalf("seed %d: %s has %v, deleted %t, under %s; written last was %q", seed, name, r, l.Deleted(repo, r), tag, want)
					}
				}
				for _, d := range fleetDigests {
					if gone[d] != l.Gone(repo, d) {
						t.Fatalf("seed %d: at %s %s is gone: %t", seed, name, d, l.Gone(repo, d))
					}
				}
			}
		}
	}
}

// Two edges accept a delete of one digest, and each knows a push of it that the other has not
// heard of. Both pushes are deleted, for everybody, whoever hears of which first, and also where
// the one began earlier and is done later.
func TestTwoDeletesOfADigestTakeAlongWhatEitherKnew(t *testing.T) {
	for seed := range uint64(100) {
		random := rand.New(rand.NewPCG(seed, 4))
		f := newFleet(random)
		par1, drp1 := f.edges["par1"], f.edges["drp1"]
		f.clocks["drp1"].Time = f.clocks["par1"].Add(-time.Second) // it is the earlier one
		write(drp1, "v1", one)
		write(par1, "v2", one)
		begun := drp1.Begin(repo, "").Version
		remove(par1, version.Buried(repo, one))
		late := seed%2 == 1
		if late {
			for f.tell("drp1", "par1", 1) {
			}
		}
		drp1.Delete(version.Buried(repo, one), begun)
		for range random.IntN(6) {
			if to, of := f.names[random.IntN(3)], f.names[random.IntN(3)]; to != of {
				f.tell(to, of, 1)
			}
		}
		for _, clock := range f.clocks {
			clock.Time = clock.Add(time.Hour)
		}
		f.tellAll()
		for _, name := range f.names {
			if got, want := f.answers(name, true), "v1=deleted v2=deleted v3= "; !strings.HasPrefix(got, want) || !f.edges[name].Gone(repo, one) {
				t.Fatalf("seed %d, late %t: %s shows %s", seed, late, name, got)
			}
		}
		write(f.edges["mad1"], "v3", one) // and it can be pushed again
		f.tellAll()
		for _, name := range f.names {
			if got, want := f.answers(name, false), "v1=deleted v2=deleted v3="+one.String()+" "; got != want {
				t.Fatalf("seed %d, late %t: after a push %s shows %s", seed, late, name, got)
			}
		}
	}
}
