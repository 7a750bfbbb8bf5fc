//go:build !linux

package gslb

import (
	"errors"
	"net"
	"syscall"
)

// ignorePathMTU has nothing to do where routers are not asked about datagrams.
func ignorePathMTU(_, _ string, _ syscall.RawConn) error { return nil }

func retire(*net.UDPConn) error { return errors.ErrUnsupported }
