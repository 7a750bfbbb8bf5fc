// Package ports chooses ports for servers that open them later. The system gives a port of
// its own choice (":0") to the next connection as soon as it is closed, and whoever was to
// listen there finds it taken. The ports of this package are below those, and none is chosen
// twice by one process before all others were.
package ports

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync/atomic"
	"syscall"
)

// The system's own choice begins at 32768 on Linux and at 49152 elsewhere (RFC 6335, 6).
const (
	first = 10240
	count = 20000
	// Who chose from close by has as many in a row as its servers are, on one address.
	tries = 2000
)

// Other processes choose as well: each begins elsewhere.
var (
	begin  = rand.Uint32N(count)
	chosen atomic.Uint32
)

// Listen opens a free port of host, an IP address. Its errors are those of net.Listen.
func Listen(host string) (l net.Listener, err error) {
	for range tries {
		l, err = net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(first+int((begin+chosen.Add(1))%count))))
		if !errors.Is(err, syscall.EADDRINUSE) {
			return l, err
		}
	}
	return nil, err
}

// Free are n different host:port that nobody listens at.
func Free(host string, n int) (addresses []string, err error) {
	for range n {
		l, err := Listen(host)
		if err != nil {
			return nil, err
		}
		defer l.Close() // when all are chosen: no two are the same
		addresses = append(addresses, l.Addr().String())
	}
	return addresses, nil
}
