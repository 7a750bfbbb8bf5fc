package gslb

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

const (
	udpBatch  = 32      // messages for one system call
	udpBuffer = 4 << 10 // no sensible query is longer; for packing an answer it is enough
	udpQueue  = 1 << 20 // bytes that the kernel keeps while we are busy, if it allows
	oobBuffer = 64      // for the address that was asked

	drainPause   = 20 * time.Millisecond // for what is on its way when the end begins
	drainBatches = 1000                  // of which the kernel keeps far fewer
)

// batchConn is an ipv4.PacketConn or ipv6.PacketConn.
type batchConn interface {
	ReadBatch([]ipv4.Message, int) (int, error)
	WriteBatch([]ipv4.Message, int) (int, error)
}

// udpWorker has one socket and the memory for a batch.
type udpWorker struct {
	server    *server
	local     netip.AddrPort
	conn      batchConn
	replyFrom func(oob []byte) []byte // what makes a reply leave from the address that was asked; nil: the socket has only one
	in, out   []ipv4.Message
	buffers   [][]byte
}

func (s *server) serveUDP(ctx context.Context, c *net.UDPConn, wildcard bool) error {
	// The socket is not closed before what it was asked has been answered.
	stop := context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	c.SetReadBuffer(udpQueue)
	w, err := newWorker(s, c, wildcard)
	if err != nil {
		return err
	}
	for {
		n, err := w.conn.ReadBatch(w.in, 0)
		switch {
		case err != nil && ctx.Err() != nil:
			w.drain(c)
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil:
			s.logger().Warn("queries not received", "err", err.Error())
			if !pause(ctx) {
				return nil
			}
			continue
		}
		w.write(w.answer(w.in[:n]))
	}
}

// drain answers what has arrived. From now on queries go to who else has the port: to the
// successor, where there is one.
func (w *udpWorker) drain(c *net.UDPConn) {
	if err := retire(c); err != nil {
		w.server.logger().Debug("a socket goes on receiving until it is closed", "err", err.Error())
	}
	for range drainBatches {
		c.SetReadDeadline(time.Now().Add(drainPause))
		n, err := w.conn.ReadBatch(w.in, 0)
		if err != nil {
			return
		}
		w.write(w.answer(w.in[:n]))
	}
}

func newWorker(s *server, c *net.UDPConn, wildcard bool) (*udpWorker, error) {
	w := &udpWorker{server: s, local: addrPort(c.LocalAddr()), in: messages(udpBatch), out: make([]ipv4.Message, udpBatch), buffers: make([][]byte, udpBatch)}
	for i := range w.buffers {
		w.buffers[i] = make([]byte, udpBuffer)
		w.out[i].Buffers = make([][]byte, 1)
	}
	var err error
	if c.LocalAddr().(*net.UDPAddr).IP.To4() != nil {
		p := ipv4.NewPacketConn(c)
		w.conn = p
		if wildcard {
			w.replyFrom = replyFrom4
			err = p.SetControlMessage(ipv4.FlagDst|ipv4.FlagInterface, true)
		}
	} else {
		p := ipv6.NewPacketConn(c)
		w.conn = p
		if wildcard {
			w.replyFrom = replyFrom6
			err = p.SetControlMessage(ipv6.FlagDst|ipv6.FlagInterface, true)
		}
	}
	return w, err
}

func messages(n int) []ipv4.Message {
	list := make([]ipv4.Message, n)
	for i := range list {
		list[i].Buffers = [][]byte{make([]byte, udpBuffer)}
		list[i].OOB = make([]byte, oobBuffer)
	}
	return list
}

// answer fills the outgoing batch.
func (w *udpWorker) answer(in []ipv4.Message) []ipv4.Message {
	n := 0
	for i := range in {
		m := &in[i]
		from, ok := m.Addr.(*net.UDPAddr)
		if !ok || from.Port == 0 || m.N == udpBuffer { // nobody receives there; or it was cut
			continue
		}
		query, client, port := m.Buffers[0][:m.N], from.AddrPort().Addr().Unmap().WithZone(""), from.Port
		if w.server.isProxy(client) {
			var size int
			var err error
			if client, size, err = parseProxy(query, client); err != nil {
				continue
			}
			query, port = query[size:], 0
		}
		began := w.server.tap.now()
		response := w.server.responder.respond(query, client, false, w.buffers[n])
		if tap := w.server.tap; tap != nil {
			tap.exchanged(tapped{query: query, response: response, from: netip.AddrPortFrom(client, uint16(port)), to: w.asked(m.OOB[:m.NN]), asked: began})
		}
		if response == nil {
			continue
		}
		out := &w.out[n]
		out.Buffers[0], out.Addr, out.OOB = response, m.Addr, nil
		if w.replyFrom != nil {
			out.OOB = w.replyFrom(m.OOB[:m.NN])
		}
		n++
	}
	return w.out[:n]
}

// write sends a batch. An answer that cannot be sent (nobody is there any more, a
// firewall) does not hold up the next one.
func (w *udpWorker) write(out []ipv4.Message) {
	for len(out) > 0 {
		n, err := w.conn.WriteBatch(out, 0)
		if err != nil || n == 0 {
			w.server.logger().Debug("answer not sent", "err", err)
			n = max(n, 0) + 1
		}
		out = out[min(n, len(out)):]
	}
}

// replyFrom4 makes the control message that sends from where it was received.
func replyFrom4(oob []byte) []byte {
	var cm ipv4.ControlMessage
	if cm.Parse(oob) != nil || cm.Dst == nil {
		return nil
	}
	// Without the interface: the way back may be another one.
	return (&ipv4.ControlMessage{Src: cm.Dst}).Marshal()
}

func replyFrom6(oob []byte) []byte {
	var cm ipv6.ControlMessage
	if cm.Parse(oob) != nil || cm.Dst == nil {
		return nil
	}
	reply := ipv6.ControlMessage{Src: cm.Dst}
	if cm.Dst.IsLinkLocalUnicast() { // which means nothing without its interface
		reply.IfIndex = cm.IfIndex
	}
	return reply.Marshal()
}
