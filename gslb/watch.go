package gslb

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"

	"github.com/miekg/dns"
	"golang.org/x/time/rate"
)

// decided is what a decision says of itself, for those who watch.
type decided struct {
	datacenter, tier string       // "" and "": nothing was to be decided; "" and a tier: nobody is answered
	subnet           netip.Prefix // whose it is, a /24 or /56 at the most exact; invalid: the resolver's
}

// watch sees each answer: the log of queries and the top talkers are fed by it. Neither
// keeps an answer waiting, and of clients both know their networks alone.
type watch struct {
	log *queryLog
	top *talkers
}

// saw takes what became of a query; how is what the rate limit said of it, and size the bytes
// of the answer, 0 where there is none. A nil watch sees nothing.
func (w *watch) saw(q *query, a *answer, from netip.Addr, how ruling, size int) {
	if w == nil {
		return
	}
	logs, n := w.log.samples(), w.top.samples()
	if !logs && n == 0 {
		return
	}
	of := a.decided.subnet
	if !of.IsValid() {
		of = together(from)
	}
	if n > 0 {
		w.top.add(talk{of, a.decided.datacenter, a.decided.tier, a.rcode, how}, n)
	}
	if logs {
		w.log.write(queryLine{of, a.decided, q.owner(), q.qtype, a.rcode, q.tcp, how, size})
	}
}

const (
	queryLines = 900 // a second, in the log
	queryBurst = 100 // at once beside them: in no second there are more than both
	queryQueue = 1000
)

// queryLog writes samples of what is asked and answered. Who answers never waits for who
// reads the log: lines that are too many are counted, and not written.
type queryLog struct {
	oneIn   atomic.Uint32 // of how many answers one is logged; 0: none is
	log     *slog.Logger
	limit   *rate.Limiter
	queue   chan queryLine
	dropped func() // counts a line that is not written
}

// queryLine is one answer.
type queryLine struct {
	client  netip.Prefix
	decided decided
	name    string
	qtype   uint16
	rcode   int
	tcp     bool
	how     ruling
	size    int
}

func newQueryLog(log *slog.Logger, oneIn int, dropped func()) *queryLog {
	l := &queryLog{log: log, limit: rate.NewLimiter(queryLines, queryBurst), queue: make(chan queryLine, queryQueue), dropped: dropped}
	l.oneIn.Store(uint32(oneIn))
	return l
}

// samples reports whether the next answer is one that is logged.
func (l *queryLog) samples() bool {
	n := l.oneIn.Load()
	return n > 0 && (n == 1 || rand.Uint32N(n) == 0)
}

func (l *queryLog) write(line queryLine) {
	if l.limit.Allow() {
		select {
		case l.queue <- line:
			return
		default:
		}
	}
	l.dropped()
}

// run writes the lines until ctx ends, and then those that are left.
func (l *queryLog) run(ctx context.Context) {
	for {
		select {
		case line := <-l.queue:
			line.to(l.log)
		case <-ctx.Done():
			for len(l.queue) > 0 {
				line := <-l.queue
				line.to(l.log)
			}
			return
		}
	}
}

func (line *queryLine) to(log *slog.Logger) {
	transport := "udp"
	if line.tcp {
		transport = "tcp"
	}
	log.LogAttrs(context.Background(), slog.LevelInfo, "query",
		slog.String("client", line.client.String()), slog.Bool("client_subnet", line.decided.subnet.IsValid()),
		slog.String("name", line.name), slog.String("type", dns.Type(line.qtype).String()),
		slog.String("datacenter", line.decided.datacenter), slog.String("tier", line.decided.tier),
		slog.String("rcode", rcodeName(line.rcode)), slog.String("limited", line.how.text()),
		slog.String("transport", transport), slog.Int("size", line.size))
}

func rcodeName(rcode int) string {
	if rcode == dns.RcodeBadVers { // the library's name is that of the same number in TSIG
		return "BADVERS"
	}
	if text := dns.RcodeToString[rcode]; text != "" {
		return text
	}
	return "RCODE" + dns.Type(rcode).String()[len("TYPE"):]
}

// text is the ruling's word in metrics, logs and reports; "" for what was sent.
func (r ruling) text() string {
	switch r {
	case slip:
		return "slipped"
	case discard:
		return "dropped"
	}
	return ""
}
