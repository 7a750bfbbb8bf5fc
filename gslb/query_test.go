package gslb

import (
	"bytes"
	"encoding/hex"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// packed is a query as miekg/dns writes it.
func packed(t testing.TB, name string, qtype uint16, options ...dns.EDNS0) []byte {
	t.Helper()
	m := new(dns.Msg).SetQuestion(name, qtype)
	m.Id = 0x1234
	if options != nil {
		m.SetEdns0(4096, true)
		m.IsEdns0().Option = options
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// unhex reads bytes written in hex, with spaces anywhere.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParseQuery(t *testing.T) {
	b := packed(t, "WwW.example.org.", dns.TypeAAAA,
		&dns.EDNS0_NSID{Code: dns.EDNS0NSID},
		&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0102030405060708"},
		&dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 20, Address: net.IP{192, 0, 16, 0}},
		&dns.EDNS0_LOCAL{Code: 65001, Data: []byte("unknown")})
	q, v := parseQuery(b)
	if v != proceed {
		t.Fatalf("verdict %d", v)
	}
	if got := q.owner(); got != "WwW.example.org." {
		t.Errorf("asked %q", got)
	}
	if got := presentation(q.name()); got != "www.example.org." {
		t.Errorf("name %q", got)
	}
	if q.id != 0x1234 || !q.rd || q.qtype != dns.TypeAAAA || q.qclass != dns.ClassINET {
		t.Errorf("read %+v", q)
	}
	o := q.opt
	if !o.present || o.version != 0 || !o.do || o.size != 4096 || !o.nsid || len(o.cookie) != 8 {
		t.Errorf("OPT read as %+v", o)
	}
	if want := netip.MustParsePrefix("192.0.16.0/20"); o.subnet != want {
		t.Errorf("subnet %v, want %v", o.subnet, want)
	}
}

func TestParseQueryAllocatesNothing(t *testing.T) {
	b := packed(t, "www.example.org.", dns.TypeA, &dns.EDNS0_SUBNET{
		Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 24, Address: net.IP{192, 0, 2, 0}})
	names := map[string]bool{"\x03www\x07example\x03org\x00": true}
	n := testing.AllocsPerRun(100, func() {
		if q, v := parseQuery(b); v != proceed || !names[string(q.name())] {
			t.Error("not read")
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

const (
	question = "03777777 076578616d706c65 036f7267 00 0001 0001" // www.example.org. A IN
	one      = "abcd 0100 0001 0000 0000 0000 "                  // header with one question
	withOpt  = "abcd 0100 0001 0000 0000 0001 " + question
)

// optWith is a message whose OPT has the option data, in hex, as its RDATA.
func optWith(rdata string) string {
	n := len(strings.ReplaceAll(rdata, " ", "")) / 2
	return withOpt + "00 0029 04d0 00000000 " + hex.EncodeToString([]byte{byte(n >> 8), byte(n)}) + rdata
}

var malformed = []struct {
	name, hex string
	want      verdict
}{
	{"nothing", "", drop},
	{"11 bytes", "abcd 0100 0001 0000 0000 00", drop},
	{"a response", "abcd 8100 0001 0000 0000 0000" + question, drop},
	{"header only", one, dns.RcodeFormatError},
	{"no question", "abcd 0100 0000 0000 0000 0000", dns.RcodeFormatError},
	{"two questions", "abcd 0100 0002 0000 0000 0000" + question + question, dns.RcodeFormatError},
	{"65535 questions", "abcd 0100 ffff 0000 0000 0000" + question, dns.RcodeFormatError},
	{"name ends in a label", one + "03777777 0765", dns.RcodeFormatError},
	{"name without its root", one + "03777777", dns.RcodeFormatError},
	{"no type", one + "03777777 00", dns.RcodeFormatError},
	{"half a class", one + "03777777 00 0001 00", dns.RcodeFormatError},
	{"pointer to itself", one + "c00c 0001 0001", dns.RcodeFormatError},
	{"pointer forward", one + "c010 0001 0001", dns.RcodeFormatError},
	{"pointer into the header", one + "c000 0001 0001", dns.RcodeFormatError},
	{"pointer after a label", one + "03777777 c00c 0001 0001", dns.RcodeFormatError},
	{"label type 01", one + "41 00 0001 0001", dns.RcodeFormatError},
	{"label type 10", one + "81 00 0001 0001", dns.RcodeFormatError},
	{"name of 256 bytes", one + strings.Repeat("3f"+strings.Repeat("61", 63), 3) + "3e" + strings.Repeat("61", 62) + "00 0001 0001", dns.RcodeFormatError},
	{"name of 255 bytes", one + strings.Repeat("3f"+strings.Repeat("61", 63), 3) + "3d" + strings.Repeat("61", 61) + "00 0001 0001", proceed},
	{"128 labels", one + strings.Repeat("0161", 128) + "00 0001 0001", dns.RcodeFormatError},
	{"127 labels", one + strings.Repeat("0161", 127) + "00 0001 0001", proceed},
	{"trailing garbage", one + question + "00", dns.RcodeFormatError},
	{"a record that is not there", withOpt, dns.RcodeFormatError},
	{"65535 records that are not there", "abcd 0100 0001 0000 0000 ffff" + question, dns.RcodeFormatError},
	{"record cut in its head", withOpt + "00 0029 04d0 0000", dns.RcodeFormatError},
	{"record longer than the message", withOpt + "00 0001 0001 00000000 0004 7f00", dns.RcodeFormatError},
	{"owner points to itself", withOpt + "c021 0001 0001 00000000 0000", dns.RcodeFormatError},
	{"owner points backwards", withOpt + "c00c 0001 0001 00000000 0000", proceed},
	{"owner of label type 10", withOpt + "8100 0001 0001 00000000 0000", dns.RcodeFormatError},
	{"OPT", optWith(""), proceed},
	{"two OPTs", "abcd 0100 0001 0000 0000 0002" + question + strings.Repeat("00 0029 04d0 00000000 0000", 2), dns.RcodeFormatError},
	{"OPT in the answer section", "abcd 0100 0001 0001 0000 0000" + question + "00 0029 04d0 00000000 0000", dns.RcodeFormatError},
	{"OPT in the authority section", "abcd 0100 0001 0000 0001 0000" + question + "00 0029 04d0 00000000 0000", dns.RcodeFormatError},
	{"OPT with an owner", withOpt + "0161 00 0029 04d0 00000000 0000", dns.RcodeFormatError},
	{"OPT whose owner is a pointer", withOpt + "c01c 0029 04d0 00000000 0000", dns.RcodeFormatError},
	{"OPT of version 1", withOpt + "00 0029 04d0 00010000 0000", dns.RcodeBadVers},
	{"OPT of version 255 with options that nobody knows", withOpt + "00 0029 04d0 00ff0000 0002 ffff", dns.RcodeBadVers},
	{"option cut in its head", optWith("0008 00"), dns.RcodeFormatError},
	{"option longer than OPT", optWith("fde9 0005 00"), dns.RcodeFormatError},
	{"unknown option", optWith("fde9 0002 0102"), proceed},
	{"NSID that carries something", optWith("0003 0002 0102"), proceed},
	{"ECS", optWith("0008 0007 0001 1800 c00002"), proceed},
	{"ECS of IPv6", optWith("0008 000b 0002 3800 20010db8000000"), proceed},
	{"ECS of nothing", optWith("0008 0004 0001 0000"), proceed},
	{"ECS without a family", optWith("0008 0004 0000 0000"), proceed},
	{"ECS without a family, but a source", optWith("0008 0005 0000 0800 c0"), dns.RcodeFormatError},
	{"ECS cut", optWith("0008 0003 0001 18"), dns.RcodeFormatError},
	{"ECS empty", optWith("0008 0000"), dns.RcodeFormatError},
	{"ECS with a short address", optWith("0008 0006 0001 1800 c000"), dns.RcodeFormatError},
	{"ECS with a long address", optWith("0008 0008 0001 1800 c0000200"), dns.RcodeFormatError},
	{"ECS with bits beyond its source", optWith("0008 0007 0001 1700 c00003"), dns.RcodeFormatError},
	{"ECS of /33", optWith("0008 0009 0001 2100 c000020000"), dns.RcodeFormatError},
	{"ECS of IPv6 /129", optWith("0008 0015 0002 8100" + strings.Repeat("00", 17)), dns.RcodeFormatError},
	{"ECS of family 3", optWith("0008 0007 0003 1800 c00002"), dns.RcodeFormatError},
	{"ECS with a scope", optWith("0008 0007 0001 1818 c00002"), dns.RcodeFormatError},
	{"two ECS", optWith(strings.Repeat("0008 0007 0001 1800 c00002", 2)), dns.RcodeFormatError},
	{"cookie of 7 bytes", optWith("000a 0007 01020304050607"), dns.RcodeFormatError},
	{"cookie of 8 bytes", optWith("000a 0008 0102030405060708"), proceed},
	{"cookie of 9 bytes", optWith("000a 0009 010203040506070809"), dns.RcodeFormatError},
	{"cookie of 15 bytes", optWith("000a 000f" + strings.Repeat("01", 15)), dns.RcodeFormatError},
	{"cookie of 16 bytes", optWith("000a 0010" + strings.Repeat("01", 16)), proceed},
	{"cookie of 40 bytes", optWith("000a 0028" + strings.Repeat("01", 40)), proceed},
	{"cookie of 41 bytes", optWith("000a 0029" + strings.Repeat("01", 41)), dns.RcodeFormatError},
	{"cookie empty", optWith("000a 0000"), dns.RcodeFormatError},
	{"TSIG", withOpt + "016b 00 00fa 00ff 00000000 0012 0161 00 000000000000 012c 0000 abcd 0000 0000 00", dns.RcodeFormatError},
	{"TSIG before another", "abcd 0100 0001 0000 0000 0002" + question + "00 00fa 00ff 00000000 0000 00 0029 04d0 00000000 0000", dns.RcodeFormatError},
	{"TSIG in the answer section", "abcd 0100 0001 0001 0000 0000" + question + "00 00fa 00ff 00000000 0000", dns.RcodeFormatError},
	{"TSIG with any key", withOpt + "00 00fa 00ff 00000000 0000", dns.RcodeNotAuth},
	{"STATUS", "abcd 1000 0001 0000 0000 0000" + question, dns.RcodeNotImplemented},
	{"NOTIFY", "abcd 2000 0001 0000 0000 0000" + question, dns.RcodeNotImplemented},
	{"UPDATE", "abcd 2800 0001 0000 0000 0000" + question, dns.RcodeNotImplemented},
	{"opcode 15 and no question", "abcd 7800 0000 0000 0000 0000", dns.RcodeNotImplemented},
}

func TestParseQueryByForm(t *testing.T) {
	for _, c := range malformed {
		b := unhex(t, c.hex)
		q, got := parseQuery(b)
		if got != c.want {
			t.Errorf("%s: verdict %d, want %d", c.name, got, c.want)
		}
		if got == proceed && !bytes.Equal(q.asked, b[headerSize:headerSize+len(q.asked)]) {
			t.Errorf("%s: the name is not as it was asked", c.name)
		}
	}
}

// FuzzParseQuery: no message makes the parser fail, and what it and miekg/dns
// both accept they read alike.
func FuzzParseQuery(f *testing.F) {
	for _, c := range malformed {
		f.Add(unhex(f, c.hex))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		q, v := parseQuery(b)
		var m dns.Msg
		if v != proceed || m.Unpack(b) != nil {
			return
		}
		if (q.asked == nil) != (len(m.Question) == 0) {
			t.Fatalf("a question is read: %t, by the oracle %v", q.asked != nil, m.Question)
		}
		if m.Id != q.id || m.Opcode != int(q.opcode) || m.RecursionDesired != q.rd || m.CheckingDisabled != q.cd {
			t.Errorf("header read as %+v, by the oracle as %+v", q, m.MsgHdr)
		}
		sameOpt(t, q.opt, m.IsEdns0())
		if q.asked == nil {
			return
		}
		asked := m.Question[0]
		if asked.Name != q.owner() || asked.Qtype != q.qtype || asked.Qclass != q.qclass {
			t.Errorf("question read as %s %d %d, by the oracle as %+v", q.owner(), q.qtype, q.qclass, asked)
		}
		if !bytes.Equal(q.name(), bytes.ToLower(q.asked)) && isASCII(q.asked) {
			t.Errorf("%q in lower case is %q", q.asked, q.name())
		}
	})
}

func isASCII(b []byte) bool {
	for _, c := range b {
		if c > 127 {
			return false
		}
	}
	return true
}

func sameOpt(t *testing.T, got opt, want *dns.OPT) {
	if got.present != (want != nil) {
		t.Fatalf("OPT read as %+v, by the oracle as %v", got, want)
	}
	if want == nil {
		return
	}
	if got.size != want.UDPSize() || got.do != want.Do() || got.version != want.Version() {
		t.Errorf("OPT read as %+v, by the oracle as %v", got, want)
	}
	cookies := 0
	for _, option := range want.Option {
		switch o := option.(type) {
		case *dns.EDNS0_NSID:
			if !got.nsid {
				t.Error("NSID is not seen")
			}
		case *dns.EDNS0_COOKIE:
			if cookies++; cookies == 1 && o.Cookie != hex.EncodeToString(got.cookie) {
				t.Errorf("cookie %x, by the oracle %s", got.cookie, o.Cookie)
			}
		case *dns.EDNS0_SUBNET:
			address, _ := netip.AddrFromSlice(o.Address)
			if o.Family == 1 {
				address = address.Unmap()
			}
			if o.Family != 0 && got.subnet != netip.PrefixFrom(address, int(o.SourceNetmask)) {
				t.Errorf("subnet %v, by the oracle %v", got.subnet, o)
			}
		}
	}
}
