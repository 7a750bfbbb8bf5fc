package gslb

import (
	"bytes"
	"encoding/binary"
	"sync/atomic"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// prepared is an answer that is the same for many: it is made when it is asked for first, and
// as good as the view that it is of. A copy of it says who it is for.
type prepared struct {
	answer
	count prometheus.Counter // of the decision; nil: nothing was decided, or nobody counts
}

// slot is the place of one.
type slot struct{ atomic.Pointer[prepared] }

// get makes what is not there. Two who ask for it at once make it both.
func (s *slot) get(build func() *prepared) *prepared {
	p := s.Load()
	if p == nil {
		p = build()
		s.Store(p)
	}
	return p
}

// known is a name that a zone has, by itself or because there are others below it.
type known struct {
	zone  *zoneView
	name  *nameView // nil: no name of the fleet file
	text  string
	slots [len(fixedTypes)][2]slot // what depends on nobody's health, without and with proof
}

// fixedTypes are those that are prepared beside addresses; a name has none of most.
var fixedTypes = [...]uint16{dns.TypeA, dns.TypeAAAA, dns.TypeSOA, dns.TypeNS, dns.TypeTXT, dns.TypeCAA, dns.TypeHTTPS, dns.TypeMX, dns.TypeSRV, dns.TypeCNAME, dns.TypeDS, dns.TypeDNSKEY, dns.TypeNSEC, dns.TypePTR, dns.TypeSVCB}

// index finds the names of the view's zones by their wire form in lower case.
func (v *view) index() {
	v.known = map[string]*known{}
	for _, z := range v.zones {
		all := append(append(append(keys(z.names), keys(z.hosts)...), keys(z.inner)...), z.Origin)
		for _, name := range all {
			if v.zoneOf(name) == z {
				v.known[string(wireName(name))] = &known{zone: z, name: z.names[name], text: name}
			}
		}
	}
}

// refusal is for names of no zone.
var refusal = answer{rcode: dns.RcodeRefused, body: &body{}}

// ready is an answer that was prepared, or is from now on; ok is false for what is rare, or
// for few.
func (v *view) ready(q *query, c client) (a answer, ok bool) {
	wire, proof := q.name(), 0
	n := v.known[string(wire)]
	below, address := n == nil, q.qtype == dns.TypeA || q.qtype == dns.TypeAAAA // ANY is asked for as one of these
	if label := wire[:1+int(wire[0])]; (below || !address) && (string(label) == "\x04_why" || string(label) == "\x0f_acme-challenge") {
		return a, false
	}
	for rest := wire; n == nil; n = v.known[string(rest)] { // until a name that a zone has: all that is below it is not there
		if rest[0] == 0 {
			return refusal, true
		}
		rest = rest[1+int(rest[0]):]
	}
	z := n.zone
	if q.opt.do && z.signed != nil {
		proof = 1
	}
	switch {
	case below && proof == 1: // which names are denied depends on the name
		return a, false
	case below:
		return z.unknown.get(func() *prepared {
			return z.prepare(z.nothing(dns.RcodeNameError), q, wireName(z.Origin))
		}).answer, true
	case n.name != nil && address:
		return z.ofName(v, n.name, q, c), true
	}
	for i, t := range fixedTypes {
		if t == q.qtype {
			return n.slots[i][proof].get(func() *prepared { return z.prepare(z.fixed(q, n.text), q, wire) }).answer, true
		}
	}
	return a, false
}

// prepare completes an answer and packs it behind a name.
func (z *zoneView) prepare(a answer, q *query, name []byte) *prepared {
	if q.opt.do && z.signed != nil {
		z.withProof(&a, q)
	}
	a.body = bodyBehind(&a, name)
	return &prepared{answer: a}
}

// body are an answer's records as they stand behind a question.
type body struct {
	answers, ns uint16
	records     []byte
	pointers    []int // where in records a compressed name points into the message
	name        int   // length of the question's name that it was packed behind
	lower       int   // from where in that name on they point at lower case
}

// bodyBehind packs records behind a question's name, which is in lower case; nil: that is not worth
// while, or they are not to be understood. Behind a longer name with the same end, all that
// the pointers point at is as much farther away.
func bodyBehind(a *answer, name []byte) *body {
	if len(a.extra) > 0 {
		return nil
	}
	m := &dns.Msg{Question: []dns.Question{{Name: presentation(name), Qtype: dns.TypeA, Qclass: dns.ClassINET}}, Answer: a.answers, Ns: a.ns, Compress: true}
	b, err := m.Pack()
	if err != nil {
		return nil
	}
	start := headerSize + len(name) + questionTail
	p := &body{answers: uint16(len(a.answers)), ns: uint16(len(a.ns)), records: b[start:], name: len(name), lower: len(name)}
	for at, i := start, 0; at < len(b); i++ {
		at = p.find(b, at, start, i < len(a.answers))
		if at < 0 || at+recordHead > len(b) {
			return nil
		}
		data := at + recordHead
		end := data + int(binary.BigEndian.Uint16(b[at+8:]))
		names := map[uint16]int{dns.TypeSOA: 2, dns.TypeNS: 1, dns.TypeCNAME: 1}[binary.BigEndian.Uint16(b[at:])]
		for at = data; names > 0; names-- {
			if at = p.find(b, at, start, false); at < 0 {
				return nil
			}
		}
		at = end
	}
	return p
}

// find notes where the name at b[at:] points, and returns its end. An owner that is the whole
// name of the question has its case.
func (p *body) find(b []byte, at, start int, owner bool) int {
	for at < len(b) && b[at] > 0 && b[at] < 64 {
		at += 1 + int(b[at])
	}
	switch {
	case at+1 < len(b) && b[at] >= 192:
		p.pointers = append(p.pointers, at-start)
		if to := int(binary.BigEndian.Uint16(b[at:]))&0x3fff - headerSize; to < p.name && (to > 0 || !owner) {
			p.lower = min(p.lower, to)
		}
		return at + 2
	case at < len(b) && b[at] == 0:
		return at + 1
	}
	return -1
}

// quick is the response made of what was packed before; nil: it is to be made in full, for it
// has no room, or something rare was asked for.
func (r *responder) quick(q *query, a *answer, cookie []byte, buf []byte) []byte {
	p := a.body
	if p == nil || q.opt.nsid || q.opt.idle && q.tcp || len(q.asked) < p.name || q.qclass != dns.ClassINET {
		return nil
	}
	farther := len(q.asked) - p.name
	if at := p.lower + farther; !bytes.Equal(q.asked[at:], q.lower[at:len(q.asked)]) {
		return nil
	}
	b := append(buf[:0], byte(q.id>>8), byte(q.id), 0x80, byte(a.rcode), 0, 1, byte(p.answers>>8), byte(p.answers), byte(p.ns>>8), byte(p.ns), 0, 0)
	if q.rd {
		b[2] |= 1
	}
	if a.auth {
		b[2] |= 4
	}
	if q.cd {
		b[3] |= 0x10
	}
	b = append(b, q.asked...)
	b = append(b, byte(q.qtype>>8), byte(q.qtype), byte(q.qclass>>8), byte(q.qclass))
	start := len(b)
	b = append(b, p.records...)
	if farther > 0 {
		for _, at := range p.pointers {
			to := b[start+at:]
			binary.BigEndian.PutUint16(to, binary.BigEndian.Uint16(to)+uint16(farther))
		}
	}
	if q.opt.present {
		b[headerSize-1] = 1
		b = q.appendOPT(b, a, cookie)
	}
	if len(b) > q.room() {
		return nil
	}
	return b
}

// appendOPT appends the OPT record, as message and options make it.
func (q *query) appendOPT(b []byte, a *answer, cookie []byte) []byte {
	flags := byte(0)
	if q.opt.do {
		flags = 0x80
	}
	size := 0
	if q.opt.ecs != nil {
		size += 4 + len(q.opt.ecs)
	}
	if cookie != nil {
		size += 4 + len(cookie)
	}
	b = append(b, 0, 0, byte(dns.TypeOPT), sizeUDP>>8, sizeUDP&0xff, 0, 0, flags, 0, 0, byte(size))
	if q.opt.ecs != nil {
		at := len(b) + 4
		b = append(append(b, 0, dns.EDNS0SUBNET, 0, byte(len(q.opt.ecs))), q.opt.ecs...)
		if q.opt.subnet.Bits() > 0 {
			b[at+3] = q.scope(a)
		}
	}
	if cookie != nil {
		b = append(append(b, 0, dns.EDNS0COOKIE, 0, byte(len(cookie))), cookie...)
	}
	return b
}

// scope is what the answer says of the client subnet.
func (q *query) scope(a *answer) uint8 { return min(a.scope, uint8(q.opt.subnet.Addr().BitLen())) }
