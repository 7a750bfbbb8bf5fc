package registry

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// deaf has a port of [::1] take no connection and refuse none, as a black hole: its queue is
// full, and nobody accepts.
func deaf(t *testing.T, port uint16) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Skip("no IPv6:", err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	at := &unix.SockaddrInet6{Port: int(port), Addr: netip.IPv6Loopback().As16()}
	if err := unix.Bind(fd, at); err != nil {
		t.Skip("no IPv6:", err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		client, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(client) })
		unix.Connect(client, at) //nolint:errcheck // it waits, or has come in
	}
}

// A source with two families of which one is a black hole is reached by the other, before the
// time for one dial is over.
func TestAFamilyThatIsABlackHole(t *testing.T) {
	here, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	port := here.Addr().(*net.TCPAddr).AddrPort().Port()
	deaf(t, port)
	udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	names := &dns.Server{PacketConn: udp, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		answer := new(dns.Msg).SetReply(q)
		records := map[uint16]string{dns.TypeA: "reg.example.net. 60 IN A 127.0.0.1", dns.TypeAAAA: "reg.example.net. 60 IN AAAA ::1"}
		if record, err := dns.NewRR(records[q.Question[0].Qtype]); err == nil && record != nil {
			answer.Answer = append(answer.Answer, record)
		}
		w.WriteMsg(answer) //nolint:errcheck // the question is asked again
	})}
	go names.ActivateAndServe() //nolint:errcheck // it ends with the test
	defer names.Shutdown()      //nolint:errcheck // it has ended
	d := dialer(nil)
	d.Timeout = 2 * time.Second // one family alone may have all of that
	d.Resolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp4", udp.LocalAddr().String())
	}}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if conn, err := d.DialContext(ctx, "tcp6", netip.AddrPortFrom(netip.IPv6Loopback(), port).String()); err == nil {
		conn.Close()
		t.Fatal("the other family answers")
	}
	conn, err := d.DialContext(t.Context(), "tcp", fmt.Sprintf("reg.example.net:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}
