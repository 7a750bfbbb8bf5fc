package gslb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// server answers over UDP and TCP on addresses, until its context ends.
type server struct {
	responder *responder
	log       *slog.Logger // nil: nothing is logged
	hooks     *hooks       // nil: nobody is told
	tap       *tap         // nil: nobody is told

	proxies       []netip.Prefix // who says for whom it asks, by the PROXY protocol; none: nobody may
	takeOver      bool           // another one may have the same ports, which ends soon
	workers       int            // UDP sockets for each address; 0: as many as there are processors
	maxConns      int            // TCP connections at once; 0: 4096, and half of the files that may be open
	maxPerNetwork int            // of which a client's network (/24, /56) may have; 0: 256
}

// sockets are those of one address.
type sockets struct {
	udp      []*net.UDPConn
	tcp      *net.TCPListener
	wildcard bool
}

// listen opens an address's sockets. A host that is left out stands for every
// address of the machine: one pair of sockets for each family, so that an IPv4
// client is never seen as an IPv6 one.
func (s *server) listen(ctx context.Context, address string) (all []*sockets, err error) {
	defer func() {
		if err != nil {
			closeAll(all)
			all = nil
		}
	}()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("listen for DNS on %q: %w; say host:port", address, err)
	}
	if host != "" {
		ip, err := netip.ParseAddr(host)
		if err != nil {
			return nil, fmt.Errorf("listen for DNS on %s: the host is to be an address: %w", address, err)
		}
		one, err := s.open(ctx, ip, port)
		return append(all, one), err
	}
	for _, ip := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		one, err := s.open(ctx, ip, port)
		if ip.Is6() && (errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EADDRNOTAVAIL)) {
			s.logger().Warn("no answers over IPv6: this machine has none")
			break
		}
		if err != nil {
			return all, err
		}
		all = append(all, one)
	}
	return all, nil
}

// open opens the sockets of one address and family. All of them share their port, so that
// who takes over can open its own before these are closed. Nobody else is to have it, our
// own a second time neither: that is tried first.
func (s *server) open(ctx context.Context, ip netip.Addr, port string) (*sockets, error) {
	family := "6"
	if ip.Is4() {
		family = "4"
	}
	o := &sockets{wildcard: ip.IsUnspecified()}
	address := net.JoinHostPort(ip.String(), port)
	if !s.takeOver {
		var plain net.ListenConfig
		alone, err := plain.Listen(ctx, "tcp"+family, address)
		if err != nil {
			return nil, listenFault(address, err)
		}
		address = alone.Addr().String()
		alone.Close() //nolint:errcheck // it has taken nothing
	}
	shared := net.ListenConfig{Control: sharePort}
	tcp, err := shared.Listen(ctx, "tcp"+family, address)
	if err != nil {
		return nil, listenFault(address, err)
	}
	o.tcp = tcp.(*net.TCPListener)
	address = tcp.Addr().String()
	datagrams := net.ListenConfig{Control: func(network, address string, c syscall.RawConn) error {
		return errors.Join(sharePort(network, address, c), ignorePathMTU(network, address, c))
	}}
	for range s.udpWorkers() {
		c, err := datagrams.ListenPacket(ctx, "udp"+family, address)
		if err != nil {
			closeAll([]*sockets{o})
			return nil, listenFault(address, err)
		}
		o.udp = append(o.udp, c.(*net.UDPConn))
	}
	return o, nil
}

func (s *server) udpWorkers() int {
	switch {
	case !portsAreShared:
		return 1
	case s.workers > 0:
		return s.workers
	}
	return runtime.GOMAXPROCS(0)
}

// listenFault says in one sentence what to do.
func listenFault(address string, err error) error {
	for fault, advice := range map[syscall.Errno]string{
		syscall.EADDRINUSE:    "another program has this port (often systemd-resolved or dnsmasq): stop it, or listen on one address that it leaves free",
		syscall.EACCES:        "ports below 1024 need root or CAP_NET_BIND_SERVICE",
		syscall.EADDRNOTAVAIL: "this machine does not have that address",
	} {
		if errors.Is(err, fault) {
			return fmt.Errorf("listen for DNS on %s: %w; %s", address, err, advice)
		}
	}
	return fmt.Errorf("listen for DNS: %w", err)
}

func closeAll(all []*sockets) {
	for _, o := range all {
		if o != nil {
			o.tcp.Close()
			for _, c := range o.udp {
				c.Close()
			}
		}
	}
}

// serve answers until ctx ends: what has been received by then is answered.
func (s *server) serve(ctx context.Context, all []*sockets) error {
	group, ctx := errgroup.WithContext(ctx)
	defer closeAll(all)
	conns := newConns(s.maxConns, s.maxPerNetwork)
	for _, o := range all {
		for _, c := range o.udp {
			group.Go(func() error { return s.serveUDP(ctx, c, o.wildcard) })
		}
		group.Go(func() error { return s.serveTCP(ctx, o.tcp, conns) })
	}
	return group.Wait()
}

func (s *server) logger() *slog.Logger {
	if s.log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.log
}

// faultPause is how long is waited after a fault of a socket.
const faultPause = 50 * time.Millisecond

// pause waits after a fault that may pass, so that one that stays costs nothing;
// false: ctx ended.
func pause(ctx context.Context, long time.Duration) bool {
	timer := time.NewTimer(long)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// addresses are what was listened on, for the log.
func addresses(all []*sockets) (list []string) {
	for _, o := range all {
		list = append(list, o.tcp.Addr().String())
	}
	return list
}
