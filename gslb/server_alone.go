//go:build !(linux || darwin || freebsd)

package gslb

import (
	"math"
	"syscall"
)

const portsAreShared = false

func sharePort(_, _ string, _ syscall.RawConn) error { return nil }

func openFiles() int { return math.MaxInt }
