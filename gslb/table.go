package gslb

import (
	"cmp"
	"encoding/binary"
	"math"
	"math/bits"
	"net/netip"
	"slices"
	"sort"
)

// key is an address as a number of 128 bits, IPv4 as in ::ffff:0:0/96.
type key struct{ hi, lo uint64 }

func keyOf(a netip.Addr) key {
	b := a.As16()
	return key{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

func (k key) addr() netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], k.hi)
	binary.BigEndian.PutUint64(b[8:], k.lo)
	return netip.AddrFrom16(b)
}

func (k key) less(o key) bool { return k.hi < o.hi || k.hi == o.hi && k.lo < o.lo }

// mask are the bits behind a length.
func mask(length int) key {
	switch {
	case length <= 0:
		return key{^uint64(0), ^uint64(0)}
	case length < 64:
		return key{^uint64(0) >> length, ^uint64(0)}
	case length == 64:
		return key{0, ^uint64(0)}
	case length < 128:
		return key{0, ^uint64(0) >> (length - 64)}
	}
	return key{}
}

func (k key) or(o key) key { return key{k.hi | o.hi, k.lo | o.lo} }

// next is the key after this one; ok is false after the last.
func (k key) next() (n key, ok bool) {
	lo, carry := bits.Add64(k.lo, 1, 0)
	hi, over := bits.Add64(k.hi, 0, carry)
	return key{hi, lo}, over == 0
}

// none is the value of what an interval table says nothing of.
const none = ^uint16(0)

// table maps every address to a value: a sorted list of where a value begins, to hold
// until the next. Neighbours differ, so an interval is all that has the value around.
type table struct {
	starts []key
	values []uint16
}

// entry is one prefix and its value, small because there may be millions.
type entry struct {
	first  key
	line   uint32 // where it stands in its file; 0: in none
	value  uint16
	length uint8 // of 128 bits
}

func entryOf(p netip.Prefix, value uint16) entry {
	length := p.Bits()
	if p.Addr().Is4() {
		length += 96
	}
	return entry{first: keyOf(p.Addr()), length: uint8(length), value: value}
}

// prefix is the entry's prefix as people write it.
func (e entry) prefix() netip.Prefix {
	if a := e.first.addr(); a.Is4In6() && e.length >= 96 {
		return netip.PrefixFrom(a.Unmap(), int(e.length)-96)
	}
	return netip.PrefixFrom(e.first.addr(), int(e.length))
}

func (e entry) last() key { return e.first.or(mask(int(e.length))) }

// compare sorts a prefix before those within it. Of equal ones the one that counts is
// the last: what stands in no file, else what stands first in it.
func (e entry) compare(o entry) int {
	switch {
	case e.first.less(o.first):
		return -1
	case o.first.less(e.first):
		return 1
	}
	return cmp.Or(cmp.Compare(e.length, o.length), cmp.Compare(o.line, e.line))
}

// allIPv4 lies within IPv6 here, and ::/0 says nothing of it.
var allIPv4 = entry{first: keyOf(netip.AddrFrom4([4]byte{})), length: 96, value: none, line: math.MaxUint32}

// newTable gives every address the value of the longest prefix that holds it, none
// where there is none. It sorts the entries.
func newTable(entries []entry) table {
	slices.SortFunc(entries, entry.compare)
	t := table{starts: make([]key, 0, 2*len(entries)+3), values: make([]uint16, 0, 2*len(entries)+3)}
	t.begin(key{}, none)
	var open []entry // those that hold what is looked at, the longest last
	leave := func() {
		top := open[len(open)-1]
		open = open[:len(open)-1]
		value := none
		if len(open) > 0 {
			value = open[len(open)-1].value
		}
		if after, ok := top.last().next(); ok {
			t.begin(after, value)
		}
	}
	enter := func(e entry) {
		for len(open) > 0 && open[len(open)-1].last().less(e.first) {
			leave()
		}
		t.begin(e.first, e.value)
		open = append(open, e)
	}
	v4, _ := slices.BinarySearchFunc(entries, allIPv4, entry.compare)
	for _, e := range entries[:v4] {
		enter(e)
	}
	enter(allIPv4)
	for _, e := range entries[v4:] {
		enter(e)
	}
	for len(open) > 0 {
		leave()
	}
	return t
}

// longest is the entry whose prefix is the longest that holds the address; the entries
// are as newTable leaves them.
func longest(entries []entry, a netip.Addr) (e entry, ok bool) {
	shortest := 0
	if a.Is4() {
		shortest = 96
	}
	for length := 128; length >= shortest; length-- {
		m := mask(length)
		first := key{keyOf(a).hi &^ m.hi, keyOf(a).lo &^ m.lo}
		at, ok := slices.BinarySearchFunc(entries, entry{first: first, length: uint8(length)}, entry.compare)
		if !ok {
			at-- // the last of those that stand in a file
		}
		if at >= 0 && entries[at].first == first && int(entries[at].length) == length {
			return entries[at], true
		}
	}
	return entry{}, false
}

// begin says that from the key on the value holds. Keys come in order; of one that comes
// again, the last value counts.
func (t *table) begin(at key, value uint16) {
	n := len(t.starts)
	if n > 0 && t.starts[n-1] == at {
		n--
	}
	t.starts, t.values = t.starts[:n], t.values[:n]
	if n == 0 || t.values[n-1] != value {
		t.starts, t.values = append(t.starts, at), append(t.values, value)
	}
}

// exact is the table without room to grow.
func (t table) exact() table {
	return table{append(make([]key, 0, len(t.starts)), t.starts...), append(make([]uint16, 0, len(t.values)), t.values...)}
}

// over lays a table over another: where the upper one says nothing, the lower one counts.
func (t table) over(lower table) table {
	out := table{starts: make([]key, 0, len(t.starts)+len(lower.starts)), values: make([]uint16, 0, len(t.starts)+len(lower.starts))}
	i, j := 0, 0 // the intervals that hold the border looked at
	at := key{}
	for {
		value := t.values[i]
		if value == none {
			value = lower.values[j]
		}
		out.begin(at, value)
		nextI, nextJ := i+1 < len(t.starts), j+1 < len(lower.starts)
		switch {
		case !nextI && !nextJ:
			return out
		case nextI && (!nextJ || !lower.starts[j+1].less(t.starts[i+1])):
			at = t.starts[i+1]
		default:
			at = lower.starts[j+1]
		}
		if nextI && t.starts[i+1] == at {
			i++
		}
		if nextJ && lower.starts[j+1] == at {
			j++
		}
	}
}

// find returns the value of the address, and the length of the largest prefix around
// it, of its own family, that has the value throughout.
func (t table) find(a netip.Addr) (value uint16, length int) {
	k := keyOf(a)
	i := sort.Search(len(t.starts), func(i int) bool { return k.less(t.starts[i]) }) - 1
	if a.Is4() {
		length = 96
	}
	// A prefix keeps an address out if it is longer than what they have in common.
	if t.starts[i] != (key{}) {
		length = max(length, k.common(before(t.starts[i]))+1)
	}
	if i+1 < len(t.starts) {
		length = max(length, k.common(t.starts[i+1])+1)
	}
	if a.Is4() {
		length -= 96
	}
	return t.values[i], length
}

// common is how many bits the keys begin with alike.
func (k key) common(o key) int {
	if k.hi != o.hi {
		return bits.LeadingZeros64(k.hi ^ o.hi)
	}
	return 64 + bits.LeadingZeros64(k.lo^o.lo)
}

func before(k key) key {
	lo, borrow := bits.Sub64(k.lo, 1, 0)
	hi, _ := bits.Sub64(k.hi, 0, borrow)
	return key{hi, lo}
}
