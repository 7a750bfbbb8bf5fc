package version_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"example.org/breakwater/proxy/version"
)

// What others have told is read once, and not once for each peer that it is not told.
func TestWhatOthersToldIsReadOnce(t *testing.T) {
	const told, peers, batch = 1000, 49, 100
	w, s := someday(), newDisk()
	l := ledger("par1", w, s)
	write(l, "v0", one)
	for i := range told {
		l.Learn("mad1", []version.Announced{said(version.Key{Repo: repo, Reference: fmt.Sprint("m", i)}, two, version.Version{Time: l.Clock(), Datacenter: "mad1"})}, false, nil)
	}
	read := 0
	for range peers {
		for position, last := uint64(0), uint64(1); position < last; {
			var all []version.Announced
			all, position, last = l.Since(l.Onward(position), batch)
			if read += len(all); len(all) == 0 {
				position = last
			}
		}
	}
	if most := told + (peers+1)*batch; read > most {
		t.Errorf("%d records are read for %d peers, want %d at most", read, peers, most)
	}
}

// Whoever reads on from where nothing of its own comes hears all that is its own.
func TestNothingOfItsOwnIsPassedOver(t *testing.T) {
	for seed := range uint64(20) {
		dice := rand.New(rand.NewPCG(seed, 1))
		w := someday()
		l := ledger("par1", w, newDisk())
		position := uint64(0)
		for step := range 400 {
			tag := version.Key{Repo: repo, Reference: fmt.Sprint("v", dice.IntN(30))}
			switch dice.IntN(4) {
			case 0:
				l.Write(repo, tag.Reference, one, "type", l.Begin(repo, tag.Reference))
			case 1:
				position = l.Onward(position)
				_, position, _ = l.Since(position, 1+dice.IntN(20))
			default:
				l.Learn("mad1", []version.Announced{said(tag, two, version.Version{Time: l.Clock(), Datacenter: "mad1"})}, dice.IntN(3) == 0, nil)
			}
			from := uint64(dice.IntN(step + 1))
			if plain, quick := own(l, from), own(l, l.Onward(from)); plain != quick {
				t.Fatalf("seed %d, step %d, after %d: of its own it reads %s, want %s", seed, step, from, quick, plain)
			}
		}
	}
}

// own is what is an edge's own after a position of its log.
func own(l *version.Ledger, position uint64) (text string) {
	all, _, _ := l.Since(position, 1000)
	for _, a := range all {
		if a.Own {
			text += a.Reference + " " + a.Version.String() + "\n"
		}
	}
	return text
}
