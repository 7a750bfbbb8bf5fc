package store

import (
	"hash/maphash"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// model is what an index is to be.
type model struct {
	all  []digest.Digest // the oldest first
	used map[digest.Digest]bool
	hand int
}

func (m *model) remove(d digest.Digest) {
	if at := slices.Index(m.all, d); at >= 0 {
		if m.all = slices.Delete(m.all, at, at+1); at < m.hand {
			m.hand--
		}
		delete(m.used, d)
		m.hand %= max(1, len(m.all))
	}
}

// victim has the hand come to what is evicted next; "": there is nothing.
func (m *model) victim() digest.Digest {
	for len(m.all) > 0 {
		d := m.all[m.hand]
		if !m.used[d] {
			return d
		}
		delete(m.used, d)
		m.hand = (m.hand + 1) % len(m.all)
	}
	return ""
}

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
	m := model{used: map[digest.Digest]bool{}}
	for range 20_000 {
		d := digests[rand.IntN(len(digests))]
		b := x.get(d)
		if at := slices.Index(m.all, d); (b != nil) != (at >= 0) {
			t.Fatalf("%s is listed: %v", d, b != nil)
		}
		switch rand.IntN(4) {
		case 0:
			sizes[d] = rand.Int64N(1000)
			x.add(d, sizes[d], time.Unix(int64(len(m.all)), 0))
			m.remove(d)
			m.all = append(m.all, d)
		case 1:
			if b != nil {
				b.used, m.used[d] = true, true
			}
		case 2:
			b := x.victim(func(*entry) bool { return false })
			d = m.victim()
			if (b != nil) != (len(m.all) > 0) || b != nil && x.digest(b) != d {
				t.Fatalf("%v is evicted, want %s", b, d)
			} else if b == nil {
				continue
			}
			x.remove(b)
			m.remove(d)
			delete(sizes, d)
		default:
			if b != nil {
				x.remove(b)
				m.remove(d)
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
	if !slices.Equal(all, m.all) || bytes != x.bytes {
		t.Errorf("%d listed, %d in the model; %d bytes, %d counted", len(all), len(m.all), bytes, x.bytes)
	}
	sorted(t, &x, len(m.all))
}

// sorted has an index of n blobs sorted by marks.
func sorted(t *testing.T, x *index, want int) {
	t.Helper()
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
	if n != want {
		t.Errorf("%d of %d after sorting", n, want)
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
