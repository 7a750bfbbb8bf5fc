package gslb

import (
	"encoding/binary"
	"net/netip"

	"github.com/miekg/dns"
)

const (
	headerSize   = 12
	questionTail = 4   // type and class
	recordHead   = 10  // type, class, TTL and length, after the owner
	maxName      = 255 // of a name in wire form (RFC 1035, section 2.3.4)
)

// verdict is what the form of a message alone says about it: proceed, drop, or
// the response code that it is answered with.
type verdict int

const (
	proceed verdict = dns.RcodeSuccess
	drop    verdict = -1 // no answer: it is no query, or too short to have an ID
)

// query is a question and what was said beside it. Its slices are parts of the
// message that it was read from.
type query struct {
	id     uint16
	opcode uint8
	rd, cd bool
	tcp    bool // set by who received it
	qtype  uint16
	qclass uint16
	asked  []byte // the name in wire form, its case as asked; nil when no question could be read, or none came, for a cookie alone
	opt    opt
	tsig   int // where the TSIG record begins; 0: there is none

	lower  [maxName]byte
	cookie [clientCookie + serverCookie]byte // room for the one that it is answered with
}

// opt is the query's OPT record (RFC 6891).
type opt struct {
	present bool
	version uint8
	do      bool
	size    uint16       // of answers over UDP, as it was said
	nsid    bool         // asks who answers (RFC 5001)
	idle    bool         // asks for how long a connection may be idle (edns-tcp-keepalive, RFC 7828)
	cookie  []byte       // client's 8 bytes, then the server's 8 to 32 if it has any (RFC 7873); nil: none
	ecs     []byte       // the client subnet option's data, as it came (RFC 7871); nil: none
	subnet  netip.Prefix // what ecs says; invalid when it has no family, which only a /0 may leave out
}

// name is the question's name in wire form and lower case: the key of lookups.
func (q *query) name() []byte { return q.lower[:len(q.asked)] }

// owner is the name as it was asked in presentation form.
func (q *query) owner() string { return presentation(q.asked) }

// presentation is a name's presentation form; "" when wire is no name.
func presentation(wire []byte) string {
	name, _, err := dns.UnpackDomainName(wire, 0)
	if err != nil {
		return ""
	}
	return name
}

// parseQuery reads a message.
func parseQuery(b []byte) (q query, v verdict) {
	v = q.parse(b)
	return q, v
}

// parse reads a message. It is strict: what has two readings has none. With any other
// verdict than proceed, the query holds what was read until then.
func (q *query) parse(b []byte) verdict {
	if len(b) < headerSize || b[2]&0x80 != 0 {
		return drop
	}
	q.id = binary.BigEndian.Uint16(b)
	q.opcode = b[2] >> 3 & 0xf
	q.rd, q.cd = b[2]&1 != 0, b[3]&0x10 != 0
	v := q.read(b)
	if q.opcode != dns.OpcodeQuery {
		return dns.RcodeNotImplemented // whatever its sections mean there
	}
	return v
}

func (q *query) read(b []byte) verdict {
	at, questions := headerSize, binary.BigEndian.Uint16(b[4:])
	if questions > 1 {
		return dns.RcodeFormatError
	}
	if questions == 1 {
		if at = q.readQuestion(b); at < 0 {
			return dns.RcodeFormatError
		}
	}
	for section := 6; section < headerSize; section += 2 {
		for range binary.BigEndian.Uint16(b[section:]) {
			if at = q.readRecord(b, at, section == 10); at < 0 {
				return dns.RcodeFormatError
			}
		}
	}
	switch {
	case at != len(b):
		return dns.RcodeFormatError
	case q.tsig != 0:
		return dns.RcodeNotAuth // there are no keys here
	case q.opt.version != 0:
		return dns.RcodeBadVers
	case questions == 0 && q.opt.cookie == nil: // only a cookie can be asked for without a question (RFC 7873, section 5.4)
		return dns.RcodeFormatError
	}
	return proceed
}

// readQuestion says where the question ends; -1: it is malformed. A pointer is:
// there is no earlier name that it could point to.
func (q *query) readQuestion(b []byte) int {
	at := headerSize
	for {
		if at >= len(b) || b[at] > 63 {
			return -1
		}
		if b[at] == 0 {
			break
		}
		at += 1 + int(b[at])
		if at-headerSize >= maxName {
			return -1
		}
	}
	at++
	if len(b)-at < questionTail {
		return -1
	}
	q.asked = b[headerSize:at:at]
	for i, c := range q.asked {
		if 'A' <= c && c <= 'Z' { // a label's length is at most 63, which is before 'A'
			c += 'a' - 'A'
		}
		q.lower[i] = c
	}
	q.qtype = binary.BigEndian.Uint16(b[at:])
	q.qclass = binary.BigEndian.Uint16(b[at+2:])
	return at + questionTail
}

// readRecord says where the record that begins at start ends; -1: it is
// malformed, or where it may not be. What is neither OPT nor TSIG is skipped.
func (q *query) readRecord(b []byte, start int, additional bool) int {
	at := skipName(b, start)
	if at < 0 || len(b)-at < recordHead || q.tsig != 0 { // TSIG is the last one (RFC 8945, section 5.1)
		return -1
	}
	data := at + recordHead
	end := data + int(binary.BigEndian.Uint16(b[at+8:]))
	if end > len(b) {
		return -1
	}
	switch binary.BigEndian.Uint16(b[at:]) {
	case dns.TypeOPT:
		if !additional || q.opt.present || b[start] != 0 {
			return -1
		}
		q.opt = opt{
			present: true,
			size:    binary.BigEndian.Uint16(b[at+2:]),
			version: b[at+5],
			do:      b[at+6]&0x80 != 0,
		}
		if q.opt.version == 0 && !q.opt.read(b[data:end:end]) {
			return -1
		}
	case dns.TypeTSIG:
		if !additional {
			return -1
		}
		q.tsig = start
	}
	return end
}

// skipName says where the name that begins at start ends; -1: it is malformed.
// Pointers go backwards, and are not followed.
func skipName(b []byte, start int) int {
	at := start
	for at < len(b) && at-start < maxName {
		switch c := int(b[at]); {
		case c == 0:
			return at + 1
		case c < 64:
			at += 1 + c
		case c < 192 || at+1 >= len(b):
			return -1
		default:
			if to := (c&63)<<8 | int(b[at+1]); to < headerSize || to >= start {
				return -1
			}
			return at + 2
		}
	}
	return -1
}

// read reads the options; false: one is malformed. Those that are not known are
// skipped.
func (o *opt) read(data []byte) bool {
	for len(data) > 0 {
		if len(data) < 4 {
			return false
		}
		code, end := binary.BigEndian.Uint16(data), 4+int(binary.BigEndian.Uint16(data[2:]))
		if end > len(data) {
			return false
		}
		value := data[4:end:end]
		data = data[end:]
		switch code {
		case dns.EDNS0NSID:
			o.nsid = true // whatever it carries (RFC 5001, section 2.1)
		case dns.EDNS0TCPKEEPALIVE:
			o.idle = true
		case dns.EDNS0COOKIE:
			if n := len(value); n != clientCookie && (n < clientCookie+8 || n > clientCookie+32) {
				return false
			}
			if o.cookie == nil { // the first counts (RFC 7873, section 5.2)
				o.cookie = value
			}
		case dns.EDNS0SUBNET:
			if o.ecs != nil || !o.readSubnet(value) {
				return false
			}
		}
	}
	return true
}

// readSubnet reads a client subnet: family, source, scope, and exactly as many
// bytes of the address as the source needs, with no bit set beyond it
// (RFC 7871, section 6).
func (o *opt) readSubnet(value []byte) bool {
	if len(value) < 4 || value[3] != 0 { // in queries, the scope is 0
		return false
	}
	bits, address := int(value[2]), value[4:]
	if len(address) != (bits+7)/8 {
		return false
	}
	switch family := binary.BigEndian.Uint16(value); {
	case family == 0 && bits == 0: // how some say that no subnet is to be told
		o.ecs = value
		return true
	case family == 1 && bits <= 32:
		var a [4]byte
		copy(a[:], address)
		o.subnet = netip.PrefixFrom(netip.AddrFrom4(a), bits)
	case family == 2 && bits <= 128:
		var a [16]byte
		copy(a[:], address)
		o.subnet = netip.PrefixFrom(netip.AddrFrom16(a), bits)
	default:
		return false
	}
	o.ecs = value
	return o.subnet == o.subnet.Masked()
}
