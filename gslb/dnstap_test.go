package gslb

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	dnstap "github.com/dnstap/golang-dnstap"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/protobuf/proto"

	"example.org/breakwater/internal/trial"
)

// collector hears dnstap by the library's own reader.
type collector struct {
	net.Listener
	t     *testing.T
	heard chan *dnstap.Dnstap
	conns chan net.Conn
}

func collect(t *testing.T, network, address string) *collector {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	c := &collector{l, t, make(chan *dnstap.Dnstap, 1000), make(chan net.Conn, 10)}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			c.conns <- conn
			go c.read(conn)
		}
	}()
	return c
}

// read hears what a connection says, until it ends.
func (c *collector) read(conn net.Conn) {
	defer conn.Close()
	r, err := dnstap.NewReader(conn, &dnstap.ReaderOptions{Bidirectional: true})
	if err == nil {
		err = readTap(r, func(m *dnstap.Dnstap) { c.heard <- m })
	}
	if err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.ErrUnexpectedEOF) {
		c.t.Error(err)
	}
}

func readTap(r dnstap.Reader, heard func(*dnstap.Dnstap)) error {
	frame := make([]byte, 1<<17)
	for {
		n, err := r.ReadFrame(frame)
		if errors.Is(err, io.EOF) {
			return nil
		}
		m := new(dnstap.Dnstap)
		if err == nil {
			err = proto.Unmarshal(frame[:n], m)
		}
		if err != nil {
			return err
		}
		heard(m)
	}
}

// next is the next message.
func (c *collector) next() *dnstap.Dnstap {
	c.t.Helper()
	select {
	case m := <-c.heard:
		return m
	case <-time.After(20 * time.Second):
		c.t.Fatal("the collector hears nothing")
		return nil
	}
}

// onWire sends a query as it is, and gives the client's address and the answer as it came.
func onWire(t *testing.T, network, to string, query []byte) (from string, answer []byte) {
	t.Helper()
	conn, err := net.Dial(network, to)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	co := &dns.Conn{Conn: conn, UDPSize: 4096}
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := co.Write(query); err != nil {
		t.Fatal(err)
	}
	answer = make([]byte, 1<<16)
	n, err := co.Read(answer)
	if err != nil {
		t.Fatal(err)
	}
	return conn.LocalAddr().String(), answer[:n]
}

func queryFor(t *testing.T, name string, qtype uint16) []byte {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(name, qtype)
	m.SetEdns0(1232, false)
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// isHeard wants the next two messages to be this query and answer, byte for byte.
func (c *collector) isHeard(network, from, to string, query, answer []byte) {
	c.t.Helper()
	q, r := c.next(), c.next()
	for _, m := range []*dnstap.Dnstap{q, r} {
		of := m.GetMessage()
		client, server := tapAddress(of.GetQueryAddress(), of.GetQueryPort()), tapAddress(of.GetResponseAddress(), of.GetResponsePort())
		if string(m.GetIdentity()) != "par1" || string(m.GetVersion()) != "breakwater 1.2.3" || client != from || server != to || of.GetSocketFamily() != dnstap.SocketFamily_INET || of.GetSocketProtocol().String() != strings.ToUpper(network) {
			c.t.Errorf("%v; want it from %s to %s over %s", m, from, to, network)
		}
		if at := time.Unix(int64(of.GetQueryTimeSec()), int64(of.GetQueryTimeNsec())); time.Since(at) < 0 || time.Since(at) > time.Minute {
			c.t.Errorf("asked at %v", at)
		}
	}
	if q.GetMessage().GetType() != dnstap.Message_AUTH_QUERY || !bytes.Equal(q.GetMessage().GetQueryMessage(), query) || q.GetMessage().ResponseMessage != nil {
		c.t.Errorf("%v; want the query %x", q, query)
	}
	if r.GetMessage().GetType() != dnstap.Message_AUTH_RESPONSE || !bytes.Equal(r.GetMessage().GetResponseMessage(), answer) {
		c.t.Errorf("%v; want the answer %x", r, answer)
	}
	if m := r.GetMessage(); m.GetResponseTimeSec() < m.GetQueryTimeSec() {
		c.t.Errorf("answered at %d, before it was asked", m.GetResponseTimeSec())
	}
}

func tapAddress(ip []byte, port uint32) string {
	a, _ := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(a, uint16(port)).String()
}

func TestDNSTap(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "tap.sock")
	for network, address := range map[string]string{"unix": socket, "tcp": "127.0.0.1:0"} {
		t.Run(network, func(t *testing.T) {
			c := collect(t, network, address)
			f := newFleetOfFiles(t)
			f.cfg.Build, f.cfg.DNSTap = "1.2.3", map[string]string{"unix": "unix:", "tcp": "tcp://"}[network]+c.Addr().String()
			if network == "tcp" {
				f.cfg.Listen = ":0" // of all addresses the one that was asked is told
			}
			r := f.run(t)
			<-r.ready
			_, port, _ := net.SplitHostPort(r.Addresses()[0])
			to := "127.0.0.1:" + port
			for _, over := range []string{"udp", "tcp"} {
				for _, name := range []string{"h.example.", "elsewhere.example."} {
					query := queryFor(t, name, dns.TypeA)
					from, answer := onWire(t, over, to, query)
					c.isHeard(over, from, to, query, answer)
				}
			}
			// Who comes back is told again.
			(<-c.conns).Close()
			before := len(c.conns)
			trial.Until(t, func() error {
				onWire(t, "udp", to, queryFor(t, "h.example.", dns.TypeA))
				if len(c.conns) == before {
					return errors.New("it does not connect again")
				}
				return nil
			})
			for len(c.heard) > 0 {
				<-c.heard
			}
			last := queryFor(t, "last.h.example.", dns.TypeNS)
			_, answer := onWire(t, "udp", to, last)
			r.stop()
			for m := c.next(); !bytes.Equal(m.GetMessage().GetResponseMessage(), answer); {
				m = c.next()
			}
		})
	}
}

// A file is made anew, and what was there is kept.
func TestDNSTapToAFile(t *testing.T) {
	f := newFleetOfFiles(t)
	file := filepath.Join(t.TempDir(), "tap.fstrm")
	f.cfg.DNSTap = "file:" + file
	for range 2 {
		r := f.run(t)
		r.becomes("h.example.", "10.1.2.0/24", "192.0.2.1")
		r.stop()
	}
	for _, path := range []string{file, file + ".before"} {
		in, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		r, err := dnstap.NewReader(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		if err := readTap(r, func(*dnstap.Dnstap) { n++ }); err != nil || n < 2 {
			t.Errorf("%s has %d messages, %v", path, n, err)
		}
	}
}

// A collector that is not there, or reads nothing, delays nobody, and what is lost is counted.
func TestDNSTapWithoutACollector(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // greets nobody
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for what, to := range map[string]string{"nobody": "unix:" + filepath.Join(t.TempDir(), "none.sock"), "silent": "tcp://" + silent.Addr().String()} {
		t.Run(what, func(t *testing.T) {
			registry := prometheus.NewRegistry()
			f := newFleetOfFiles(t)
			f.cfg.DNSTap, f.cfg.Metrics = to, registry
			r := f.run(t)
			r.becomes("h.example.", "10.1.2.0/24", "192.0.2.1")
			for range tapQueue + 100 { // as a worker does
				r.server.tap.exchanged(tapped{query: make([]byte, 40), response: make([]byte, 60)})
			}
			begun := time.Now()
			r.ask("h.example.", "", dns.TypeA)
			if took := time.Since(begun); took > 2*time.Second {
				t.Errorf("an answer takes %v", took)
			}
			lost := func() float64 { return testutil.ToFloat64(r.metrics.untold) }
			if got := lost(); got < 2*100 || got > 2*110 {
				t.Errorf("%v messages are counted as lost", got)
			}
			r.stop()
			if got := lost(); got < 2*(tapQueue+100) {
				t.Errorf("at the end %v are", got)
			}
			if n := r.server.tap.waiting.Load(); n != 0 {
				t.Errorf("%d bytes wait in an empty queue", n)
			}
		})
	}
}

// What waits is bounded in bytes too.
func TestDNSTapIsBoundedInBytes(t *testing.T) {
	lost := 0
	tap := newTap("unix:/nowhere", "par1", "", silent, func(n int) { lost += n })
	for range 1000 {
		tap.exchanged(tapped{query: make([]byte, 4000), response: make([]byte, 60_000)})
	}
	if kept := len(tap.queue); kept > tapBytes/64_000 || kept < 200 || lost != 2*(1000-kept) {
		t.Errorf("%s", fmt.Sprint(kept, " are kept, ", lost, " messages lost"))
	}
}
