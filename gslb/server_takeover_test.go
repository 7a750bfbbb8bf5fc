package gslb

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/miekg/dns"
)

// TestTakeOver: one server follows another on the same ports, again and again, while
// clients ask, each from a port of its own: none goes without an answer.
func TestTakeOver(t *testing.T) {
	if !portsAreShared {
		t.Skip("ports are not shared here")
	}
	for _, address := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"} {
		if c, err := net.ListenPacket("udp", address); err == nil { // a machine may have no IPv6
			c.Close()
			t.Run(address, func(t *testing.T) { takeOver(t, address) })
		}
	}
}

func takeOver(t *testing.T, address string) {
	old := begin(t, &server{responder: wireResponder(t)}, address)
	address = old.address
	asked := make(chan int, 1)
	stop, ended := make(chan bool), make(chan bool)
	go func() {
		defer close(ended)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			case asked <- n: // the other side sees how far it is
			default:
			}
			if !answeredAll(t, address, 20) {
				return
			}
		}
	}()
	for range 10 {
		next := begin(t, &server{responder: wireResponder(t), takeOver: true}, address)
		<-asked // both have been asked
		old.end(t)
		<-asked
		old = next
	}
	close(stop)
	<-ended
	old.end(t)
}

// answeredAll asks at once over n sockets.
func answeredAll(t *testing.T, address string, n int) bool {
	query := packed(t, "four.harbor.example.org.", dns.TypeA)
	var sockets []net.Conn
	for range n {
		c, err := net.Dial("udp", address)
		if err != nil {
			t.Error(err)
			return false
		}
		defer c.Close()
		c.SetDeadline(deadline())
		c.Write(query)
		sockets = append(sockets, c)
	}
	for _, c := range sockets {
		if _, err := c.Read(make([]byte, udpBuffer)); err != nil {
			t.Errorf("over UDP: %v", err)
			return false
		}
	}
	return true
}

// TestTakeOverConnections: who has just connected when the end begins is answered.
func TestTakeOverConnections(t *testing.T) {
	s := begin(t, &server{responder: wireResponder(t)}, "127.0.0.1:0")
	c := dialTCP(t, s.address)
	if _, err := c.Write(framed(numbered(t, 1)...)); err != nil {
		t.Fatal(err)
	}
	s.end(t)
	b, err := readFramed(c)
	if err != nil || binary.BigEndian.Uint16(b) != 0 {
		t.Errorf("%v", err)
	}
}

// TestNobodyIsTakenOverUnasked: a second one, by mistake, does not share the first one's queries.
func TestNobodyIsTakenOverUnasked(t *testing.T) {
	s := begin(t, &server{responder: wireResponder(t)}, "127.0.0.1:0")
	defer s.end(t)
	if _, err := (&server{}).listen(t.Context(), s.address); err == nil || !strings.Contains(err.Error(), "another program has this port") {
		t.Error(err)
	}
}

// begun is a server that is ended by the test itself.
type begun struct {
	address string
	cancel  context.CancelFunc
	done    chan error
}

// begin serves. That an address's TCP port is free does not say that its UDP port is: then
// it tries again.
func begin(t testing.TB, s *server, address string) *begun {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	all, err := s.listen(ctx, address)
	for range 5 {
		if errors.Is(err, syscall.EADDRINUSE) && strings.HasSuffix(address, ":0") {
			all, err = s.listen(ctx, address)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	r := &begun{addresses(all)[0], cancel, make(chan error, 1)}
	go func() { r.done <- s.serve(ctx, all) }()
	return r
}

func (r *begun) end(t testing.TB) {
	t.Helper()
	r.cancel()
	if err := <-r.done; err != nil {
		t.Errorf("serve: %v", err)
	}
}
