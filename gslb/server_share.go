//go:build linux || darwin || freebsd

package gslb

import (
	"math"
	"syscall"

	"golang.org/x/sys/unix"
)

// portsAreShared: several sockets may have one port, each its own queries.
const portsAreShared = true

func sharePort(_, _ string, c syscall.RawConn) error {
	return control(c, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
}

// control does something to a socket.
func control(c syscall.RawConn, do func(fd int) error) error {
	var fault error
	err := c.Control(func(fd uintptr) { fault = do(int(fd)) })
	if err != nil {
		return err
	}
	return fault
}

// openFiles is how many the process may have.
func openFiles() int {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return math.MaxInt
	}
	return int(min(uint64(limit.Cur), math.MaxInt))
}
