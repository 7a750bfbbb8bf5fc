package gslb

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	tcpIdle      = 10 * time.Second
	tcpConns     = 1024
	tcpPerClient = 64
	tcpBuffer    = 4 << 10
)

func (s *server) serveTCP(ctx context.Context, l net.Listener, conns *conns) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	var open sync.WaitGroup
	defer open.Wait()
	for {
		c, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				c.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil: // too many open files, or the client has left already
			s.logger().Warn("TCP client not accepted", "err", err.Error())
			if !pause(ctx) {
				return nil
			}
			continue
		}
		from := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap().WithZone("")
		if !conns.take(from) {
			s.hooks.full()
			c.Close()
			continue
		}
		open.Go(func() {
			defer conns.give(from)
			s.hooks.connection(1)
			defer s.hooks.connection(-1)
			s.serveConn(ctx, c, from)
		})
	}
}

// serveConn answers a connection's queries in their order (RFC 7766), until the
// client is idle for too long or sends what is no query. When ctx ends, what has
// arrived is still answered.
func (s *server) serveConn(ctx context.Context, c net.Conn, from netip.Addr) {
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	idle := s.idle
	if idle == 0 {
		idle = tcpIdle
	}
	in, out := bufio.NewReaderSize(c, tcpBuffer), bufio.NewWriterSize(c, tcpBuffer)
	var query []byte
	buf := make([]byte, tcpBuffer)
	for {
		if !wholeQuery(in) { // before the client is waited for, it gets what it waits for
			c.SetWriteDeadline(time.Now().Add(idle))
			if out.Flush() != nil {
				return
			}
			c.SetReadDeadline(time.Now().Add(idle)) // for all of the query: a drip is no activity
			if ctx.Err() != nil {
				return
			}
		}
		var err error
		if query, err = readQuery(in, query); err != nil {
			return
		}
		response := s.responder.respond(query, from, true, buf)
		if response == nil {
			out.Flush() // of the answers before, under the last deadline
			return
		}
		c.SetWriteDeadline(time.Now().Add(idle))
		out.Write(binary.BigEndian.AppendUint16(out.AvailableBuffer(), uint16(len(response))))
		if _, err := out.Write(response); err != nil {
			return
		}
	}
}

// wholeQuery: the next one has arrived already.
func wholeQuery(in *bufio.Reader) bool {
	if in.Buffered() < 2 {
		return false
	}
	length, _ := in.Peek(2)
	return in.Buffered()-2 >= int(binary.BigEndian.Uint16(length))
}

// readQuery reads one query into buf, which grows when it is too small.
func readQuery(in io.Reader, buf []byte) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(in, length[:]); err != nil {
		return buf, err
	}
	n := int(binary.BigEndian.Uint16(length[:]))
	if n > cap(buf) {
		buf = make([]byte, max(n, sizePlain))
	}
	buf = buf[:n]
	_, err := io.ReadFull(in, buf)
	return buf, err
}

// conns counts connections, all and by client.
type conns struct {
	max, perClient int

	mu   sync.Mutex
	open int
	by   map[netip.Addr]int
}

func newConns(most, perClient int) *conns {
	if most == 0 {
		most = tcpConns
	}
	if perClient == 0 {
		perClient = tcpPerClient
	}
	return &conns{max: most, perClient: perClient, by: map[netip.Addr]int{}}
}

// take counts one more, if there may be one more.
func (c *conns) take(from netip.Addr) bool {
	from = tcpClient(from)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open >= c.max || c.by[from] >= c.perClient {
		return false
	}
	c.open++
	c.by[from]++
	return true
}

func (c *conns) give(from netip.Addr) {
	from = tcpClient(from)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open--
	if c.by[from]--; c.by[from] == 0 {
		delete(c.by, from)
	}
}

// tcpClient is what stands for a client that is who it says: its address, or the
// network that one client of IPv6 may have for itself.
func tcpClient(from netip.Addr) netip.Addr {
	if from.Is4() {
		return from
	}
	return network(from)
}
