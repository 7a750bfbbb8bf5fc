package gslb

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// A wire test is a paragraph of a file in testdata/wire:
//
//	# what is tested; [udp] or [tcp]: only there; [own]: only we, not the peers
//	> name [class] type [rd] [cd] [ad] [z] [opcode=4] [edns[=size]] [version=1] [do] [ednsz] [ecs=192.0.2.0/24] [cookie=hex] [nsid] [opt=65001:hex]
//	> raw hex, instead; further lines continue it
//	< NOERROR [aa] [tc] [ra] [rd] [cd] [ad] [z] [header] [edns[=size]] [version=1] [do] [ednsz] [ecs=192.0.2.0/24/24] [cookie] [nsid=text] [keepalive=100] [opt=65001:hex] [tsig=BADKEY]
//	< drop, instead
//	the answer's records; then, after lines that say so, those of "authority" and "additional"
//
// "cookie" is the client's with a server's of 16 bytes. "header" is a response without a question; any other has the question of the
// query, byte for byte. The size of "edns" is 1232 when not said.
type wireTest struct {
	title    string
	udp, tcp bool
	own      bool
	query    []byte
	want     string // see readable
}

// readTests reads the files in their names' order.
func readTests(t testing.TB) (tests []wireTest) {
	t.Helper()
	files, err := filepath.Glob("testdata/wire/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no wire tests: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for paragraph := range strings.SplitSeq(string(text), "\n\n") {
			if strings.Contains(paragraph, "\n> ") {
				test, err := readTest(paragraph)
				if err != nil {
					t.Fatalf("%s: %q: %v", file, test.title, err)
				}
				tests = append(tests, test)
			}
		}
	}
	return tests
}

func readTest(paragraph string) (w wireTest, err error) {
	var asked string
	sections := [3][]string{}
	section := 0
	for line := range strings.Lines(strings.TrimSpace(paragraph)) {
		mark, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case mark == "#":
			w.title += rest
		case mark == ">":
			asked += " " + rest
		case mark == "<":
			w.want = strings.Join(strings.Fields(rest), " ")
		case mark == "authority":
			section = 1
		case mark == "additional":
			section = 2
		default:
			rr, err := dns.NewRR(line)
			if err != nil {
				return w, err
			}
			sections[section] = append(sections[section], rr.String())
		}
	}
	w.udp, w.tcp = !strings.Contains(w.title, "[tcp]"), !strings.Contains(w.title, "[udp]")
	w.own = strings.Contains(w.title, "[own]")
	w.title = strings.TrimSpace(strings.NewReplacer("[tcp]", "", "[udp]", "", "[own]", "").Replace(w.title))
	w.want += readableSections(sections)
	fields := strings.Fields(asked)
	if fields[0] == "raw" {
		w.query, err = hex.DecodeString(strings.Join(fields[1:], ""))
	} else {
		w.query, err = buildQuery(fields)
	}
	return w, err
}

func readableSections(sections [3][]string) (s string) {
	for i, title := range []string{"", "\nauthority", "\nadditional"} {
		if len(sections[i]) == 0 {
			continue
		}
		slices.Sort(sections[i])
		s += title + "\n" + strings.Join(sections[i], "\n")
	}
	return s
}

// buildQuery writes a query; miekg/dns only where it writes what it is told.
func buildQuery(fields []string) ([]byte, error) {
	m := new(dns.Msg)
	m.Id = 0xabcd
	class, rest := uint16(dns.ClassINET), fields[1:]
	if c, ok := dns.StringToClass[rest[0]]; ok && rest[0] != "ANY" || ok && len(rest) > 1 && dns.StringToType[rest[1]] != 0 {
		class, rest = c, rest[1:]
	}
	qtype, ok := dns.StringToType[rest[0]]
	if !ok {
		n, err := strconv.ParseUint(strings.TrimPrefix(rest[0], "TYPE"), 10, 16)
		if err != nil {
			return nil, fmt.Errorf("type %q is not known", rest[0])
		}
		qtype = uint16(n)
	}
	m.Question = []dns.Question{{Name: fields[0], Qtype: qtype, Qclass: class}}
	o := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}}
	o.SetUDPSize(sizeUDP)
	withEDNS := false
	for _, field := range rest[1:] {
		key, value, _ := strings.Cut(field, "=")
		if isHeader, err := setHeader(m, key, value); isHeader || err != nil {
			if err != nil {
				return nil, err
			}
			continue
		}
		withEDNS = true
		if err := setOPT(o, key, value); err != nil {
			return nil, err
		}
	}
	if withEDNS {
		m.Extra = []dns.RR{o}
	}
	return m.Pack()
}

func setHeader(m *dns.Msg, key, value string) (known bool, err error) {
	switch key {
	case "rd":
		m.RecursionDesired = true
	case "cd":
		m.CheckingDisabled = true
	case "ad":
		m.AuthenticatedData = true
	case "z":
		m.Zero = true
	case "opcode":
		m.Opcode, err = strconv.Atoi(value)
	default:
		return false, nil
	}
	return true, err
}

func setOPT(o *dns.OPT, key, value string) (err error) {
	add := func(code uint16, data []byte) {
		o.Option = append(o.Option, &dns.EDNS0_LOCAL{Code: code, Data: data})
	}
	switch key {
	case "edns":
		if n, err := strconv.ParseUint(value, 10, 16); err == nil {
			o.SetUDPSize(uint16(n))
		}
	case "version":
		n, err := strconv.ParseUint(value, 10, 8)
		o.SetVersion(uint8(n))
		return err
	case "do":
		o.SetDo()
	case "ednsz":
		o.SetZ(0x7fff)
	case "ecs":
		prefix, err := netip.ParsePrefix(value)
		if err != nil {
			return err
		}
		family := byte(1)
		if prefix.Addr().Is6() {
			family = 2
		}
		address := prefix.Addr().AsSlice()[:(prefix.Bits()+7)/8]
		add(dns.EDNS0SUBNET, append([]byte{0, family, byte(prefix.Bits()), 0}, address...))
	case "nsid":
		add(dns.EDNS0NSID, nil)
	case "cookie", "opt":
		code, data := uint64(dns.EDNS0COOKIE), value
		if key == "opt" {
			number, rest, _ := strings.Cut(value, ":")
			if code, err = strconv.ParseUint(number, 10, 16); err != nil {
				return err
			}
			data = rest
		}
		b, err := hex.DecodeString(data)
		add(uint16(code), b)
		return err
	default:
		return fmt.Errorf("%q is not known", key)
	}
	return nil
}

// readable is a response in the form of a test's "<" lines; what is wrong
// with it that these cannot say comes first.
func readable(query, response []byte) string {
	if response == nil {
		return "drop"
	}
	var m dns.Msg
	if err := m.Unpack(response); err != nil {
		return "unreadable: " + err.Error()
	}
	words := []string{rcodeText(m.Rcode)}
	if m.Id != binary.BigEndian.Uint16(query) || !m.Response || m.Opcode != int(query[2]>>3&15) {
		words = append(words, "of another query")
	}
	for _, flag := range []struct {
		set  bool
		word string
	}{{m.Authoritative, "aa"}, {m.Truncated, "tc"}, {m.RecursionAvailable, "ra"}, {m.RecursionDesired, "rd"},
		{m.CheckingDisabled, "cd"}, {m.AuthenticatedData, "ad"}, {m.Zero, "z"}, {len(m.Question) == 0, "header"}} {
		if flag.set {
			words = append(words, flag.word)
		}
	}
	if n := len(m.Question); n == 1 {
		if end := skipName(query, headerSize) + questionTail; end > len(query) || len(response) < end || !bytes.Equal(response[headerSize:end], query[headerSize:end]) {
			words = append(words, "other question")
		}
	} else if n > 1 {
		words = append(words, fmt.Sprint(n, " questions"))
	}
	sections := [3][]string{}
	for i, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		for _, rr := range section {
			switch rr := rr.(type) {
			case *dns.OPT:
				words = append(words, readableOPT(rr, query)...)
			case *dns.TSIG:
				words = append(words, "tsig="+rcodeText(int(rr.Error)))
			default:
				sections[i] = append(sections[i], rr.String())
			}
		}
	}
	return strings.Join(words, " ") + readableSections(sections)
}

func rcodeText(rcode int) string {
	switch rcode {
	case dns.RcodeBadVers:
		return "BADVERS" // the same number is BADSIG
	case dns.RcodeNotImplemented:
		return "NOTIMP"
	}
	return dns.RcodeToString[rcode]
}

func readableOPT(o *dns.OPT, query []byte) []string {
	words := []string{"edns"}
	if o.UDPSize() != sizeUDP {
		words[0] = fmt.Sprintf("edns=%d", o.UDPSize())
	}
	if o.Version() != 0 {
		words = append(words, fmt.Sprintf("version=%d", o.Version()))
	}
	if o.Do() {
		words = append(words, "do")
	}
	if o.Z() != 0 {
		words = append(words, "ednsz")
	}
	for _, option := range o.Option {
		switch e := option.(type) {
		case *dns.EDNS0_SUBNET:
			words = append(words, fmt.Sprintf("ecs=%s/%d/%d", e.Address, e.SourceNetmask, e.SourceScope))
		case *dns.EDNS0_COOKIE:
			b, _ := hex.DecodeString(e.Cookie)
			words = append(words, "cookie")
			if len(b) < clientCookie || !bytes.Contains(query, b[:clientCookie]) {
				words = append(words, "of another client")
			} else if len(b) != clientCookie+serverCookie {
				words = append(words, fmt.Sprintf("(%d bytes)", len(b)))
			}
		case *dns.EDNS0_NSID:
			text, _ := hex.DecodeString(e.Nsid)
			words = append(words, "nsid="+string(text))
		case *dns.EDNS0_TCP_KEEPALIVE:
			words = append(words, fmt.Sprintf("keepalive=%d", e.Timeout))
		case *dns.EDNS0_LOCAL:
			words = append(words, fmt.Sprintf("opt=%d:%x", e.Code, e.Data))
		default:
			words = append(words, fmt.Sprintf("opt=%d", option.Option()))
		}
	}
	return words
}

// TestWire runs the list over both transports, and its own core.
func TestWire(t *testing.T) {
	server := startServer(t, &server{responder: wireResponder(t)}, "127.0.0.1:0")
	for _, test := range readTests(t) {
		t.Run(test.title, func(t *testing.T) {
			for _, way := range []struct {
				name string
				on   bool
				ask  func(testing.TB, string, []byte) []byte
			}{{"UDP", test.udp, askUDP}, {"TCP", test.tcp, askTCP}} {
				if !way.on {
					continue
				}
				response := way.ask(t, server, test.query)
				if got := readable(test.query, response); got != test.want {
					t.Errorf("over %s\n%s\nwant\n%s", way.name, got, test.want)
				}
				checkAmplification(t, test, response)
			}
		})
	}
}

// checkAmplification: who is lied about as the sender gets at most 2.5 times
// what was sent, for addresses.
func checkAmplification(t *testing.T, test wireTest, response []byte) {
	t.Helper()
	var m dns.Msg
	if response == nil || m.Unpack(response) != nil || len(m.Answer) == 0 || len(m.Answer) > 2 {
		return
	}
	if asked := m.Question[0].Qtype; asked != dns.TypeA && asked != dns.TypeAAAA {
		return
	}
	if times := float64(len(response)) / float64(len(test.query)); times > 2.5 {
		t.Errorf("%d bytes are answered with %d: %.1f times", len(test.query), len(response), times)
	}
}

func wireResponder(t testing.TB) *responder {
	return &responder{answerer: loadZone(t), identity: func() []string { return []string{"ns-par1"} }, cookies: newCookies(at(1e9))}
}
