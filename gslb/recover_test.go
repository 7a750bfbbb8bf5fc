package gslb

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"
)

// TestPanicIsOneQuerys: a query that makes the answerer panic gets SERVFAIL; those beside
// it, on the same socket and connection, their answers.
func TestPanicIsOneQuerys(t *testing.T) {
	var counted atomic.Int64
	var log bytes.Buffer
	r := &responder{log: slog.New(slog.NewJSONHandler(&log, nil)), hooks: &hooks{onPanic: func() { counted.Add(1) }},
		answerer: answererFunc(func(q *query, _ netip.Addr) answer {
			if q.qtype == dns.TypeMX {
				panic("a fault")
			}
			return answer{auth: true}
		})}
	server := startServer(t, &server{responder: r, workers: 1}, "127.0.0.1:0")
	bad, good := packed(t, "Harbor.example.org.", dns.TypeMX), packed(t, "harbor.example.org.", dns.TypeA)
	conn := dialTCP(t, server)
	for range 3 {
		if got := readable(bad, askUDP(t, server, bad)); got != "SERVFAIL rd" {
			t.Errorf("over UDP: %s", got)
		}
		if _, err := conn.Write(framed(bad, good)); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			query []byte
			want  string
		}{{bad, "SERVFAIL rd"}, {good, "NOERROR aa rd"}} {
			response, err := readFramed(conn)
			if err != nil {
				t.Fatal(err)
			}
			if got := readable(c.query, response); got != c.want {
				t.Errorf("over TCP: %s, want %s", got, c.want)
			}
		}
	}
	if counted.Load() != 6 {
		t.Errorf("%d panics are counted, want 6", counted.Load())
	}
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if !strings.Contains(lines[0], `"panic":"a fault"`) || !strings.Contains(lines[0], "486172626f72") || len(lines) > 3 {
		t.Errorf("the log of 6 panics has %d lines: %s", len(lines), lines[0])
	}
}

// TestPanicBeforeTheQuestionIsRead is answered too, with a header alone.
func TestPanicBeforeTheQuestionIsRead(t *testing.T) {
	asked := packed(t, "harbor.example.org.", dns.TypeA)
	if got := readable(asked, serverFailure(asked, new(query))); got != "SERVFAIL rd header" {
		t.Error(got)
	}
}
