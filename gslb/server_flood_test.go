package gslb

import (
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestFloodOfGarbage: while others send garbage over UDP and TCP as fast as they can, who asks
// is answered, and garbage never gets more bytes than may be sent, nor a fault more than it had.
func TestFloodOfGarbage(t *testing.T) {
	server := startServer(t, &server{responder: wireResponder(t)}, "127.0.0.1:0")
	stop := make(chan bool)
	var floods sync.WaitGroup
	queries := garbage(t, rand.New(rand.NewPCG(1, 2)))
	floods.Go(func() { floodUDP(t, server, queries, stop) })
	floods.Go(func() { floodTCP(t, server, queries, stop) })
	query := packed(t, "four.harbor.example.org.", dns.TypeA)
	for i := range 30 {
		if i%10 == 0 && askTCP(t, server, query) == nil {
			t.Errorf("query %d is not answered over TCP", i)
		}
		if !insists(t, server, query) {
			t.Fatalf("query %d is not answered", i)
		}
	}
	close(stop)
	floods.Wait()
}

// garbage are queries with faults, and bytes that were never any.
func garbage(t testing.TB, random *rand.Rand) (all [][]byte) {
	for i := range 500 {
		b := mutated(generated(t, random), random)
		if i%4 == 0 {
			b = make([]byte, random.IntN(1400))
			for i := range b {
				b[i] = byte(random.IntN(256))
			}
		}
		all = append(all, b)
	}
	return all
}

// insists asks over UDP as resolvers do, again where the flood has taken the kernel's queue.
func insists(t testing.TB, server string, query []byte) bool {
	t.Helper()
	c, err := net.Dial("udp", server)
	if err != nil {
		t.Error(err)
		return false
	}
	defer c.Close()
	for end := deadline(); time.Now().Before(end); {
		c.Write(query)
		c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if _, err := c.Read(make([]byte, udpBuffer)); err == nil {
			return true
		}
	}
	return false
}

func floodUDP(t testing.TB, server string, queries [][]byte, stop <-chan bool) {
	c, err := net.Dial("udp", server)
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	read := make(chan bool)
	go func() {
		defer close(read)
		b := make([]byte, dns.MaxMsgSize)
		for {
			n, err := c.Read(b)
			if err != nil {
				return
			}
			if n > sizeUDP {
				t.Errorf("%d bytes over UDP: %x", n, b[:n])
			}
		}
	}()
	for i := 0; ; i++ {
		select {
		case <-stop:
			c.Close()
			<-read
			return
		default:
			c.Write(queries[i%len(queries)])
		}
	}
}

func floodTCP(t testing.TB, server string, queries [][]byte, stop <-chan bool) {
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		default:
		}
		c, err := net.Dial("tcp", server)
		if err != nil {
			t.Error(err)
			return
		}
		query := queries[i%len(queries)]
		c.SetDeadline(time.Now().Add(time.Second))
		c.Write(framed(query))
		if b, err := readFramed(c); err == nil && len(b) > len(query) && len(b) >= headerSize && b[3]&0xf == dns.RcodeFormatError {
			t.Errorf("%x is answered with %x", query, b)
		}
		c.Close()
	}
}
