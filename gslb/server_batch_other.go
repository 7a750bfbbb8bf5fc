//go:build !linux

package gslb

import (
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// batch receives and sends datagrams as golang.org/x/net does: many at once where the system can.
type batch struct {
	*net.UDPConn
	conn interface {
		ReadBatch([]ipv4.Message, int) (int, error)
		WriteBatch([]ipv4.Message, int) (int, error)
	}
	local   netip.AddrPort
	beside  func(oob []byte) (asked net.IP, reply []byte) // nil: the socket has only one address
	in, out []ipv4.Message
	queued  int // of out
}

func newBatch(c *net.UDPConn, all bool) (*batch, error) {
	b := &batch{UDPConn: c, local: addrPort(c.LocalAddr()), in: make([]ipv4.Message, udpBatch), out: make([]ipv4.Message, udpBatch)}
	for i := range b.in {
		b.in[i] = ipv4.Message{Buffers: [][]byte{make([]byte, udpBuffer)}, OOB: make([]byte, oobBuffer)}
		b.out[i].Buffers = make([][]byte, 1)
	}
	four, six := ipv4.NewPacketConn(c), ipv6.NewPacketConn(c)
	switch is4 := b.local.Addr().Is4(); {
	case is4 && all:
		b.conn, b.beside = four, beside4
		return b, four.SetControlMessage(ipv4.FlagDst|ipv4.FlagInterface, true)
	case is4:
		b.conn = four
	case all:
		b.conn, b.beside = six, beside6
		return b, six.SetControlMessage(ipv6.FlagDst|ipv6.FlagInterface, true)
	default:
		b.conn = six
	}
	return b, nil
}

func (b *batch) wake() { b.SetReadDeadline(time.Unix(1, 0)) }

func (b *batch) receive() (int, error) { return b.conn.ReadBatch(b.in, 0) }

func (b *batch) rest() (int, error) {
	b.SetReadDeadline(time.Now().Add(drainPause))
	return b.receive()
}

func (b *batch) datagram(i int) (data []byte, from netip.AddrPort) {
	m := &b.in[i]
	if m.N == udpBuffer {
		return nil, from
	}
	return m.Buffers[0][:m.N], addrPort(m.Addr)
}

func (b *batch) asked(i int) netip.AddrPort {
	if b.beside != nil {
		dst, _ := b.beside(b.in[i].OOB[:b.in[i].NN])
		if a, ok := netip.AddrFromSlice(dst); ok {
			return netip.AddrPortFrom(a.Unmap(), b.local.Port())
		}
	}
	return b.local
}

func (b *batch) reply(i int, response []byte) {
	out := &b.out[b.queued]
	out.Buffers[0], out.Addr, out.OOB = response, b.in[i].Addr, nil
	if b.beside != nil {
		_, out.OOB = b.beside(b.in[i].OOB[:b.in[i].NN])
	}
	b.queued++
}

func (b *batch) send(failed func(error)) {
	for out := b.out[:b.queued]; len(out) > 0; {
		n, err := b.conn.WriteBatch(out, 0)
		if err != nil || n == 0 {
			failed(err)
			n = max(n, 0) + 1
		}
		out = out[min(n, len(out)):]
	}
	b.queued = 0
}

// beside4 is the address that was asked, and what makes a reply leave from there.
func beside4(oob []byte) (net.IP, []byte) {
	var cm ipv4.ControlMessage
	if cm.Parse(oob) != nil || cm.Dst == nil {
		return nil, nil
	}
	// Without the interface: the way back may be another one.
	return cm.Dst, (&ipv4.ControlMessage{Src: cm.Dst}).Marshal()
}

func beside6(oob []byte) (net.IP, []byte) {
	var cm ipv6.ControlMessage
	if cm.Parse(oob) != nil || cm.Dst == nil {
		return nil, nil
	}
	reply := ipv6.ControlMessage{Src: cm.Dst}
	if cm.Dst.IsLinkLocalUnicast() { // which means nothing without its interface
		reply.IfIndex = cm.IfIndex
	}
	return cm.Dst, reply.Marshal()
}
