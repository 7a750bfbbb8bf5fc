package main

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"

	"example.org/breakwater/internal/daemon"
	"example.org/breakwater/internal/ports"
)

// addresses are where one edge listens, and its datacenter's name server.
type addresses struct {
	public, metrics, admin, dns, dnsMetrics, dnsAdmin, dnsPeers string
	links                                                       map[int]string // to the other edges, by datacenter
}

// oneAddress is where all places are that have no address of their own.
const oneAddress = "127.0.0.1"

// listen opens a listener on the place's own address, or on one of its ports of oneAddress
// where there is no such address.
func listen(what, host string, port, offset, place int) (net.Listener, error) {
	if port == 0 {
		l, err := ports.Listen(host)
		if errors.Is(err, syscall.EADDRNOTAVAIL) {
			return ports.Listen(oneAddress)
		}
		return l, err
	}
	at := port + offset
	l, err := daemon.Listen(what, fmt.Sprintf("%s:%d", host, at))
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		return daemon.Listen(what, fmt.Sprintf("%s:%d", oneAddress, at+100*(place+1)))
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%w; %s --port 0 takes free ones", err, self())
	}
	return l, err
}

func closeAll(listeners []net.Listener) (err error) {
	for _, l := range listeners {
		err = errors.Join(err, l.Close())
	}
	return err
}

// choosePorts finds out where the edge and the name server of a place will listen: all fleet files name all edges.
func (l *running) choosePorts(i int) error {
	var a addresses
	for offset, address := range map[int]*string{0: &a.public, metricsOffset: &a.metrics, adminOffset: &a.admin,
		dnsOffset: &a.dns, dnsMetricsOffset: &a.dnsMetrics, dnsAdminOffset: &a.dnsAdmin, dnsPeersOffset: &a.dnsPeers} {
		at, err := l.portOf(offset)
		if err != nil {
			return err
		}
		// Opened to see that the port is free and then opened again: the fleet file
		// holds addresses, as every fleet file does.
		listener, err := listen("edge "+places[i].name, places[i].host, at, offset, i)
		if err != nil {
			return err
		}
		*address = listener.Addr().String()
		defer listener.Close() // when all are chosen: no two are the same
	}
	l.places = append(l.places, a)
	return nil
}

// portOf is the port that those of a place are counted from; 0: any. Where name servers are
// asked, the fleet file has one port for all of them: glue has none.
func (l *running) portOf(offset int) (int, error) {
	if l.port != 0 || offset != dnsOffset && offset != dnsPeersOffset {
		return l.port, nil
	}
	if l.shared == nil {
		l.shared = map[int]int{}
	}
	if l.shared[offset] == 0 {
		port, err := freeEverywhere()
		if err != nil {
			return 0, err
		}
		l.shared[offset] = port
	}
	return l.shared[offset] - offset, nil
}

// freeEverywhere finds a port that is free in all places.
func freeEverywhere() (port int, err error) {
	for range 500 { // another lab may have it in one of them, and the next ones too
		var taken []net.Listener
		at := 0
		for i, place := range places {
			var listener net.Listener
			if listener, err = listen("name servers", place.host, at, 0, i); err != nil {
				break
			}
			taken = append(taken, listener)
			if i == 0 {
				at = listener.Addr().(*net.TCPAddr).Port
			}
		}
		if err = errors.Join(err, closeAll(taken)); err == nil {
			return at, nil
		}
	}
	return 0, err
}

// ownAddresses reports whether each datacenter listens on its own.
func (l *running) ownAddresses() bool {
	for i, place := range places {
		if !strings.HasPrefix(l.places[i].public, place.host+":") {
			return false
		}
	}
	return true
}
