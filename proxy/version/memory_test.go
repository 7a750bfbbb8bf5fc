package version_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"example.org/breakwater/proxy/version"
)

// An edge that keeps nothing says what one says that has a disk, until it ends.
func TestAnEdgeThatKeepsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := someday()
		disk, memory := ledger("par1", w, newDisk()), ledger("par1", w, nil)
		random := rand.New(rand.NewPCG(1, 2))
		theirs := ledger("mad1", w, nil)
		for i := range 400 {
			name, d, step := fleetTags[random.IntN(3)], fleetDigests[random.IntN(3)], random.IntN(7)
			key := version.Key{Repo: repo, Reference: name}
			w.Time = w.Add(time.Duration(random.IntN(1000)) * time.Hour / 100)
			write(theirs, name, d)
			all, _, _ := theirs.Since(0, 10)
			heard := version.Heard{Datacenter: "mad1", Epoch: "e", Position: uint64(i)}
			for _, l := range []*version.Ledger{disk, memory} {
				switch step {
				case 0, 1:
					write(l, name, d)
				case 2:
					remove(l, key)
				case 3:
					remove(l, version.Buried(repo, d))
				case 4:
					l.Learn("mad1", all, i%2 == 0, &heard)
				case 5:
					l.Use(key)
					synctest.Wait()
				case 6:
					l.Expire()
				}
				l.Clock()
			}
			if a, b := sayings(disk), sayings(memory); a != b {
				t.Fatalf("after %d steps, the last %d: with a disk it is\n%s\nand without\n%s", i, step, a, b)
			}
		}
	})
}

// sayings is all that a ledger says. What was written at one time has no order.
func sayings(l *version.Ledger) string {
	told, each := map[string]string{}, map[string]string{}
	position, pages := uint64(0), 0
	for last := uint64(1); position < last; pages++ {
		var all []version.Announced
		if all, position, last = l.Since(position, 2); len(all) == 0 {
			position = last
		}
		for _, a := range all {
			told[a.Reference] += fmt.Sprintf("%+v %t", a.Record, a.Own)
		}
	}
	l.Each(func(key version.Key, r version.Record, by string) { each[key.Reference] = r.Version.String() + by })
	return fmt.Sprint(told, position, pages, each, l.Tags(repo), l.HeardOf("mad1"))
}
