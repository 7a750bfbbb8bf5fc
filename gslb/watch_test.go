package gslb

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"example.org/breakwater/internal/trial"
)

// loggedQueries are the lines of the query log.
type loggedQueries struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *loggedQueries) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// lines are those of queries, without their times.
func (l *loggedQueries) lines(t *testing.T) (all []string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.b.String()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatal(err)
		}
		if fields["msg"] != "query" {
			continue
		}
		all = append(all, fmt.Sprint(fields["client"], fields["client_subnet"], fields["name"], fields["type"], fields["datacenter"], fields["tier"], fields["rcode"], fields["limited"], fields["transport"], fields["size"]))
	}
	return all
}

// becomes waits until there are so many lines.
func (l *loggedQueries) becomes(t *testing.T, n int) []string {
	t.Helper()
	trial.Until(t, func() error {
		if got := len(l.lines(t)); got != n {
			return fmt.Errorf("%d queries are in the log, want %d", got, n)
		}
		return nil
	})
	return l.lines(t)
}

func TestQueryLog(t *testing.T) {
	f, log := newFleetOfFiles(t), new(loggedQueries)
	f.cfg.Log, f.cfg.QueryLog = slog.New(slog.NewJSONHandler(log, nil)), 1
	r := f.run(t)
	r.ask("H.example.", "10.2.3.77/32", dns.TypeA)
	exact := r.ask("h.example.", "10.2.0.0/16", dns.TypeA)
	exact.Compress = true
	size := exact.Len()
	r.ask("h.example.", "", dns.TypeA)
	r.ask("no.h.example.", "", dns.TypeMX)
	r.ask("two.h.example.", "10.2.3.77/32", dns.TypeAAAA)
	m := new(dns.Msg)
	m.SetQuestion("elsewhere.example.", dns.TypeTXT)
	if _, _, err := (&dns.Client{Net: "tcp"}).Exchange(m, r.Addresses()[0]); err != nil {
		t.Fatal(err)
	}
	lines := log.becomes(t, 6)
	resolver := "par1"
	if strings.Contains(lines[2], "mad1") { // by weight
		resolver = "mad1"
	}
	for i, want := range []string{
		fmt.Sprint("10.2.3.0/24", true, "H.example.", "A", "mad1", "nearest", "NOERROR", "", "udp", size+2),
		fmt.Sprint("10.2.0.0/16", true, "h.example.", "A", "mad1", "nearest", "NOERROR", "", "udp", size),
		fmt.Sprint("127.0.0.0/24", false, "h.example.", "A", resolver, "nearest", "NOERROR", "", "udp", size-10),
		fmt.Sprint("127.0.0.0/24", false, "no.h.example.", "MX", "", "", "NXDOMAIN", "", "udp", ""),
		fmt.Sprint("10.2.3.0/24", true, "two.h.example.", "AAAA", "par1", "nearest", "NOERROR", "", "udp", ""),
		fmt.Sprint("127.0.0.0/24", false, "elsewhere.example.", "TXT", "", "", "REFUSED", "", "tcp", 35),
	} {
		if !strings.HasPrefix(lines[i], want) {
			t.Errorf("line %d\n%s, want\n%s", i, lines[i], want)
		}
	}
	// From one moment to the next there are none, and again.
	f.cfg.QueryLog = 0
	if err := r.Reload(f.cfg); err != nil {
		t.Fatal(err)
	}
	r.ask("h.example.", "", dns.TypeA)
	f.cfg.QueryLog = 1
	if err := r.Reload(f.cfg); err != nil {
		t.Fatal(err)
	}
	r.ask("h.example.", "", dns.TypeNS)
	if lines := log.becomes(t, 7); !strings.Contains(lines[6], "NS") {
		t.Errorf("a query is in the log while it is off: %s", lines[6])
	}
}

// logging is a responder with a query log, and how many lines it did not write.
func logging(t testing.TB, oneIn int, to io.Writer) (r *responder, dropped *atomic.Int64) {
	t.Helper()
	dropped = new(atomic.Int64)
	r = wireResponder(t)
	r.watch = &watch{newQueryLog(slog.New(slog.NewJSONHandler(to, nil)), oneIn, func() { dropped.Add(1) }), newTalkers(time.Now)}
	return r, dropped
}

func asksForFour(t testing.TB) []byte {
	t.Helper()
	b, err := buildQuery(strings.Fields("four.harbor.example.org. A ecs=203.0.113.0/24"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A second's lines are bounded, and what is not written is counted, all of it.
func TestQueryLogIsBounded(t *testing.T) {
	log := new(loggedQueries)
	r, dropped := logging(t, 1, log)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		r.watch.log.run(ctx)
		close(ended)
	}()
	const all = 20_000
	begun := time.Now()
	for range all {
		if r.respond(asksForFour(t), someone(), false, nil) == nil {
			t.Fatal("no answer")
		}
	}
	most := queryBurst + int(float64(queryLines)*time.Since(begun).Seconds()) + 1
	cancel()
	<-ended
	if n := len(log.lines(t)); n > most || n < queryBurst || n+int(dropped.Load()) != all {
		t.Errorf("of %d queries %d are in the log, %d at most, and %d are counted as left out", all, n, most, dropped.Load())
	}
}

// stuck is a log that nobody reads.
type stuck struct{ until chan struct{} }

func (s stuck) Write(p []byte) (int, error) {
	<-s.until
	return len(p), nil
}

// Answers go on while nobody reads the log.
func TestQueryLogThatNobodyReads(t *testing.T) {
	until := make(chan struct{})
	r, dropped := logging(t, 1, stuck{until})
	r.watch.log.limit.SetLimit(1e9)
	r.watch.log.limit.SetBurst(1e9)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		r.watch.log.run(ctx)
		close(ended)
	}()
	const all = 3 * queryQueue
	for range all {
		r.respond(asksForFour(t), someone(), false, nil)
	}
	if n := dropped.Load(); n < all-queryQueue-1 || n == all {
		t.Errorf("%d of %d are counted as left out", n, all)
	}
	cancel()
	close(until)
	<-ended
}

// One in ten are about that many, by chance.
func TestQueryLogTakesSamples(t *testing.T) {
	r, _ := logging(t, 10, io.Discard)
	n := 0
	for range 10_000 {
		if r.watch.log.samples() {
			n++
		}
	}
	if n < 700 || n > 1300 {
		t.Errorf("%d of 10000", n)
	}
}

func TestWhatIsOffAllocatesNothing(t *testing.T) {
	r, _ := logging(t, 0, io.Discard)
	q, buf := asksForFour(t), make([]byte, udpBuffer)
	off := testing.AllocsPerRun(1000, func() { r.respond(q, someone(), false, buf) })
	r.watch = nil
	if without := testing.AllocsPerRun(1000, func() { r.respond(q, someone(), false, buf) }); off > without {
		t.Errorf("%v allocations an answer, and %v where nobody watches", off, without)
	}
}

// What the rate limit holds back is seen all the same.
func TestWhatIsLimitedIsSeen(t *testing.T) {
	log := new(loggedQueries)
	r, _ := logging(t, 1, log)
	r.limit = newLimiter(1, func() time.Time { return time.Unix(1e9, 0) })
	for range 3 {
		r.respond(asksForFour(t), netip.MustParseAddr("198.51.100.7"), false, nil)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r.watch.log.run(ctx)
	lines := strings.Join(log.lines(t), "\n")
	for _, want := range []string{"dropped", "slipped"} {
		if strings.Count(lines, want) != 1 {
			t.Errorf("want one %s\n%s", want, lines)
		}
	}
}
