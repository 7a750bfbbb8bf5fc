package store

import (
	"encoding/hex"
	"hash/maphash"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
)

// index lists the blobs that are held, in the order of their use. A store may
// hold a million, so a blob costs it ninety bytes and no pointer.
type index struct {
	seed   maphash.Seed
	places map[uint64]int32      // by hash
	clash  map[sum]int32         // places of those whose hash is another's
	pages  [][]held              // by place: what is there stays there
	free   []int32               // places that nothing is in
	oldest int32                 // used longest ago; none: the index is empty
	newest int32                 // used last
	bytes  int64                 // of all blobs
	others map[sum]digest.Digest // of algorithms other than SHA-256
}

// sum is a digest's first 32 bytes: of SHA-256 all there are.
type sum [32]byte

type held struct {
	sum         sum
	size        int64
	proven      int64  // its file's time, in ns, when its digest was last seen to match; 0: not since the start
	marked      uint32 // when its use was last written to disk, in s
	older, next int32
}

const (
	none     = -1
	pageSize = 4096 // blobs
)

// at returns the blob at a place.
func (x *index) at(place int32) *held { return &x.pages[place/pageSize][place%pageSize] }

func newIndex() index {
	return index{seed: maphash.MakeSeed(), places: map[uint64]int32{}, clash: map[sum]int32{}, oldest: none, newest: none, others: map[sum]digest.Digest{}}
}

func sumOf(d digest.Digest) (s sum) {
	hex.Decode(s[:], []byte(d.Encoded()[:2*len(s)])) //nolint:errcheck // a digest is hex
	return s
}

func (x *index) len() int { return len(x.places) + len(x.clash) }

func (x *index) digest(b *held) digest.Digest {
	if d, ok := x.others[b.sum]; ok {
		return d
	}
	return digest.NewDigestFromBytes(digest.SHA256, b.sum[:])
}

// get returns the blob, nil where it is not held. The pointer is good until it
// is removed.
func (x *index) get(d digest.Digest) *held {
	place := x.find(sumOf(d))
	if place == none {
		return nil
	}
	b := x.at(place)
	if x.digest(b) != d { // anybody can name a digest that begins as this one does
		return nil
	}
	return b
}

func (x *index) find(s sum) (place int32) {
	if place, ok := x.places[maphash.Comparable(x.seed, s)]; ok && x.at(place).sum == s {
		return place
	}
	if place, ok := x.clash[s]; ok {
		return place
	}
	return none
}

// add lists a blob as the one used last.
func (x *index) add(d digest.Digest, size int64, used time.Time) *held {
	s := sumOf(d)
	if d.Algorithm() != digest.SHA256 {
		x.others[s] = d
	}
	return x.addSum(s, size, used.Unix())
}

func (x *index) addSum(s sum, size, used int64) *held {
	place := x.find(s)
	if place == none {
		place = x.place(s)
	} else {
		x.unlink(place)
		x.bytes -= x.at(place).size
	}
	b := x.at(place)
	*b = held{sum: s, size: size, marked: uint32(used)}
	x.bytes += size
	x.link(place)
	return b
}

// place gives a blob a place that nothing is in.
func (x *index) place(s sum) int32 {
	place := x.empty()
	hash := maphash.Comparable(x.seed, s)
	if _, taken := x.places[hash]; taken {
		x.clash[s] = place
	} else {
		x.places[hash] = place
	}
	return place
}

func (x *index) empty() int32 {
	if n := len(x.free); n > 0 {
		place := x.free[n-1]
		x.free = x.free[:n-1]
		return place
	}
	last := len(x.pages) - 1
	if last < 0 || len(x.pages[last]) == pageSize {
		x.pages = append(x.pages, make([]held, 0, pageSize))
		last++
	}
	x.pages[last] = append(x.pages[last], held{})
	return int32(last*pageSize + len(x.pages[last]) - 1)
}

func (x *index) remove(b *held) {
	place := x.find(b.sum)
	x.unlink(place)
	x.bytes -= b.size
	if hash := maphash.Comparable(x.seed, b.sum); x.places[hash] == place {
		delete(x.places, hash)
	}
	delete(x.clash, b.sum)
	delete(x.others, b.sum)
	x.free = append(x.free, place)
}

// use makes the blob the one used last.
func (x *index) use(b *held) {
	place := x.find(b.sum)
	x.unlink(place)
	x.link(place)
}

func (x *index) link(place int32) {
	b := x.at(place)
	b.older, b.next = x.newest, none
	if x.newest == none {
		x.oldest = place
	} else {
		x.at(x.newest).next = place
	}
	x.newest = place
}

func (x *index) unlink(place int32) {
	b := x.at(place)
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

// sort puts the blobs in the order of the marks on disk, which is how the order
// of use survives a restart.
func (x *index) sort() {
	places := make([]int32, 0, x.len())
	for place := x.oldest; place != none; place = x.at(place).next {
		places = append(places, place)
	}
	slices.SortStableFunc(places, func(a, b int32) int { return int(int64(x.at(a).marked) - int64(x.at(b).marked)) })
	x.oldest, x.newest = none, none
	for _, place := range places {
		x.link(place)
	}
}
