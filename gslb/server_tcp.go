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
	"syscall"
	"time"
)

const tcpBuffer = 4 << 10

// tcpListener is a *net.TCPListener.
type tcpListener interface {
	net.Listener
	SetDeadline(time.Time) error
}

func (s *server) serveTCP(ctx context.Context, l tcpListener, conns *conns) error {
	stop := context.AfterFunc(ctx, func() { l.SetDeadline(time.Now().Add(drainPause)) }) // who is connected already is taken
	defer stop()
	defer l.Close()
	var open sync.WaitGroup
	defer open.Wait()
	for {
		c, err := l.Accept()
		switch {
		case err != nil && ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE):
			if gone := conns.longestIdle(); gone != nil {
				s.hooks.evicted()
				<-gone.ended
				continue
			}
			fallthrough
		case err != nil: // the client has left already
			s.logger().Warn("TCP client not accepted", "err", err.Error())
			if !pause(ctx, faultPause) {
				return nil
			}
			continue
		}
		entered, gone := conns.enter(c)
		if gone != nil {
			s.hooks.evicted()
		}
		open.Go(func() {
			defer conns.leave(entered)
			s.hooks.connection(1)
			defer s.hooks.connection(-1)
			from := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap().WithZone("")
			if s.isProxy(from) {
				var err error
				if from, err = s.readProxy(ctx, c, from); err != nil {
					c.Close()
					return
				}
			}
			if conns.is(entered, from) != nil {
				s.hooks.evicted()
			}
			s.serveConn(ctx, entered, from, func() { conns.active(entered) })
		})
	}
}

// serveConn answers a connection's queries in their order (RFC 7766), until the
// client is idle for too long or sends what is no query. When ctx ends, what has
// arrived is still answered. After each answer, answered is called.
func (s *server) serveConn(ctx context.Context, c net.Conn, from netip.Addr, answered func()) {
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Now().Add(drainPause)) })
	defer stop()
	var leaves time.Time // when, whatever comes; zero: not because ctx has ended
	idle := s.responder.tcpIdle()
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
				if leaves.IsZero() {
					leaves = time.Now().Add(drainPause)
				}
				c.SetReadDeadline(leaves)
			}
		}
		var err error
		if query, err = readQuery(in, query); err != nil {
			return
		}
		began := s.tap.now()
		response := s.responder.respond(query, from, true, buf)
		s.tap.overTCP(c, from, tapped{query: query, response: response, asked: began})
		if response == nil {
			out.Flush() // of the answers before, under the last deadline
			return
		}
		c.SetWriteDeadline(time.Now().Add(idle))
		out.Write(binary.BigEndian.AppendUint16(out.AvailableBuffer(), uint16(len(response))))
		if _, err := out.Write(response); err != nil {
			return
		}
		answered()
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
