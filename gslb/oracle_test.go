package gslb

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// oracle says what a query gets, read and put together by miekg/dns alone: the slow and
// plain way. nil: it has no opinion, the message is none that it takes for a query.
func oracle(t testing.TB, r *responder, b []byte, tcp bool) *dns.Msg {
	var asked dns.Msg
	if asked.Unpack(b) != nil || len(asked.Question) != 1 || asked.Opcode != dns.OpcodeQuery || asked.Response || asked.IsTsig() != nil {
		return nil
	}
	q := query{qtype: asked.Question[0].Qtype, qclass: asked.Question[0].Qclass, tcp: tcp}
	wire := make([]byte, maxName+1)
	n, err := dns.PackDomainName(asked.Question[0].Name, wire, 0, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	q.asked = wire[:n]
	if _, err := dns.PackDomainName(dns.CanonicalName(asked.Question[0].Name), q.lower[:], 0, nil, false); err != nil {
		t.Fatal(err)
	}
	o := asked.IsEdns0()
	reply := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}}
	reply.SetUDPSize(sizeUDP)
	var ecs *dns.EDNS0_SUBNET
	if o != nil {
		if q.opt.do = o.Do(); q.opt.do {
			reply.SetDo()
		}
		for _, option := range o.Option {
			if s, ok := option.(*dns.EDNS0_SUBNET); ok {
				ecs = s
				if address, ok := netip.AddrFromSlice(s.Address); ok && s.Family == 1 {
					q.opt.subnet = netip.PrefixFrom(address.Unmap(), int(s.SourceNetmask))
				} else if ok && s.Family == 2 {
					q.opt.subnet = netip.PrefixFrom(address, int(s.SourceNetmask))
				}
			}
		}
	}
	a := r.decide(&q, proceed, someone())
	if o != nil && a.rcode != dns.RcodeFormatError {
		reply.Option = oracleOptions(r, o, ecs, a, tcp)
	}
	m := &dns.Msg{Question: asked.Question, Answer: withCase(a.answers, &q), Ns: a.ns, Compress: true}
	m.Id, m.Response, m.Authoritative, m.Rcode = asked.Id, true, a.auth, a.rcode
	m.RecursionDesired, m.CheckingDisabled = asked.RecursionDesired, asked.CheckingDisabled
	room, meta := dns.MaxMsgSize, []dns.RR(nil)
	if o != nil {
		meta = []dns.RR{reply}
		room = min(max(int(o.UDPSize()), 512), 1232)
	} else {
		room = 512
	}
	if tcp {
		room = dns.MaxMsgSize
	}
	m.Extra = append(append(m.Extra, meta...), a.extra...)
	if m.Len() > room {
		m.Extra = slices.DeleteFunc(m.Extra, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeRRSIG })
	}
	if m.Len() > room {
		if m.Extra = meta; m.Len() > room {
			m.Answer, m.Ns, m.Truncated = nil, nil, true
		}
	}
	return m
}

func oracleOptions(r *responder, o *dns.OPT, ecs *dns.EDNS0_SUBNET, a answer, tcp bool) (all []dns.EDNS0) {
	if ecs != nil {
		scope := uint8(0)
		if ecs.SourceNetmask > 0 {
			scope = min(a.scope, map[uint16]uint8{1: 32, 2: 128}[ecs.Family])
		}
		all = append(all, &dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: ecs.Family, SourceNetmask: ecs.SourceNetmask, SourceScope: scope, Address: ecs.Address})
	}
	var cookie, nsid, idle dns.EDNS0
	for _, option := range o.Option {
		switch e := option.(type) {
		case *dns.EDNS0_COOKIE:
			if cookie == nil {
				given, _ := hex.DecodeString(e.Cookie)
				made, _ := r.cookies.reply(nil, given, someone())
				cookie = &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: hex.EncodeToString(made)}
			}
		case *dns.EDNS0_NSID:
			nsid = &dns.EDNS0_NSID{Code: dns.EDNS0NSID, Nsid: hex.EncodeToString([]byte(strings.Join(r.identity(), " ")))}
		case *dns.EDNS0_TCP_KEEPALIVE:
			if tcp {
				idle = &dns.EDNS0_TCP_KEEPALIVE{Code: dns.EDNS0TCPKEEPALIVE, Timeout: uint16(tcpIdle.Milliseconds() / 100)}
			}
		}
	}
	for _, option := range []dns.EDNS0{cookie, nsid, idle} {
		if option != nil {
			all = append(all, option)
		}
	}
	return all
}

// asOracle compares what respond says to b, over both transports, with the oracle and with
// each other; it says whether b was a query.
func asOracle(t *testing.T, r *responder, b []byte) (asked bool) {
	t.Helper()
	_, v := parseQuery(b)
	udp, tcp := r.respond(b, someone(), false, make([]byte, udpBuffer)), r.respond(b, someone(), true, nil)
	for _, way := range []struct {
		tcp      bool
		response []byte
	}{{false, udp}, {true, tcp}} {
		if v != proceed {
			continue
		}
		want := oracle(t, r, b, way.tcp)
		if want == nil {
			continue
		}
		asked = true
		wire, err := want.Pack()
		if err != nil {
			t.Fatalf("%x: the oracle's answer: %v", b, err)
		}
		if got, want := readable(b, way.response), readable(b, wire); got != want {
			t.Errorf("%x, over TCP %t\n%s\nthe oracle\n%s", b, way.tcp, got, want)
		}
	}
	sameOverBoth(t, b, udp, tcp)
	return asked
}

// sameOverBoth: TCP says the same as UDP, but for what had no room there, and the idle time.
func sameOverBoth(t *testing.T, b, udp, tcp []byte) {
	t.Helper()
	if (udp == nil) != (tcp == nil) {
		t.Errorf("%x is answered over UDP: %t, over TCP: %t", b, udp != nil, tcp != nil)
	}
	var u, c dns.Msg
	if udp == nil || tcp == nil || u.Unpack(udp) != nil || c.Unpack(tcp) != nil {
		return
	}
	text := func(records []dns.RR) string { return fmt.Sprint(records) }
	switch {
	case u.Rcode != c.Rcode || u.Authoritative != c.Authoritative || c.Truncated:
		t.Errorf("%x\nover UDP %v\nover TCP %v", b, u.MsgHdr, c.MsgHdr)
	case u.Truncated && len(u.Answer)+len(u.Ns) > 0:
		t.Errorf("%x: half an answer over UDP", b)
	case !u.Truncated && (text(u.Answer) != text(c.Answer) || text(u.Ns) != text(c.Ns)):
		t.Errorf("%x\nover UDP %v\nover TCP %v", b, &u, &c)
	}
}

// generated is a query as a client may send it.
func generated(t testing.TB, random *rand.Rand) []byte {
	t.Helper()
	of := func(words ...string) string { return words[random.IntN(len(words))] }
	names := []string{"harbor.example.org.", "four", "six", "two", "many", "huge", "nobody", "a.b.four", "ns-par1", "x.y", "*", "_tcp"}
	name := of(names...)
	if !strings.HasSuffix(name, ".") {
		name += ".harbor.example.org."
	}
	name = of(name, name, name, name, "example.org.", ".", "version.bind.", "id.server.", "org.", "otherharbor.example.org.")
	if random.IntN(3) == 0 {
		name = strings.Map(func(c rune) rune {
			if 'a' <= c && c <= 'z' && random.IntN(2) == 0 {
				return c - 'a' + 'A'
			}
			return c
		}, name)
	}
	fields := []string{name}
	if class := of("", "", "", "", "CH", "HS", "NONE"); class != "" {
		fields = append(fields, class)
	}
	fields = append(fields, of("A", "A", "A", "AAAA", "AAAA", "SOA", "NS", "TXT", "ANY", "AXFR", "CAA", "HTTPS", "DS", "DNSKEY", "NSEC", "RRSIG", "OPT", "TYPE0", fmt.Sprintf("TYPE%d", random.IntN(1<<16))))
	for _, word := range []string{"rd", "cd", "ad", "edns", "do", "ednsz", "nsid", "opt=11:", "opt=12:00000000", "opt=65001:abcd",
		fmt.Sprintf("edns=%d", random.IntN(5000)), "cookie=0102030405060708", "cookie=0102030405060708010000005cf79f111f8130c3eee29480",
		fmt.Sprintf("ecs=%s", of("10.1.7.0/24", "0.0.0.0/0", "192.0.2.1/32", "2001:db8:100::/56", "::/0", "203.0.112.0/20"))} {
		if random.IntN(5) == 0 {
			fields = append(fields, word)
		}
	}
	b, err := buildQuery(fields)
	if err != nil {
		t.Fatalf("%v: %v", fields, err)
	}
	return b
}

// mutated is a query with a few faults.
func mutated(b []byte, random *rand.Rand) []byte {
	for range random.IntN(6) {
		if len(b) == 0 {
			break
		}
		at := random.IntN(len(b))
		switch random.IntN(4) {
		case 0:
			b[at] = byte(random.IntN(256))
		case 1:
			b[at] ^= 1 << random.IntN(8)
		case 2:
			b = b[:at]
		case 3:
			b = append(b[:at:at], append([]byte{byte(random.IntN(256)), 0xc0, 12}[:1+random.IntN(3)], b[at:]...)...)
		}
	}
	return b
}

// responders answer from the zone of the wire tests, and from one that is signed.
func responders(t testing.TB) []*responder {
	t.Helper()
	signed := wireResponder(t)
	signed.answerer = signedView(t, newKey(t), newKey(t))
	return []*responder{wireResponder(t), signed}
}

// TestRespondAsTheOracle: whole queries, and queries with faults, are answered over both
// transports as miekg/dns alone would.
func TestRespondAsTheOracle(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, r := range responders(t) {
		for range 5000 {
			b := generated(t, random)
			if !asOracle(t, r, b) {
				t.Errorf("%x is no query to one of both", b)
			}
			asOracle(t, r, mutated(b, random))
			if t.Failed() {
				return
			}
		}
	}
}

func FuzzRespondAsTheOracle(f *testing.F) {
	for _, test := range readTests(f) {
		f.Add(test.query)
	}
	all := responders(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, r := range all {
			asOracle(t, r, b)
		}
	})
}
