package gslb

import (
	"encoding/binary"
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

func (k key) or(o key) key     { return key{k.hi | o.hi, k.lo | o.lo} }
func (k key) andNot(o key) key { return key{k.hi &^ o.hi, k.lo &^ o.lo} }

// next is the key after this one; ok is false after the last.
func (k key) next() (n key, ok bool) {
	lo, carry := bits.Add64(k.lo, 1, 0)
	hi, over := bits.Add64(k.hi, 0, carry)
	return key{hi, lo}, over == 0
}

// length128 is the prefix's length among 128 bits.
func length128(p netip.Prefix) int {
	if p.Addr().Is4() {
		return p.Bits() + 96
	}
	return p.Bits()
}

// none is the value of what an interval table says nothing of.
const none = ^uint16(0)

// table maps every address to a value: a sorted list of where a value begins, to hold
// until the next. Neighbours differ, so an interval is all that has the value around.
type table struct {
	starts []key
	values []uint16
}

// entry is one prefix and its value.
type entry struct {
	prefix netip.Prefix
	value  uint16
}

// newTable gives every address the value of the longest prefix that holds it, none
// where there is none. Of equal prefixes the last counts.
func newTable(entries []entry) table {
	// IPv4 lies within IPv6 here, and ::/0 says nothing of it.
	entries = append([]entry{{netip.PrefixFrom(netip.AddrFrom16([16]byte{10: 0xff, 11: 0xff}), 96), none}}, entries...)
	slices.SortStableFunc(entries, func(a, b entry) int {
		ka, kb := keyOf(a.prefix.Addr()), keyOf(b.prefix.Addr())
		switch {
		case ka.less(kb):
			return -1
		case kb.less(ka):
			return 1
		}
		return length128(a.prefix) - length128(b.prefix)
	})
	t := table{}
	t.begin(key{}, none)
	type open struct {
		last  key
		value uint16
	}
	var stack []open // prefixes that hold what is looked at, the longest last
	close := func(until *key) {
		for len(stack) > 0 {
			top := stack[len(stack)-1]
			if until != nil && !top.last.less(*until) {
				return
			}
			stack = stack[:len(stack)-1]
			after, ok := top.last.next()
			if !ok {
				continue
			}
			value := none
			if len(stack) > 0 {
				value = stack[len(stack)-1].value
			}
			t.begin(after, value)
		}
	}
	for _, e := range entries {
		first := keyOf(e.prefix.Addr())
		close(&first)
		t.begin(first, e.value)
		stack = append(stack, open{first.or(mask(length128(e.prefix))), e.value})
	}
	close(nil)
	return t.merged()
}

// begin says that from the key on the value holds.
func (t *table) begin(at key, value uint16) {
	if n := len(t.starts); n > 0 && t.starts[n-1] == at {
		t.values[n-1] = value
		return
	}
	t.starts, t.values = append(t.starts, at), append(t.values, value)
}

// merged is the table without borders between equal values.
func (t table) merged() table {
	n := 0
	for i := range t.starts {
		if n > 0 && t.values[n-1] == t.values[i] {
			continue
		}
		t.starts[n], t.values[n] = t.starts[i], t.values[i]
		n++
	}
	return table{slices.Clip(t.starts[:n]), slices.Clip(t.values[:n])}
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
		if n := len(out.values); n == 0 || out.values[n-1] != value {
			out.begin(at, value)
		}
		nextI, nextJ := i+1 < len(t.starts), j+1 < len(lower.starts)
		switch {
		case !nextI && !nextJ:
			return table{slices.Clip(out.starts), slices.Clip(out.values)}
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
	first, last := t.starts[i], key{^uint64(0), ^uint64(0)}
	if i+1 < len(t.starts) {
		last = before(t.starts[i+1])
	}
	// The prefix may reach as far as the nearer border lets it: the length is where the
	// address leaves both borders' outside, and where its bits behind allow it.
	fits := func(length int) bool {
		m := mask(length)
		return !k.andNot(m).less(first) && !last.less(k.or(m))
	}
	shortest := 0
	if a.Is4() {
		shortest = 96
	}
	length = shortest + sort.Search(128-shortest, func(n int) bool { return fits(shortest + n) })
	if a.Is4() {
		return t.values[i], length - 96
	}
	return t.values[i], length
}

func before(k key) key {
	lo, borrow := bits.Sub64(k.lo, 1, 0)
	hi, _ := bits.Sub64(k.hi, 0, borrow)
	return key{hi, lo}
}
