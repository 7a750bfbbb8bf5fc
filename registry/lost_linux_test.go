package registry

import (
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A connection whose packets are dropped ends within lostAfter, whatever it is waiting for: the
// kernel is told so, of sources outside too.
func TestAConnectionThatIsLostEnds(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := newTransport().DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	option := func(name int) (value time.Duration) {
		raw.Control(func(fd uintptr) { //nolint:errcheck // the value is 0 then
			n, _ := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, name)
			value = time.Duration(n)
		})
		return value
	}
	if got := option(unix.TCP_USER_TIMEOUT) * time.Millisecond; got != lostAfter {
		t.Errorf("what was sent may be unacknowledged for %v", got)
	}
	if got := (option(unix.TCP_KEEPIDLE) + option(unix.TCP_KEEPINTVL)*option(unix.TCP_KEEPCNT)) * time.Second; got != lostAfter {
		t.Errorf("an idle connection is dead after %v", got)
	}
}
