package store

import (
	"encoding/hex"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
)

// index lists the blobs that are held, in the order of their use. A store may
// hold a million, so a blob costs it a hundred bytes and no pointer.
type index struct {
	places map[sum]int32 // in all
	all    []held
	free   []int32               // places in all that nothing is in
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

const none = -1

func newIndex() index {
	return index{places: map[sum]int32{}, oldest: none, newest: none, others: map[sum]digest.Digest{}}
}

func sumOf(d digest.Digest) (s sum) {
	hex.Decode(s[:], []byte(d.Encoded()[:2*len(s)])) //nolint:errcheck // a digest is hex
	return s
}

func (x *index) digest(b *held) digest.Digest {
	if d, ok := x.others[b.sum]; ok {
		return d
	}
	return digest.NewDigestFromBytes(digest.SHA256, b.sum[:])
}

// get returns the blob, nil where it is not held. The pointer is good until the
// next add or remove.
func (x *index) get(d digest.Digest) *held {
	place, ok := x.places[sumOf(d)]
	if !ok {
		return nil
	}
	return &x.all[place]
}

// add lists a blob as the one used last.
func (x *index) add(d digest.Digest, size int64, used time.Time) *held {
	s := sumOf(d)
	place, listed := x.places[s]
	switch {
	case listed:
		x.unlink(place)
		x.bytes -= x.all[place].size
	case len(x.free) > 0:
		place = x.free[len(x.free)-1]
		x.free = x.free[:len(x.free)-1]
	default:
		place = int32(len(x.all))
		x.all = append(x.all, held{})
	}
	x.places[s] = place
	if d.Algorithm() != digest.SHA256 {
		x.others[s] = d
	}
	x.all[place] = held{sum: s, size: size, marked: uint32(used.Unix())}
	x.bytes += size
	x.link(place)
	return &x.all[place]
}

func (x *index) remove(b *held) {
	place := x.places[b.sum]
	x.unlink(place)
	x.bytes -= b.size
	delete(x.places, b.sum)
	delete(x.others, b.sum)
	x.free = append(x.free, place)
}

// use makes the blob the one used last.
func (x *index) use(b *held) {
	place := x.places[b.sum]
	x.unlink(place)
	x.link(place)
}

func (x *index) link(place int32) {
	b := &x.all[place]
	b.older, b.next = x.newest, none
	if x.newest == none {
		x.oldest = place
	} else {
		x.all[x.newest].next = place
	}
	x.newest = place
}

func (x *index) unlink(place int32) {
	b := &x.all[place]
	if b.older == none {
		x.oldest = b.next
	} else {
		x.all[b.older].next = b.next
	}
	if b.next == none {
		x.newest = b.older
	} else {
		x.all[b.next].older = b.older
	}
}

// sort puts the blobs in the order of the marks on disk, which is how the order
// of use survives a restart.
func (x *index) sort() {
	places := make([]int32, 0, len(x.places))
	for place := x.oldest; place != none; place = x.all[place].next {
		places = append(places, place)
	}
	slices.SortStableFunc(places, func(a, b int32) int { return int(int64(x.all[a].marked) - int64(x.all[b].marked)) })
	x.oldest, x.newest = none, none
	for _, place := range places {
		x.link(place)
	}
}
