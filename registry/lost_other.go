//go:build !linux

package registry

import "syscall"

// boundUnacknowledged is Linux's alone.
func boundUnacknowledged(syscall.RawConn) {}
