package gslb

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"
)

func TestLimit(t *testing.T) {
	now := time.Unix(1e9, 0)
	l := newLimiter(10, func() time.Time { return now })
	client := netip.MustParseAddr("192.0.2.1")
	count := func(n int, from netip.Addr, k kind) (by [3]int) {
		for range n {
			by[l.rule(from, k)]++
		}
		return by
	}
	if got := count(30, client, kindAnswer); got != [3]int{10, 10, 10} {
		t.Errorf("30 at once at 10 a second: sent, slipped, discarded %v", got)
	}
	if got := l.rule(netip.MustParseAddr("192.0.2.200"), kindAnswer); got == send {
		t.Error("another address of the /24 is another client")
	}
	if got := l.rule(netip.MustParseAddr("192.0.3.1"), kindAnswer); got != send {
		t.Error("another /24 pays for it")
	}
	if got := l.rule(client, kindNXDOMAIN); got != send {
		t.Error("another kind of response pays for it")
	}
	now = now.Add(100 * time.Millisecond)
	if got := count(3, client, kindAnswer); got[send] != 1 {
		t.Errorf("a tenth of a second later: %v", got)
	}
	now = now.Add(time.Hour)
	if got := count(11, client, kindAnswer); got[send] != 10 {
		t.Errorf("an hour later, no more than a second's worth: %v", got)
	}
	six := netip.MustParseAddr("2001:db8:0:1::1")
	count(10, six, kindAnswer)
	if l.rule(netip.MustParseAddr("2001:db8:0:ff::2"), kindAnswer) == send {
		t.Error("another address of the /56 is another client")
	}
	if l.rule(netip.MustParseAddr("2001:db8:0:100::1"), kindAnswer) != send {
		t.Error("another /56 pays for it")
	}
}

func TestLimitSurvivesSpoofing(t *testing.T) {
	now := time.Unix(1e9, 0)
	l := newLimiter(5, func() time.Time { return now })
	victim := netip.MustParseAddr("192.0.2.1")
	sent := 0
	for i := range uint32(200_000) { // many times the table
		if i%10 == 0 && l.rule(victim, kindAnswer) == send {
			sent++
		}
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], 10<<24|i<<8)
		if l.rule(netip.AddrFrom4(a), kindAnswer) == discard && i < 1<<16 {
			t.Fatal("a network is held for what others were sent")
		}
	}
	if sent > 5 {
		t.Errorf("%d responses at 5 a second for who is flooded while many others are spoofed", sent)
	}
}
