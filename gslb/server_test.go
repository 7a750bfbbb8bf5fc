package gslb

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"example.org/breakwater/internal/trial"
)

// deadline is when a test that hangs fails.
func deadline() time.Time { return time.Now().Add(trial.Patience) }

// startServer serves until the test ends, and says where.
func startServer(t testing.TB, s *server, address string) string {
	t.Helper()
	r := begin(t, s, address)
	t.Cleanup(func() { r.end(t) })
	return r.address
}

// sentinel is what a server answers for sure; what was not answered before it
// was dropped.
const sentinel = "eeee 0000 0001 0000 0000 0000 00 0001 0001"

func askUDP(t testing.TB, server string, query []byte) []byte {
	t.Helper()
	conn, err := net.Dial("udp", server)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(deadline())
	for _, b := range [][]byte{query, unhex(t, sentinel)} {
		if _, err := conn.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	b := make([]byte, dns.MaxMsgSize)
	n, err := conn.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	if binary.BigEndian.Uint16(b) == 0xeeee {
		return nil
	}
	return b[:n]
}

// askTCP: a server that does not answer says so by closing.
func askTCP(t testing.TB, server string, query []byte) []byte {
	t.Helper()
	conn, err := net.Dial("tcp", server)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(deadline())
	if _, err := conn.Write(framed(query)); err != nil {
		t.Fatal(err)
	}
	b, err := readFramed(conn)
	if err != nil {
		return nil
	}
	return b
}

func framed(queries ...[]byte) (b []byte) {
	for _, q := range queries {
		b = binary.BigEndian.AppendUint16(b, uint16(len(q)))
		b = append(b, q...)
	}
	return b
}

func readFramed(r io.Reader) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint16(length[:]))
	_, err := io.ReadFull(r, b)
	return b, err
}

// ids reads answers until the connection ends.
func ids(t *testing.T, c io.Reader, n int) (list []uint16) {
	t.Helper()
	for range n {
		b, err := readFramed(c)
		if err != nil {
			t.Fatalf("after %d answers: %v", len(list), err)
		}
		list = append(list, binary.BigEndian.Uint16(b))
	}
	return list
}

func numbered(t *testing.T, n int) (queries [][]byte) {
	for i := range n {
		b := packed(t, "huge.harbor.example.org.", dns.TypeA)
		binary.BigEndian.PutUint16(b, uint16(i))
		queries = append(queries, b)
	}
	return queries
}

func dialTCP(t *testing.T, server string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(deadline())
	return c
}

func TestTCPPipelined(t *testing.T) {
	c := dialTCP(t, startServer(t, &server{responder: wireResponder(t)}, "127.0.0.1:0"))
	const n = 300
	if _, err := c.Write(framed(numbered(t, n)...)); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(c)
	for i := range n {
		b, err := readFramed(in)
		if err != nil {
			t.Fatalf("after %d answers: %v", i, err)
		}
		var m dns.Msg
		if err := m.Unpack(b); err != nil || int(m.Id) != i || m.Truncated || len(m.Answer) != 100 {
			t.Fatalf("answer %d is to query %d, with %d records, truncated %t (%v)", i, m.Id, len(m.Answer), m.Truncated, err)
		}
	}
}

// TestTCPSegments sends byte by byte, and half of the second query with the first:
// an answer is not held back for a query that is not there.
func TestTCPSegments(t *testing.T) {
	c := dialTCP(t, startServer(t, &server{responder: wireResponder(t)}, "127.0.0.1:0"))
	b := framed(numbered(t, 2)...)
	half := len(b) * 3 / 4
	for _, one := range b[:half] {
		if _, err := c.Write([]byte{one}); err != nil {
			t.Fatal(err)
		}
	}
	ids(t, c, 1)
	if _, err := c.Write(b[half:]); err != nil {
		t.Fatal(err)
	}
	if got := ids(t, c, 1); got[0] != 1 {
		t.Errorf("answer to %d", got[0])
	}
}

func TestTCPSizes(t *testing.T) {
	server := startServer(t, &server{responder: wireResponder(t)}, "127.0.0.1:0")
	longest := append(unhex(t, optWith("")), make([]byte, dns.MaxMsgSize)...)[:dns.MaxMsgSize]
	binary.BigEndian.PutUint16(longest[len(unhex(t, optWith("")))-2:], uint16(dns.MaxMsgSize-len(unhex(t, optWith("")))))
	for i := len(unhex(t, optWith(""))); i+4 < len(longest); i += 4 {
		copy(longest[i:], []byte{0xfd, 0xe9, 0, 0}) // an option that nobody knows, empty
	}
	b := framed(longest, packed(t, zoneOrigin, dns.TypeA))
	c := dialTCP(t, server)
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
	ids(t, c, 2)
	for _, nothing := range []int{0, 1, 11} {
		c := dialTCP(t, server)
		if _, err := c.Write(framed(packed(t, zoneOrigin, dns.TypeA), make([]byte, nothing))); err != nil {
			t.Fatal(err)
		}
		ids(t, c, 1)
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Errorf("a connection that sent %d bytes as a query stays open", nothing)
		}
	}
}

// TestTCPIdle has its own time and connections.
func TestTCPIdle(t *testing.T) {
	for _, c := range []struct {
		name string
		send func(net.Conn) // before it falls silent
		want time.Duration
	}{
		{"says nothing", func(net.Conn) {}, 3 * time.Second},
		{"half a length", func(c net.Conn) { c.Write([]byte{0}) }, 3 * time.Second},
		{"half a query", func(c net.Conn) { c.Write([]byte{0, 40, 1, 2, 3}) }, 3 * time.Second},
		{"a drip", func(c net.Conn) {
			for _, b := range append([]byte{0, 40}, make([]byte, 40)...) {
				time.Sleep(time.Second)
				if _, err := c.Write([]byte{b}); err != nil {
					return
				}
			}
		}, 3 * time.Second},
		{"a query, then silence", func(c net.Conn) {
			time.Sleep(2 * time.Second)
			c.Write(framed(numbered(t, 1)...))
			readFramed(c)
		}, 5 * time.Second},
		{"queries without reading answers", func(c net.Conn) {
			for {
				if _, err := c.Write(framed(numbered(t, 1)...)); err != nil {
					return
				}
			}
		}, 3 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := wireResponder(t)
			synctest.Test(t, func(t *testing.T) {
				client, conn := net.Pipe()
				sent := make(chan bool)
				go func() {
					defer close(sent)
					c.send(client)
				}()
				start := time.Now()
				r.idle = 3 * time.Second
				s := &server{responder: r}
				s.serveConn(t.Context(), conn, someone(), func() {})
				if took := time.Since(start); took != c.want {
					t.Errorf("closed after %v, want %v", took, c.want)
				}
				client.Close()
				<-sent
			})
		})
	}
}

// TestStopAnswersWhatArrived: a stop ends idle connections and loses no query.
func TestStopAnswersWhatArrived(t *testing.T) {
	r := wireResponder(t)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		client, conn := net.Pipe()
		done := make(chan bool)
		go func() {
			defer close(done)
			(&server{responder: r}).serveConn(ctx, conn, someone(), func() {})
		}()
		if _, err := client.Write(framed(numbered(t, 2)...)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the first answer waits for its reader
		cancel()
		ids(t, client, 2)
		<-done
	})
}

// TestWildcard: a reply comes from the address that was asked, or the client
// would not take it; and an IPv4 client is known as one.
func TestWildcard(t *testing.T) {
	seen := make(chan netip.Addr, 10)
	r := &responder{answerer: answererFunc(func(q *query, from netip.Addr) answer {
		seen <- from
		return answer{auth: true}
	})}
	_, port, _ := net.SplitHostPort(startServer(t, &server{responder: r, workers: 2}, ":0"))
	query := packed(t, "harbor.example.org.", dns.TypeA)
	for _, host := range []string{"127.0.0.1", "127.0.0.2", "127.1.2.3"} {
		server := net.JoinHostPort(host, port)
		for _, ask := range []func(testing.TB, string, []byte) []byte{askUDP, askTCP} { // a connected socket takes nobody else's replies
			if got := readable(query, ask(t, server, query)); got != "NOERROR aa rd" {
				t.Errorf("%s answers %s", server, got)
			}
			if from := <-seen; !from.Is4() {
				t.Errorf("%s was asked by %s", server, from)
			}
		}
	}
	if c, err := net.ListenPacket("udp6", "[::1]:0"); err == nil {
		c.Close()
		s := startServer(t, &server{responder: r}, "[::]:0")
		_, port, _ := net.SplitHostPort(s)
		if got := readable(query, askUDP(t, net.JoinHostPort("::1", port), query)); got != "NOERROR aa rd" {
			t.Errorf("over IPv6: %s", got)
		}
	}
}

type answererFunc func(*query, netip.Addr) answer

func (f answererFunc) answer(q *query, from netip.Addr) answer { return f(q, from) }

func TestListenFaults(t *testing.T) {
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	for _, c := range []struct{ name, address, want string }{
		{"taken", taken.Addr().String(), "another program has this port"},
		{"taken, by every address", ":" + port, "another program has this port"},
		{"of another machine", "192.0.2.1:0", "this machine does not have that address"},
		{"a name", "localhost:53", "the host is to be an address"},
		{"no port", "127.0.0.1", "say host:port"},
	} {
		all, err := (&server{}).listen(t.Context(), c.address)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") || all != nil {
			t.Errorf("%s: %v, want a sentence with %q", c.name, err, c.want)
		}
	}
}

func TestUDPBatch(t *testing.T) {
	counted := make(chan int, 1000)
	r := wireResponder(t)
	r.hooks = &hooks{onAnswer: func(qtype uint16, rcode int, tcp bool) { counted <- rcode }}
	server := startServer(t, &server{responder: r, workers: 2}, "127.0.0.1:0")
	c, err := net.Dial("udp", server)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(deadline())
	const n = 100
	for _, q := range numbered(t, n) {
		if _, err := c.Write(q); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]bool{}
	b := make([]byte, dns.MaxMsgSize)
	for range n {
		if _, err := c.Read(b); err != nil {
			t.Fatal(err)
		}
		seen[string(bytes.Clone(b[:2]))] = true
		<-counted
	}
	if len(seen) != n {
		t.Errorf("%d of %d queries are answered", len(seen), n)
	}
}
