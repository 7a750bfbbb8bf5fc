package gslb

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

const (
	sizePlain = 512  // over UDP without EDNS (RFC 1035, section 2.3.4)
	sizeUDP   = 1232 // over UDP at most, and what is said to be received: it is not fragmented
	sizeTCP   = dns.MaxMsgSize
)

// answer is what a question gets. The records may be shared by many: nobody
// changes them.
type answer struct {
	rcode              int
	auth               bool
	answers, ns, extra []dns.RR
	signatures         []dns.RR // of answers, where they are signed; the answerer adds them for who wants them
	scope              uint8    // of the client subnet, when the query had one
	decided            decided
	body               *body // the records as they stand in a message; nil: nobody has packed them
}

// answerer decides: what a question of class IN and an ordinary type gets.
// Owners are in lower case; respond gives them the case that was asked.
type answerer interface {
	answer(q *query, from netip.Addr) answer
}

// responder turns a query into a response: all that is the same whatever the
// zones are.
type responder struct {
	answerer answerer
	identity func() []string // who answers, to who asks for it (RFC 5001, and id.server); nil: not said; at most 128 bytes
	version  string          // version.bind and version.server; "": not said; at most 255 bytes
	cookies  *cookies        // nil: cookies are ignored
	limit    *limiter        // nil: as many responses as there are queries
	hooks    *hooks          // nil: nobody is told
	log      *slog.Logger    // nil: nothing is logged
	panics   atomic.Int64    // when one was logged last, in Unix seconds
	watch    *watch          // nil: nobody watches

	idle time.Duration // for how long a TCP client may take for a query, or for receiving answers; 0: 10 s
}

const tcpIdle = 10 * time.Second

func (r *responder) tcpIdle() time.Duration {
	if r.idle == 0 {
		return tcpIdle
	}
	return r.idle
}

// queries are those that are not in use.
var queries = sync.Pool{New: func() any { return new(query) }}

// respond is the response to a message, in buf if it is large enough; nil: none.
// README.md lists the rules. A panic is the fault of one query, and ends nothing else.
func (r *responder) respond(b []byte, from netip.Addr, tcp bool, buf []byte) (response []byte) {
	q := queries.Get().(*query)
	*q = query{}
	defer func() {
		if why := recover(); why != nil {
			r.panicked(why, b)
			response = serverFailure(b, q)
		}
		queries.Put(q)
	}()
	v := q.parse(b)
	if v == drop {
		return nil
	}
	q.tcp = tcp
	from = from.Unmap().WithZone("")
	var cookie []byte
	valid := false
	if v == proceed && q.opt.cookie != nil && r.cookies != nil {
		cookie, valid = r.cookies.reply(q.cookie[:0], q.opt.cookie, from)
	}
	known := tcp || valid
	a := r.decide(q, v, from)
	if v == proceed && q.asked == nil {
		a = cookieAlone(q.opt.cookie, cookie, valid)
	}
	truncated, how := false, send
	if !known && r.limit != nil {
		switch how = r.limit.rule(from, a.kind()); how {
		case discard:
			r.hooks.limited(false)
			r.watch.saw(q, &a, from, how, 0)
			return nil
		case slip:
			r.hooks.limited(true)
			a = answer{rcode: a.rcode, auth: a.auth, decided: a.decided}
			if truncated = cookie == nil; !truncated { // who has a client's cookie shall come back with the whole one
				a = answer{rcode: dns.RcodeBadCookie, decided: a.decided}
			}
		}
	}
	r.hooks.answered(q.qtype, a.rcode, tcp)
	fault := v != proceed || a.rcode == dns.RcodeFormatError
	if !truncated && !fault {
		if response = r.quick(q, &a, cookie, buf); response != nil {
			r.watch.saw(q, &a, from, how, len(response))
			return response
		}
	}
	m := r.message(q, &a, !fault, cookie)
	m.Truncated = truncated
	if v == dns.RcodeNotAuth && !appendBadKey(m, b, q.tsig) {
		m.Rcode = dns.RcodeFormatError
	}
	response = pack(m, q.room(), buf)
	if fault && len(response) > len(b) {
		response = nil // a fault is never worth more than it cost
	}
	r.watch.saw(q, &a, from, how, len(response))
	return response
}

// decide is the answer by the query's form, class and type; what is left is the
// answerer's.
func (r *responder) decide(q *query, v verdict, from netip.Addr) answer {
	refused := answer{rcode: dns.RcodeRefused}
	if v != proceed || q.asked == nil {
		return answer{rcode: int(v)}
	}
	switch q.qclass {
	case dns.ClassINET:
	case dns.ClassCHAOS:
		return r.chaos(q)
	default: // ANY too: there is no saying it with authority (RFC 1035, section 6.2)
		return refused
	}
	switch {
	case q.qtype == dns.TypeANY:
		return r.any(*q, from)
	case q.qtype == dns.TypeAXFR || q.qtype == dns.TypeIXFR:
		return refused
	case q.qtype == dns.TypeOPT || q.qtype == dns.TypeTSIG || q.qtype == dns.TypeNXNAME:
		return answer{rcode: dns.RcodeFormatError}
	case q.qtype > 128 && q.qtype < 256: // of the kind that is no record's (RFC 6895, section 3.1)
		return answer{rcode: dns.RcodeNotImplemented}
	}
	return r.answerer.answer(q, from)
}

// cookieAlone answers a query without a question, that asks for a cookie, or whether the
// one that it has is good (RFC 7873, section 5.4).
func cookieAlone(asked, cookie []byte, valid bool) answer {
	switch {
	case cookie == nil:
		return answer{rcode: dns.RcodeFormatError}
	case len(asked) > clientCookie && !valid:
		return answer{rcode: dns.RcodeBadCookie}
	}
	return answer{}
}

// any answers ANY with the first set that the name has (RFC 8482, section 4.1).
func (r *responder) any(q query, from netip.Addr) (a answer) {
	for _, q.qtype = range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeSOA} {
		if a = r.answerer.answer(&q, from); len(a.answers) > 0 || a.rcode != dns.RcodeSuccess {
			return a
		}
	}
	return a
}

// chaos says who and what answers, if that is to be known.
func (r *responder) chaos(q *query) answer {
	var text []string
	switch presentation(q.name()) {
	case "version.bind.", "version.server.":
		if r.version != "" {
			text = []string{r.version}
		}
	case "id.server.", "hostname.bind.":
		if r.identity != nil {
			text = r.identity()
		}
	}
	if text == nil || q.qtype != dns.TypeTXT && q.qtype != dns.TypeANY {
		return answer{rcode: dns.RcodeRefused}
	}
	return answer{auth: true, answers: []dns.RR{&dns.TXT{
		Hdr: dns.RR_Header{Name: q.owner(), Rrtype: dns.TypeTXT, Class: dns.ClassCHAOS},
		Txt: text,
	}}}
}

func (a *answer) kind() kind {
	switch {
	case a.rcode == dns.RcodeNameError:
		return kindNXDOMAIN
	case a.rcode != dns.RcodeSuccess:
		return kindError
	case len(a.answers) == 0:
		return kindNodata
	}
	return kindAnswer
}

// message is the response. Options are answered only when the query was good.
func (r *responder) message(q *query, a *answer, good bool, cookie []byte) *dns.Msg {
	m := &dns.Msg{Answer: withCase(a.answers, q), Ns: a.ns, Extra: a.extra, Compress: true}
	m.Id, m.Opcode, m.Rcode = q.id, int(q.opcode), a.rcode
	m.Response, m.Authoritative = true, a.auth
	m.RecursionDesired, m.CheckingDisabled = q.rd, q.cd
	if q.asked != nil {
		m.Question = []dns.Question{{Name: q.owner(), Qtype: q.qtype, Qclass: q.qclass}}
	}
	if !q.opt.present {
		return m
	}
	o := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}}
	o.SetUDPSize(sizeUDP)
	if q.opt.do {
		o.SetDo()
	}
	if good {
		o.Option = r.options(q, a, cookie)
	}
	m.Extra = append([]dns.RR{o}, a.extra...)
	return m
}

func (r *responder) options(q *query, a *answer, cookie []byte) (options []dns.EDNS0) {
	add := func(code uint16, data []byte) {
		options = append(options, &dns.EDNS0_LOCAL{Code: code, Data: data})
	}
	if q.opt.ecs != nil {
		ecs := bytes.Clone(q.opt.ecs) // as it came, but for the scope
		if q.opt.subnet.Bits() > 0 {
			ecs[3] = q.scope(a)
		}
		add(dns.EDNS0SUBNET, ecs)
	}
	if cookie != nil {
		add(dns.EDNS0COOKIE, cookie)
	}
	if q.opt.nsid && r.identity != nil {
		add(dns.EDNS0NSID, []byte(strings.Join(r.identity(), " ")))
	}
	if q.opt.idle && q.tcp {
		add(dns.EDNS0TCPKEEPALIVE, binary.BigEndian.AppendUint16(nil, uint16(min(r.tcpIdle()/(100*time.Millisecond), math.MaxUint16))))
	}
	return options
}

// withCase gives the records of the name that was asked the case in which it was
// asked: resolvers compare it to know a forged response.
func withCase(records []dns.RR, q *query) []dns.RR {
	if bytes.Equal(q.asked, q.name()) {
		return records
	}
	asked, name := q.owner(), presentation(q.name())
	out := make([]dns.RR, len(records))
	for i, rr := range records {
		if out[i] = rr; rr.Header().Name == name {
			out[i] = dns.Copy(rr)
			out[i].Header().Name = asked
		}
	}
	return out
}

// appendBadKey answers a signature with a key that is not known: there are none
// (RFC 8945, section 5.2.1). It says whether the signature could be read.
func appendBadKey(m *dns.Msg, b []byte, at int) bool {
	rr, _, err := dns.UnpackRR(b, at)
	if err != nil {
		return false
	}
	t, ok := rr.(*dns.TSIG)
	if !ok || t.Algorithm == "" {
		return false
	}
	t.Hdr.Class, t.Hdr.Ttl = dns.ClassANY, 0
	t.MAC, t.MACSize, t.OtherData, t.OtherLen = "", 0, "", 0
	t.OrigId, t.Error = m.Id, dns.RcodeBadKey
	m.Extra = append(m.Extra, t)
	return true
}

// room is how long the response may be.
func (q *query) room() int {
	switch {
	case q.tcp:
		return sizeTCP
	case !q.opt.present:
		return sizePlain
	}
	return min(max(int(q.opt.size), sizePlain), sizeUDP)
}

// pack makes the response's bytes. What does not fit is first the additional
// records, which nobody misses, then everything but OPT; then TCP is to be asked.
func pack(m *dns.Msg, room int, buf []byte) []byte {
	b, err := m.PackBuffer(buf)
	switch {
	case err == nil && len(b) <= room:
		return b
	case err != nil && m.Rcode != dns.RcodeServerFailure: // a record that the zone cannot have
		m.Answer, m.Ns, m.Extra, m.Rcode = nil, nil, keepMeta(m.Extra), dns.RcodeServerFailure
		return pack(m, room, buf)
	case slices.ContainsFunc(m.Extra, isSignature): // of glue, before glue itself (RFC 4035, section 3.1.1)
		m.Extra = slices.DeleteFunc(slices.Clone(m.Extra), isSignature)
		return pack(m, room, buf)
	case len(keepMeta(m.Extra)) < len(m.Extra):
		m.Extra = keepMeta(m.Extra)
		return pack(m, room, buf)
	case len(m.Answer)+len(m.Ns) > 0:
		m.Answer, m.Ns, m.Truncated = nil, nil, true
		return pack(m, room, buf)
	}
	return nil
}

func isSignature(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeRRSIG }

// keepMeta leaves what belongs to the message, not to the zone.
func keepMeta(extra []dns.RR) (meta []dns.RR) {
	for _, rr := range extra {
		switch rr.(type) {
		case *dns.OPT, *dns.TSIG:
			meta = append(meta, rr)
		}
	}
	return meta
}
