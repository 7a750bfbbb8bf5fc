package registry

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// boundUnacknowledged ends a connection of which nobody acknowledges what was sent: the kernel
// itself would try for a quarter of an hour.
func boundUnacknowledged(c syscall.RawConn) {
	c.Control(func(fd uintptr) { //nolint:errcheck // without it the kernel is as patient as ever
		unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(lostAfter.Milliseconds())) //nolint:errcheck // as above
	})
}
