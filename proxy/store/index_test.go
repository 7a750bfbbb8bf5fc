package store

import (
	"hash/maphash"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// The index behaves as a plain list of digests in the order in which they came, and evicts as SIEVE. Some of the
// digests have the same hash, and some are longer than 32 bytes.
func TestIndexIsAList(t *testing.T) {
	x := newIndex()
	var digests []digest.Digest
	for i := range 300 {
		algorithm := []digest.Algorithm{digest.SHA256, digest.SHA256, digest.SHA512}[i%3]
		digests = append(digests, algorithm.FromBytes([]byte{byte(i), byte(i >> 8)}))
	}
	// For some digests, another entry has their hash.
	var bystander int32 = none
	for _, d := range digests[:30] {
		if bystander == none {
			bystander = x.empty()
		}
		x.slots[maphash.Comparable(x.seed, sumOf(d))] = bystander
	}
	sizes := map[digest.Digest]int64{}
	var model []digest.Digest // oldest first
	used, hand := map[digest.Digest]bool{}, 0
	remove := func(d digest.Digest) {
		if at := slices.Index(model, d); at >= 0 {
			if model = slices.Delete(model, at, at+1); at < hand {
				hand--
			}
			delete(used, d)
			hand %= max(1, len(model))
		}
	}
	for range 20_000 {
		d := digests[rand.IntN(len(digests))]
		b := x.get(d)
		if at := slices.Index(model, d); (b != nil) != (at >= 0) {
			t.Fatalf("%s is listed: %v", d, b != nil)
		}
		switch rand.IntN(4) {
		case 0:
			sizes[d] = rand.Int64N(1000)
			x.add(d, sizes[d], time.Unix(int64(len(model)), 0))
			remove(d)
			model = append(model, d)
		case 1:
			if b != nil {
				b.used, used[d] = true, true
			}
		case 2:
			b := x.victim(func(*entry) bool { return false })
			for len(model) > 0 {
				if d = model[hand]; !used[d] {
					break
				}
				delete(used, d)
				hand = (hand + 1) % len(model)
			}
			if (b != nil) != (len(model) > 0) || b != nil && x.digest(b) != d {
				t.Fatalf("%v is evicted, want %s", b, d)
			} else if b == nil {
				continue
			}
			x.remove(b)
			remove(d)
			delete(sizes, d)
		default:
			if b != nil {
				x.remove(b)
				remove(d)
				delete(sizes, d)
			}
		}
	}
	var all []digest.Digest
	var bytes int64
	for slot := x.oldest; slot != none; slot = x.at(slot).next {
		d := x.digest(x.at(slot))
		all = append(all, d)
		bytes += sizes[d]
		if x.at(slot).size != sizes[d] {
			t.Errorf("%s has %d bytes instead of %d", d, x.at(slot).size, sizes[d])
		}
	}
	if !slices.Equal(all, model) || bytes != x.bytes {
		t.Errorf("%d listed, %d in the model; %d bytes, %d counted", len(all), len(model), bytes, x.bytes)
	}
	for slot := x.oldest; slot != none; slot = x.at(slot).next {
		x.at(slot).marked = uint32(rand.IntN(50))
	}
	x.sort()
	n, last := 0, uint32(0)
	for slot := x.oldest; slot != none; slot = x.at(slot).next {
		if n++; x.at(slot).marked < last {
			t.Error("not in the order of the marks")
		}
		last = x.at(slot).marked
	}
	if n != len(model) {
		t.Errorf("%d of %d after sorting", n, len(model))
	}
}

// TestAnotherDigestOfTheSameBytes: a client can name a digest of which the first 32 bytes are
// those of a blob that is held.
func TestAnotherDigestOfTheSameBytes(t *testing.T) {
	short := digest.FromString("a blob")
	long := digest.Digest("sha512:" + short.Encoded() + digest.FromString("the rest").Encoded())
	for _, held := range []digest.Digest{short, long} {
		x := newIndex()
		x.add(held, 1, time.Now())
		for _, asked := range []digest.Digest{short, long, digest.Digest("sha384:" + long.Encoded()[:96])} {
			if got := x.get(asked) != nil; got != (asked == held) {
				t.Errorf("%s is held and %s asked for: found %t", held, asked, got)
			}
		}
	}
}

// BenchmarkGet is the look-up that each read begins with.
func BenchmarkGet(b *testing.B) {
	x, d := newIndex(), digest.FromString("a blob")
	x.add(d, 1, time.Now())
	b.ReportAllocs()
	for b.Loop() {
		if x.get(d) == nil {
			b.Fatal("it is not there")
		}
	}
}
