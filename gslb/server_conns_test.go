package gslb

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
)

// dialFrom connects from an address of this machine.
func dialFrom(t *testing.T, from, server string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.Dial("tcp", server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(deadline())
	return c
}

// served asks whether a connection is served; false: it was closed.
func served(t *testing.T, c net.Conn) bool {
	t.Helper()
	if _, err := c.Write(framed(numbered(t, 1)...)); err != nil {
		return false
	}
	_, err := readFramed(c)
	return err == nil
}

// TestTCPIdleGiveWay: a few addresses that hold as many connections as there may be shut
// nobody out.
func TestTCPIdleGiveWay(t *testing.T) {
	evicted := make(chan bool, 1000)
	server := startServer(t, &server{responder: wireResponder(t), maxConns: 40, maxPerNetwork: 20, hooks: &hooks{onEvict: func() { evicted <- true }}}, "127.0.0.1:0")
	busy := dialFrom(t, "127.0.9.1", server)
	var idle []net.Conn
	for i := range 100 {
		idle = append(idle, dialFrom(t, fmt.Sprintf("127.0.%d.%d", i%4, 1+i/4), server))
		if !served(t, busy) {
			t.Fatalf("who asks gave way to the %dth that says nothing", i)
		}
		if i%10 == 9 && !served(t, dialFrom(t, "127.0.8.1", server)) {
			t.Fatalf("a new client is shut out by %d that say nothing", i)
		}
	}
	if _, err := idle[0].Read(make([]byte, 1)); err == nil {
		t.Error("who has been idle for the longest is still there")
	}
	if !served(t, idle[99]) {
		t.Error("who came last gave way")
	}
	<-evicted
}

// TestTCPNetworkKeepsToItself: a network that has its share takes no place of another's.
func TestTCPNetworkKeepsToItself(t *testing.T) {
	server := startServer(t, &server{responder: wireResponder(t), maxPerNetwork: 2}, "127.0.0.1:0")
	quiet := dialFrom(t, "127.0.1.1", server)
	first := dialFrom(t, "127.0.2.1", server)
	for i := range 3 {
		if c := dialFrom(t, fmt.Sprintf("127.0.2.%d", i), server); !served(t, c) {
			t.Fatal("the newest of a network that has its share is closed")
		}
	}
	if _, err := first.Read(make([]byte, 1)); err == nil {
		t.Error("a network has more than its share")
	}
	if !served(t, quiet) {
		t.Error("another network paid for it")
	}
}

// outOfFiles is a listener that has no file for the second connection at first.
type outOfFiles struct {
	*net.TCPListener
	accepted int
	waits    net.Conn
}

func (l *outOfFiles) Accept() (net.Conn, error) {
	if l.waits != nil {
		c := l.waits
		l.waits = nil
		return c, nil
	}
	c, err := l.TCPListener.Accept()
	if l.accepted++; l.accepted == 2 {
		l.waits = c
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return c, err
}

// TestTCPOutOfFiles: who is idle gives way also for want of files.
func TestTCPOutOfFiles(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	s := &server{responder: wireResponder(t)}
	go func() { done <- s.serveTCP(ctx, &outOfFiles{TCPListener: l.(*net.TCPListener)}, newConns(0, 0)) }()
	first := dialTCP(t, l.Addr().String())
	if !served(t, first) {
		t.Fatal("not served")
	}
	if !served(t, dialTCP(t, l.Addr().String())) {
		t.Error("the second is not served")
	}
	if _, err := first.Read(make([]byte, 1)); err == nil {
		t.Error("the idle one is still there")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestConnsByNetwork(t *testing.T) {
	c := newConns(4, 2)
	enter := func(from string) (*conn, *conn) {
		end, other := net.Pipe()
		t.Cleanup(func() { other.Close() })
		entered, gone := c.enter(end)
		if more := c.is(entered, netip.MustParseAddr(from)); more != nil {
			gone = more
		}
		return entered, gone
	}
	first, _ := enter("192.0.2.1")
	second, _ := enter("192.0.2.200")
	c.active(first)
	if _, gone := enter("192.0.2.3"); gone != second {
		t.Error("it was not the longest idle of the network that gave way")
	}
	six, _ := enter("2001:db8:0:1::1")
	if _, gone := enter("2001:db8:0:100::1"); gone != nil {
		t.Error("another /56 has to give way")
	}
	if _, gone := enter("198.51.100.1"); gone != first {
		t.Error("it was not the longest idle of all that gave way")
	}
	c.active(first) // which its server learns later
	c.leave(first)
	c.leave(six)
	if c.all.Len() != 3 || len(c.by) != 3 {
		t.Errorf("%d connections of %d networks are left, want 3 of 3", c.all.Len(), len(c.by))
	}
}

// BenchmarkConns is what a connection costs while as many are open as may be.
func BenchmarkConns(b *testing.B) {
	c := newConns(4096, 256)
	end, other := net.Pipe()
	defer other.Close()
	for i := 0; b.Loop(); i++ {
		n, _ := c.enter(end)
		c.is(n, netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}))
		c.active(n)
	}
}
