package gslb

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// someone asks.
func someone() netip.Addr { return netip.MustParseAddr("192.0.2.77") }

func TestRespondHidesNothingWhenTold(t *testing.T) {
	r := wireResponder(t)
	r.version = "breakwater 1.2.3"
	for _, c := range []struct{ ask, want string }{
		{"VERSION.bind. CH TXT", "NOERROR aa\nVERSION.bind.\t0\tCH\tTXT\t\"breakwater 1.2.3\""},
		{"version.server. CH TXT edns", "NOERROR aa edns\nversion.server.\t0\tCH\tTXT\t\"breakwater 1.2.3\""},
		{"version.server. CH ANY", "NOERROR aa\nversion.server.\t0\tCH\tTXT\t\"breakwater 1.2.3\""},
		{"hostname.bind. CH TXT", "NOERROR aa\nhostname.bind.\t0\tCH\tTXT\t\"ns-par1\""},
		{"version.bind. CH A", "REFUSED"},
		{"authors.bind. CH TXT", "REFUSED"},
		{"version.bind. IN TXT", "REFUSED"},
	} {
		query, err := buildQuery(strings.Fields(c.ask))
		if err != nil {
			t.Fatal(err)
		}
		if got := readable(query, r.respond(query, someone(), false, nil)); got != c.want {
			t.Errorf("%s: %s, want %s", c.ask, got, c.want)
		}
	}
	bare := &responder{answerer: loadZone(t)}
	query, _ := buildQuery(strings.Fields("harbor.example.org. A nsid cookie=0102030405060708"))
	if got := readable(query, bare.respond(query, someone(), false, nil)); !strings.HasPrefix(got, "NOERROR aa edns\n") {
		t.Errorf("without a name and cookies: %s", got)
	}
}

// TestRespondWithinRoom goes through every size that a client can say: glue goes
// first, then the whole answer.
func TestRespondWithinRoom(t *testing.T) {
	many := answer{auth: true}
	for i := range 30 {
		many.answers = append(many.answers, mustRR(t, fmt.Sprintf("harbor.example.org. 300 NS ns-%d.harbor.example.org.", i)))
		many.extra = append(many.extra, mustRR(t, fmt.Sprintf("ns-%d.harbor.example.org. 300 A 192.0.2.%d", i, i)))
	}
	r := &responder{answerer: answererFunc(func(*query, netip.Addr) answer { return many })}
	seen := map[string]bool{}
	for size := range 1500 {
		query, _ := buildQuery(strings.Fields(fmt.Sprint("harbor.example.org. NS do edns=", size)))
		b := r.respond(query, someone(), false, make([]byte, udpBuffer))
		var m dns.Msg
		if err := m.Unpack(b); err != nil {
			t.Fatal(err)
		}
		if len(b) > max(512, min(size, 1232)) {
			t.Fatalf("%d bytes for a client that receives %d", len(b), size)
		}
		seen[fmt.Sprint(m.Truncated, len(m.Answer), len(m.Extra))] = true
	}
	if want := map[string]bool{"true 0 1": true, "false 30 1": true, "false 30 31": true}; fmt.Sprint(seen) != fmt.Sprint(want) {
		t.Errorf("shapes (truncated, answers, additional) %v, want %v", seen, want)
	}
	query, _ := buildQuery(strings.Fields("harbor.example.org. NS"))
	var m dns.Msg
	if err := m.Unpack(r.respond(query, someone(), true, nil)); err != nil || m.Truncated || len(m.Extra) != 30 {
		t.Errorf("over TCP: %v", &m)
	}
}

func mustRR(t testing.TB, s string) dns.RR {
	t.Helper()
	rr, err := dns.NewRR(s)
	if err != nil {
		t.Fatal(err)
	}
	return rr
}

// TestRespondChangesNobodysRecords: answers are shared, whatever case was asked.
func TestRespondChangesNobodysRecords(t *testing.T) {
	shared := answer{auth: true, answers: []dns.RR{mustRR(t, "harbor.example.org. 30 A 192.0.2.1")}, extra: make([]dns.RR, 0, 10)}
	r := &responder{answerer: answererFunc(func(*query, netip.Addr) answer { return shared })}
	query, _ := buildQuery(strings.Fields("HARBOR.example.ORG. A edns"))
	r.respond(query, someone(), false, nil)
	if got := shared.answers[0].Header().Name; got != "harbor.example.org." {
		t.Errorf("the shared record is now of %s", got)
	}
	if shared.extra[:1][0] != nil {
		t.Error("the shared slice was written to")
	}
}

func TestRespondWithARecordThatCannotBe(t *testing.T) {
	bad := answer{auth: true, answers: []dns.RR{&dns.TXT{Hdr: dns.RR_Header{Name: strings.Repeat("x", 64) + ".", Rrtype: dns.TypeTXT, Class: 1}}}}
	r := &responder{answerer: answererFunc(func(*query, netip.Addr) answer { return bad })}
	query, _ := buildQuery(strings.Fields("harbor.example.org. A edns"))
	if got := readable(query, r.respond(query, someone(), true, nil)); got != "SERVFAIL aa edns" {
		t.Error(got)
	}
}

// TestRespondLimited follows one network over its rate: who proves its address is
// served on, others are told a way to prove it every second time.
func TestRespondLimited(t *testing.T) {
	now := time.Unix(1e9, 0)
	clock := func() time.Time { return now }
	var limited []bool
	r := &responder{answerer: loadZone(t), cookies: newCookies(clock), limit: newLimiter(5, clock),
		hooks: &hooks{onLimit: func(slipped bool) { limited = append(limited, slipped) }}}
	ask := func(what string, tcp bool) string {
		query, err := buildQuery(strings.Fields(what))
		if err != nil {
			t.Fatal(err)
		}
		first, _, _ := strings.Cut(readable(query, r.respond(query, someone(), tcp, nil)), "\n")
		return first
	}
	for range 5 {
		if got := ask("two.harbor.example.org. A", false); got != "NOERROR aa" {
			t.Fatalf("below the rate: %s", got)
		}
	}
	learned, _ := r.cookies.reply(nil, []byte("12345678"), someone())
	for _, c := range []struct {
		name, ask string
		tcp       bool
		want      string
	}{
		{"over the rate", "two.harbor.example.org. A", false, "drop"},
		{"every second slips", "two.harbor.example.org. A rd", false, "NOERROR aa tc rd"},
		{"over the rate again", "four.harbor.example.org. A edns", false, "drop"},
		{"a slip keeps OPT", "four.harbor.example.org. A edns", false, "NOERROR aa tc edns"},
		{"another kind", "nobody.harbor.example.org. A", false, "NXDOMAIN aa"},
		{"over TCP", "two.harbor.example.org. A", true, "NOERROR aa"},
		{"with a valid cookie", "two.harbor.example.org. A cookie=" + hex.EncodeToString(learned), false, "NOERROR aa edns cookie"},
		{"with a client's cookie", "two.harbor.example.org. A cookie=" + hex.EncodeToString(learned[:8]), false, "drop"},
		{"a slip gives the cookie", "two.harbor.example.org. A cookie=" + hex.EncodeToString(learned[:8]), false, "BADCOOKIE edns cookie"},
	} {
		if got := ask(c.ask, c.tcp); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	if want := []bool{false, true, false, true, false, true}; !slices.Equal(limited, want) {
		t.Errorf("told of slips %v, want %v", limited, want)
	}
	now = now.Add(time.Second)
	if got := ask("two.harbor.example.org. A", false); got != "NOERROR aa" {
		t.Errorf("a second later: %s", got)
	}
}

// FuzzRespond: whatever is sent, a response is one, to that query, within its
// limits, and a fault is answered with no more than was sent.
func FuzzRespond(f *testing.F) {
	for _, test := range readTests(f) {
		f.Add(test.query, false)
	}
	for _, c := range malformed {
		f.Add(unhex(f, c.hex), true)
	}
	r := wireResponder(f)
	f.Fuzz(func(t *testing.T, b []byte, tcp bool) {
		asked := bytes.Clone(b)
		response := r.respond(b, someone(), tcp, make([]byte, udpBuffer))
		if !bytes.Equal(b, asked) {
			t.Fatal("the query was changed")
		}
		if response == nil {
			return
		}
		var m dns.Msg
		if err := m.Unpack(response); err != nil {
			t.Fatalf("%x is answered with %x: %v", b, response, err)
		}
		if !m.Response || !bytes.Equal(response[:2], b[:2]) {
			t.Errorf("%x is answered with %x", b, response)
		}
		q, v := parseQuery(b)
		if len(response) > q.room() && !tcp || (v != proceed || m.Rcode == dns.RcodeFormatError) && len(response) > len(b) {
			t.Errorf("%d bytes are answered with %d", len(b), len(response))
		}
		if m.Rcode == dns.RcodeServerFailure {
			t.Errorf("%x cannot be answered", b)
		}
		if v == proceed && q.asked != nil && !bytes.HasPrefix(response[headerSize:], b[headerSize:headerSize+len(q.asked)+questionTail]) {
			t.Errorf("%x: the question is %x", b, response)
		}
	})
}

func TestWireTestsHaveTitles(t *testing.T) {
	seen := map[string]bool{}
	for _, test := range readTests(t) {
		if test.title == "" || seen[test.title] {
			t.Errorf("two tests are called %q", test.title)
		}
		seen[test.title] = true
	}
}

func BenchmarkRespond(b *testing.B) {
	query, err := buildQuery(strings.Fields("four.harbor.example.org. A ecs=203.0.113.0/24"))
	if err != nil {
		b.Fatal(err)
	}
	r, buf := wireResponder(b), make([]byte, udpBuffer)
	b.ReportAllocs()
	for b.Loop() {
		r.respond(query, someone(), false, buf)
	}
}

func BenchmarkParseQuery(b *testing.B) {
	query, err := buildQuery(strings.Fields("four.harbor.example.org. A ecs=203.0.113.0/24"))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		parseQuery(query)
	}
}
