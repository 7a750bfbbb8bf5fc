package gslb

import (
	"fmt"
	"runtime/debug"
	"time"

	"github.com/miekg/dns"
)

// panicked tells of a query whose answer ended in a panic: with all that it takes to see it
// again, and once a second at most, for there may be many of them.
func (r *responder) panicked(why any, query []byte) {
	r.hooks.panicked()
	now := time.Now().Unix()
	if before := r.panics.Load(); r.log == nil || before == now || !r.panics.CompareAndSwap(before, now) {
		return
	}
	r.log.Error("panic while answering; the query got SERVFAIL", "panic", fmt.Sprint(why), "query", fmt.Sprintf("%x", query[:min(len(query), sizeUDP)]), "stack", string(debug.Stack()))
}

// serverFailure is the shortest answer: that this server has none, so that another one is
// asked. No more is done for it than copying.
func serverFailure(b []byte, q *query) []byte {
	end := headerSize
	if q.asked != nil {
		end += len(q.asked) + questionTail
	}
	response := append(make([]byte, 0, end), b[:end]...)
	clear(response[2:headerSize])
	response[2], response[3] = 0x80|b[2]&0x79, dns.RcodeServerFailure // QR, and the opcode and RD as asked
	if q.asked != nil {
		response[5] = 1
	}
	return response
}
