package store

import (
	"encoding/hex"
	"hash/maphash"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
)

// index lists the held blobs in the order in which they came, and which of them were used since.
// They are evicted by SIEVE (Zhang et al., NSDI 2024): a hand goes from the oldest to the newest,
// passes what was used since it was there last, and evicts what was not. So what a sweep reads
// once goes before what is pulled again and again. A store may hold a million
// blobs, so an entry takes about ninety bytes and has no pointers, which the garbage
// collector would have to follow. Entries lie in numbered slots.
type index struct {
	seed   maphash.Seed
	slots  map[uint64]int32      // the slot of an entry, by the hash of its sum
	clash  map[sum]int32         // the slots of entries whose hash another entry has
	pages  [][]entry             // the entries by slot; an entry never moves
	free   []int32               // empty slots
	oldest int32                 // the slot of the blob that came first; none: the index is empty
	newest int32                 // the slot of the blob that came last
	hand   int32                 // the slot at which eviction goes on; none: at the oldest
	bytes  int64                 // the size of all blobs together
	others map[sum]digest.Digest // the digests of algorithms other than SHA-256
}

// sum is the first 32 bytes of a digest. A SHA-256 digest has no more.
type sum [32]byte

// entry describes one held blob.
type entry struct {
	sum         sum
	size        int64
	proven      int64  // the file's modification time, in ns, when its digest was last verified; 0: not since the start
	marked      uint32 // when its use was last written to disk, in s
	older, next int32  // the slots of the blobs that came just before and just after it
	used        bool   // since it came, or since the hand has passed it
}

const (
	none     = -1
	pageSize = 4096 // blobs
	// maxPassed is how many blobs that were used the hand passes for one victim: the store waits
	// meanwhile.
	maxPassed = 4096
)

// at returns the entry in a slot.
func (x *index) at(slot int32) *entry { return &x.pages[slot/pageSize][slot%pageSize] }

func newIndex() index {
	return index{seed: maphash.MakeSeed(), slots: map[uint64]int32{}, clash: map[sum]int32{}, oldest: none, newest: none, hand: none, others: map[sum]digest.Digest{}}
}

// sumOf returns a digest's sum.
func sumOf(d digest.Digest) (s sum) {
	hex.Decode(s[:], []byte(d.Encoded()[:2*len(s)])) //nolint:errcheck // a valid digest is hexadecimal
	return s
}

// len returns the number of held blobs.
func (x *index) len() int { return len(x.slots) + len(x.clash) }

// digest returns the digest of an entry's blob.
func (x *index) digest(b *entry) digest.Digest {
	if d, ok := x.others[b.sum]; ok {
		return d
	}
	return digest.NewDigestFromBytes(digest.SHA256, b.sum[:])
}

// get returns the entry of a blob, or nil where the blob is not held. The pointer is
// valid until the entry is removed.
func (x *index) get(d digest.Digest) *entry {
	slot := x.find(sumOf(d))
	if slot == none {
		return nil
	}
	b := x.at(slot)
	if !x.is(b, d) { // a client can name another digest with the same first 32 bytes
		return nil
	}
	return b
}

// is reports whether an entry, whose sum is the digest's, is of its blob. It does not make
// the entry's digest: reads of what is held ask it each time.
func (x *index) is(b *entry, d digest.Digest) bool {
	if other, ok := x.others[b.sum]; ok {
		return other == d
	}
	return d.Algorithm() == digest.SHA256
}

// find returns the slot of the entry with a sum, or none.
func (x *index) find(s sum) (slot int32) {
	if slot, ok := x.slots[maphash.Comparable(x.seed, s)]; ok && x.at(slot).sum == s {
		return slot
	}
	if slot, ok := x.clash[s]; ok {
		return slot
	}
	return none
}

// add lists a blob as the one that came last.
func (x *index) add(d digest.Digest, size int64, used time.Time) *entry {
	s := sumOf(d)
	if d.Algorithm() != digest.SHA256 {
		x.others[s] = d
	}
	return x.addSum(s, size, used.Unix())
}

// addSum is add for a digest's sum. used is in s.
func (x *index) addSum(s sum, size, used int64) *entry {
	slot := x.find(s)
	if slot == none {
		slot = x.assign(s)
	} else {
		x.unlink(slot)
		x.bytes -= x.at(slot).size
	}
	b := x.at(slot)
	*b = entry{sum: s, size: size, marked: uint32(used)}
	x.bytes += size
	x.link(slot)
	return b
}

// assign gives a sum an empty slot.
func (x *index) assign(s sum) int32 {
	slot := x.empty()
	hash := maphash.Comparable(x.seed, s)
	if _, taken := x.slots[hash]; taken {
		x.clash[s] = slot
	} else {
		x.slots[hash] = slot
	}
	return slot
}

// empty returns an empty slot.
func (x *index) empty() int32 {
	if n := len(x.free); n > 0 {
		slot := x.free[n-1]
		x.free = x.free[:n-1]
		return slot
	}
	last := len(x.pages) - 1
	if last < 0 || len(x.pages[last]) == pageSize {
		x.pages = append(x.pages, make([]entry, 0, pageSize))
		last++
	}
	x.pages[last] = append(x.pages[last], entry{})
	return int32(last*pageSize + len(x.pages[last]) - 1)
}

// remove removes an entry.
func (x *index) remove(b *entry) {
	slot := x.find(b.sum)
	x.unlink(slot)
	x.bytes -= b.size
	if hash := maphash.Comparable(x.seed, b.sum); x.slots[hash] == slot {
		delete(x.slots, hash)
	}
	delete(x.clash, b.sum)
	delete(x.others, b.sum)
	x.free = append(x.free, slot)
}

// victim returns the blob that is to be evicted next, and has the hand pass it; nil: all are kept.
func (x *index) victim(keep func(*entry) bool) *entry {
	passed := 0
	for range 2*x.len() + 1 { // after a whole round none is used
		if x.hand == none {
			x.hand = x.oldest
		}
		if x.hand == none {
			return nil
		}
		b := x.at(x.hand)
		x.hand = b.next
		switch {
		case b.used && passed < maxPassed:
			b.used = false
			passed++
		case !keep(b):
			return b
		}
	}
	return nil
}

// link makes the entry in a slot the one that came last. It must not be linked.
func (x *index) link(slot int32) {
	b := x.at(slot)
	b.older, b.next = x.newest, none
	if x.newest == none {
		x.oldest = slot
	} else {
		x.at(x.newest).next = slot
	}
	x.newest = slot
}

// unlink takes the entry in a slot out of the order.
func (x *index) unlink(slot int32) {
	b := x.at(slot)
	if x.hand == slot {
		x.hand = b.next
	}
	if b.older == none {
		x.oldest = b.next
	} else {
		x.at(b.older).next = b.next
	}
	if b.next == none {
		x.newest = b.older
	} else {
		x.at(b.next).older = b.older
	}
}

// sort orders the blobs by the times of use that are on disk, as if they had come then: what was
// used lately is evicted last after a restart.
func (x *index) sort() {
	slots := make([]int32, 0, x.len())
	for slot := x.oldest; slot != none; slot = x.at(slot).next {
		slots = append(slots, slot)
	}
	slices.SortStableFunc(slots, func(a, b int32) int { return int(int64(x.at(a).marked) - int64(x.at(b).marked)) })
	x.oldest, x.newest, x.hand = none, none, none
	for _, slot := range slots {
		x.link(slot)
	}
}
