package gslb

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"os"
	"testing"

	"github.com/miekg/dns"
)

// TestQuickAsInFull: an answer that was made before says byte for byte what the same one says
// that is packed for the query, or, behind longer names, the same in other bytes.
func TestQuickAsInFull(t *testing.T) {
	rounds := 20_000
	if os.Getenv("BREAKWATER_TESTS") == "full" {
		rounds = 1_000_000
	}
	random, quick := rand.New(rand.NewPCG(3, 4)), 0
	signed := signedConfig(newKey(t), newKey(t))
	for _, v := range []*view{viewOf(t, signedConfig(), false, "par1", "mad1", "drp1"), viewOf(t, signed, true, "par1", "mad1", "drp1"), viewOf(t, signed, true, "drp1"), viewOf(t, signed, true)} {
		r := wireResponder(t)
		r.answerer = v
		for range rounds / 4 {
			b := generated(t, random)
			from := netip.AddrFrom4([4]byte{192, 0, byte(random.IntN(4)), byte(random.IntN(256))})
			got, want, ok := bothWays(r, b, from)
			if !ok {
				continue
			}
			quick++
			if !bytes.Equal(got, want) && readable(b, got) != readable(b, want) {
				t.Fatalf("%x from %s\nwas made before %s\nin full %s", b, from, readable(b, got), readable(b, want))
			}
		}
	}
	if quick < rounds/4 {
		t.Errorf("%d of %d answers were made before", quick, rounds)
	}
}

// TestPreparedForAnotherClient: what was made for one client is answered to another one only
// where a view that nobody has asked yet says the same.
func TestPreparedForAnotherClient(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	for _, healthy := range [][]string{{"par1", "mad1", "drp1"}, {"mad1"}, {}} {
		fresh := func() *view { return viewOf(t, signedConfig(), false, healthy...) }
		warm := wireResponder(t)
		warm.answerer = fresh()
		for range 700 {
			b := generated(t, random)
			from := netip.AddrFrom4([4]byte{byte(random.IntN(224)), 0, byte(random.IntN(4)), 1})
			cold := &responder{answerer: fresh(), identity: warm.identity, cookies: warm.cookies}
			got, want := warm.respond(b, from, false, nil), cold.respond(b, from, false, nil)
			if !bytes.Equal(got, want) {
				t.Fatalf("%x from %s\nafter others %s\nat first %s", b, from, readable(b, got), readable(b, want))
			}
		}
	}
}

// TestPreparedForMany: over TCP, an answer may have more records than a byte can count.
func TestPreparedForMany(t *testing.T) {
	cfg := signedConfig()
	for i := range 300 {
		cfg.Fleet.Datacenters[0].Addresses = append(cfg.Fleet.Datacenters[0].Addresses, netip.AddrFrom4([4]byte{192, 0, 3 + byte(i>>8), byte(i)}))
	}
	r := &responder{answerer: viewOf(t, cfg, false, "par1")}
	b := packed(t, zoneOrigin, dns.TypeA)
	var m dns.Msg
	if err := m.Unpack(r.respond(b, someone(), true, nil)); err != nil || len(m.Answer) != 302 {
		t.Errorf("%d records, want 302: %v", len(m.Answer), err)
	}
}

// bothWays is the response made of what was packed before, and the one made in full; ok is
// false where there is only that.
func bothWays(r *responder, b []byte, from netip.Addr) (quick, full []byte, ok bool) {
	q, v := parseQuery(b)
	if v != proceed || q.asked == nil {
		return nil, nil, false
	}
	var cookie []byte
	if q.opt.cookie != nil {
		cookie, _ = r.cookies.reply(nil, q.opt.cookie, from)
	}
	a := r.decide(&q, v, from)
	quick = r.quick(&q, &a, cookie, nil)
	full = pack(r.message(&q, &a, true, cookie), q.room(), nil)
	return quick, full, quick != nil
}
