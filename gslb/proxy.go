package gslb

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"
)

// The PROXY protocol, version 2, of who stands in front (dnsdist, a load balancer): before
// a datagram, or once at the beginning of a connection, it says who the client is.
// https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt
const (
	proxySignature = "\r\n\r\n\x00\r\nQUIT\n"
	proxyHead      = len(proxySignature) + 4 // version and command, family and transport, length
	proxyLongest   = 512                     // of what follows: addresses, and fields that nobody reads here
)

var errProxy = errors.New("no PROXY protocol header, version 2")

// isProxy reports whether an address speaks for others.
func (s *server) isProxy(from netip.Addr) bool {
	return slices.ContainsFunc(s.proxies, func(p netip.Prefix) bool { return p.Contains(from) })
}

// parseProxy reads a header at the beginning of b, and says who asks and where what it asks
// begins. It is the proxy itself that asks where it says so, or does not know.
func parseProxy(b []byte, proxy netip.Addr) (client netip.Addr, size int, err error) {
	n, err := proxyRest(b)
	if err != nil || len(b) < proxyHead+n {
		return client, 0, errProxy
	}
	size = proxyHead + n
	addresses := b[proxyHead:size]
	command, family := b[len(proxySignature)]&0xf, b[len(proxySignature)+1]>>4
	switch {
	case command == 0 || command == 1 && family == 0: // LOCAL; UNSPEC
		return proxy, size, nil
	case command == 1 && family == 1 && n >= 2*(4+2): // both addresses, both ports
		return netip.AddrFrom4([4]byte(addresses)), size, nil
	case command == 1 && family == 2 && n >= 2*(16+2):
		return netip.AddrFrom16([16]byte(addresses)).Unmap(), size, nil
	}
	return client, 0, errProxy
}

// proxyRest says how much of the header follows its head.
func proxyRest(b []byte) (int, error) {
	if len(b) < proxyHead || string(b[:len(proxySignature)]) != proxySignature || b[len(proxySignature)]>>4 != 2 {
		return 0, errProxy
	}
	n := int(binary.BigEndian.Uint16(b[proxyHead-2:]))
	if n > proxyLongest {
		return 0, errProxy
	}
	return n, nil
}

// readProxy reads a connection's header, and not a byte more. It takes no longer than a query may.
func (s *server) readProxy(ctx context.Context, c net.Conn, proxy netip.Addr) (client netip.Addr, err error) {
	c.SetReadDeadline(time.Now().Add(s.responder.tcpIdle()))
	stop := context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Now().Add(drainPause)) })
	defer stop()
	var b [proxyHead + proxyLongest]byte
	if _, err := io.ReadFull(c, b[:proxyHead]); err != nil {
		return client, err
	}
	n, err := proxyRest(b[:proxyHead])
	if err != nil {
		return client, err
	}
	if _, err := io.ReadFull(c, b[proxyHead:proxyHead+n]); err != nil {
		return client, err
	}
	client, _, err = parseProxy(b[:proxyHead+n], proxy)
	return client, err
}
