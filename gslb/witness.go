package gslb

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// witnesses are addresses outside the fleet, which tell a node that is cut off from all others
// from one that is the last.
type witnesses struct {
	addresses []netip.Addr
	reached   atomic.Bool // one of them: in the last round, or where none was before, for as long as it takes to hear the others
	asks      func(context.Context, []netip.Addr) bool
	first     chan struct{} // closed when the first round is in
}

func newWitnesses(addresses []netip.Addr) *witnesses {
	w := &witnesses{addresses: addresses, asks: anyReached, first: make(chan struct{})}
	if len(addresses) == 0 {
		close(w.first)
	}
	return w
}

// unreached reports whether there are witnesses and none is reached.
func (w *witnesses) unreached() bool { return len(w.addresses) > 0 && !w.reached.Load() }

// watch asks the witnesses each interval until ctx ends.
func (w *witnesses) watch(ctx context.Context, cfg ProbeConfig, log *slog.Logger, changed func()) {
	if len(w.addresses) == 0 {
		return
	}
	ticker := time.NewTicker(cfg.Interval)
	defer ticker.Stop()
	var since time.Time // when one was reached first, of the rounds in a row in which one was
	for first := true; ; first = false {
		round, cancel := context.WithTimeout(ctx, cfg.Timeout)
		reached := w.asks(round, w.addresses)
		cancel()
		if ctx.Err() != nil {
			return
		}
		was := w.reached.Load()
		switch {
		case !reached:
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
		}
		// Where the way out is whole again, a witness answers before the others are heard and the
		// datacenters probed: until then it is no sign that this node is the last.
		reached = reached && (first || was || time.Since(since) >= cfg.Silence())
		w.reached.Store(reached)
		if first {
			if reached {
				log.Info("a witness is reached", "witnesses", w.addresses)
			} else {
				log.Warn("no witness is reached: without another node or datacenter this one counts as cut off", "witnesses", w.addresses)
			}
			close(w.first)
		} else if was != reached {
			changed()
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// anyReached asks all at once, each in all ways.
func anyReached(ctx context.Context, addresses []netip.Addr) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ways := []func(context.Context, netip.Addr) bool{echoes, resolves, speaksHTTP(80), speaksHTTP(443)}
	answers := make(chan bool, len(addresses)*len(ways))
	for _, a := range addresses {
		for _, answersTo := range ways {
			go func() { answers <- answersTo(ctx, a) }()
		}
	}
	for range cap(answers) {
		select {
		case reached := <-answers:
			if reached {
				return true
			}
		case <-ctx.Done():
			return false
		}
	}
	return false
}

// echoes reports whether an address answers an ICMP echo request (RFC 792, RFC 4443). Without
// privileges the kernel may let nobody ask.
func echoes(ctx context.Context, a netip.Addr) bool {
	networks, local, kind, protocol := []string{"udp4", "ip4:icmp"}, "0.0.0.0", icmp.Type(ipv4.ICMPTypeEcho), 1
	if a.Is6() {
		networks, local, kind, protocol = []string{"udp6", "ip6:ipv6-icmp"}, "::", ipv6.ICMPTypeEchoRequest, 58
	}
	token := []byte(rand.Text())
	question, err := (&icmp.Message{Type: kind, Body: &icmp.Echo{ID: os.Getpid() & 0xffff, Seq: 1, Data: token}}).Marshal(nil)
	if err != nil {
		return false
	}
	for i, network := range networks {
		conn, err := icmp.ListenPacket(network, local)
		if err != nil {
			continue
		}
		defer conn.Close()
		stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Now()) }) //nolint:errcheck // it is open
		defer stop()
		to := net.Addr(&net.UDPAddr{IP: a.AsSlice(), Zone: a.Zone()})
		if i > 0 {
			to = &net.IPAddr{IP: a.AsSlice(), Zone: a.Zone()}
		}
		if _, err := conn.WriteTo(question, to); err != nil {
			return false
		}
		for answer := make([]byte, 1500); ; {
			n, _, err := conn.ReadFrom(answer)
			if err != nil {
				return false
			}
			m, err := icmp.ParseMessage(protocol, answer[:n])
			if err != nil || m.Type != ipv4.ICMPTypeEchoReply && m.Type != ipv6.ICMPTypeEchoReply {
				continue // a raw socket is given what is others'
			}
			if e, ok := m.Body.(*icmp.Echo); ok && bytes.Equal(e.Data, token) {
				return true
			}
		}
	}
	return false
}

// resolves reports whether a DNS server answers at an address, whatever it says.
func resolves(ctx context.Context, a netip.Addr) bool {
	_, _, err := new(dns.Client).ExchangeContext(ctx, new(dns.Msg).SetQuestion(".", dns.TypeNS), netip.AddrPortFrom(a, 53).String())
	return err == nil
}

// speaksHTTP reports whether anything is said at a port to who asks as a browser does: a
// server of TLS says what is wrong with that. A connection alone is taken by proxies on the way, too.
func speaksHTTP(port uint16) func(context.Context, netip.Addr) bool {
	return func(ctx context.Context, a netip.Addr) bool {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", netip.AddrPortFrom(a, port).String())
		if err != nil {
			return false
		}
		defer conn.Close()
		stop := context.AfterFunc(ctx, func() { conn.Close() })
		defer stop()
		if _, err := io.WriteString(conn, "HEAD / HTTP/1.0\r\n\r\n"); err != nil {
			return false
		}
		n, _ := conn.Read(make([]byte, 1))
		return n > 0
	}
}
