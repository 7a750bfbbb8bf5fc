package gslb

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// batch receives and sends many datagrams with one system call each, and allocates nothing for
// them. It waits as all connections do, by way of the runtime's poller: a thread that waits in
// recvmmsg itself was measured to cost twice as much under load, for the runtime takes its
// processor away meanwhile and has to give it back (bench/results/gslb-load.txt).
type batch struct {
	conn    *net.UDPConn
	raw     syscall.RawConn
	local   netip.AddrPort
	all     bool // the socket has all addresses of the machine: it is told beside a datagram which one was asked
	in, out []message
	from    []unix.RawSockaddrInet6 // has room for either family
	beside  [][oobBuffer]byte
	buffers [][udpBuffer]byte
	parts   []unix.Iovec // of in, then of out
	queued  int          // of out

	read, write func(fd uintptr) (done bool) // what receive and send do, made once
	left        []message                    // of out, that write is to send
	moved       int                          // messages, by one of both
	fault       syscall.Errno
}

// message is the kernel's mmsghdr.
type message struct {
	unix.Msghdr
	size uint32
}

func newBatch(c *net.UDPConn, all bool) (*batch, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	b := &batch{conn: c, raw: raw, local: addrPort(c.LocalAddr()), all: all, in: make([]message, udpBatch), out: make([]message, udpBatch), from: make([]unix.RawSockaddrInet6, udpBatch),
		beside: make([][oobBuffer]byte, udpBatch), buffers: make([][udpBuffer]byte, udpBatch), parts: make([]unix.Iovec, 2*udpBatch)}
	for i := range udpBatch {
		b.parts[i].Base = &b.buffers[i][0]
		b.parts[i].SetLen(udpBuffer)
		b.in[i].Iov, b.out[i].Iov = &b.parts[i], &b.parts[udpBatch+i]
		b.in[i].SetIovlen(1)
		b.out[i].SetIovlen(1)
		b.in[i].Name = (*byte)(unsafe.Pointer(&b.from[i]))
		b.in[i].Control = &b.beside[i][0]
	}
	b.read = func(fd uintptr) bool { return b.move(unix.SYS_RECVMMSG, fd, b.in) }
	b.write = func(fd uintptr) bool { return b.move(unix.SYS_SENDMMSG, fd, b.left) }
	return b, control(raw, b.prepare)
}

// move receives or sends what it can at once; false: there is nothing, or no room.
func (b *batch) move(how, fd uintptr, all []message) bool {
	n, _, err := syscall.RawSyscall6(how, fd, uintptr(unsafe.Pointer(&all[0])), uintptr(len(all)), unix.MSG_DONTWAIT, 0, 0)
	b.moved, b.fault = int(n), err
	if err != 0 {
		b.moved = 0
	}
	return err != unix.EAGAIN
}

// prepare makes the socket tell what was asked, where that is not always the same.
func (b *batch) prepare(fd int) error {
	switch {
	case !b.all:
		return nil
	case b.local.Addr().Is4():
		return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
}

// wake ends a receive that waits, and lets none wait again.
func (b *batch) wake() { b.conn.SetReadDeadline(time.Unix(1, 0)) }

// rest receives what there is after wake; what is on its way may take the drainPause.
func (b *batch) rest() (int, error) {
	b.conn.SetReadDeadline(time.Now().Add(drainPause))
	return b.receive()
}

// receive waits for datagrams, and says how many there are; os.ErrDeadlineExceeded: it was woken.
func (b *batch) receive() (int, error) {
	for i := range b.in {
		b.in[i].Namelen = unix.SizeofSockaddrInet6
		if b.all {
			b.in[i].SetControllen(oobBuffer)
		}
	}
	switch err := b.raw.Read(b.read); {
	case err != nil:
		return 0, err
	case b.fault != 0 && b.fault != unix.EINTR:
		return 0, os.NewSyscallError("recvmmsg", b.fault)
	}
	return b.moved, nil
}

// datagram is the i-th that was received, until the next ones are. It is invalid where nobody
// receives an answer, or where it was cut.
func (b *batch) datagram(i int) (data []byte, from netip.AddrPort) {
	m, a := &b.in[i], &b.from[i]
	if m.size >= udpBuffer {
		return nil, from
	}
	port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&a.Port))[:])
	switch {
	case m.Namelen == unix.SizeofSockaddrInet4 && a.Family == unix.AF_INET:
		from = netip.AddrPortFrom(netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(a)).Addr), port)
	case m.Namelen == unix.SizeofSockaddrInet6 && a.Family == unix.AF_INET6:
		from = netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), port)
	}
	return b.buffers[i][:m.size], from
}

// asked is the address that the i-th datagram was sent to.
func (b *batch) asked(i int) netip.AddrPort {
	if a := b.info(i); a != nil && len(a) == unix.SizeofInet4Pktinfo {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(a[8:])), b.local.Port())
	} else if a != nil {
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(a)).Unmap(), b.local.Port())
	}
	return b.local
}

// info is the kernel's in_pktinfo or in6_pktinfo of the i-th datagram; nil: there is none.
func (b *batch) info(i int) []byte {
	head := unix.CmsgLen(0)
	if !b.all || int(b.in[i].Controllen) < head {
		return nil
	}
	of := (*unix.Cmsghdr)(unsafe.Pointer(&b.beside[i]))
	switch data := b.beside[i][head:max(head, min(int(of.Len), int(b.in[i].Controllen)))]; {
	case of.Level == unix.IPPROTO_IP && of.Type == unix.IP_PKTINFO && len(data) == unix.SizeofInet4Pktinfo,
		of.Level == unix.IPPROTO_IPV6 && of.Type == unix.IPV6_PKTINFO && len(data) == unix.SizeofInet6Pktinfo:
		return data
	}
	return nil
}

// reply has the i-th datagram answered with the next send, from the address that was asked.
func (b *batch) reply(i int, response []byte) {
	part, out := &b.parts[udpBatch+b.queued], &b.out[b.queued]
	part.Base = &response[0]
	part.SetLen(len(response))
	out.Name, out.Namelen = b.in[i].Name, b.in[i].Namelen
	out.Control = nil
	out.SetControllen(0)
	if a := b.info(i); a != nil {
		// Without the interface, for the way back may be another one: but for an address that
		// means nothing without it.
		if len(a) == unix.SizeofInet4Pktinfo {
			clear(a[:4])
			copy(a[4:8], a[8:])
		} else if !netip.AddrFrom16([16]byte(a)).IsLinkLocalUnicast() {
			clear(a[16:])
		}
		out.Control = b.in[i].Control
		out.SetControllen(unix.CmsgSpace(len(a)))
	}
	b.queued++
}

// send sends the replies. One that cannot be sent (nobody is there any more, a firewall)
// does not hold up the next one; failed hears of it.
func (b *batch) send(failed func(error)) {
	for b.left = b.out[:b.queued]; len(b.left) > 0; b.left = b.left[b.moved:] {
		err := b.raw.Write(b.write)
		if err == nil && b.fault != 0 && b.fault != unix.EINTR {
			err = os.NewSyscallError("sendmmsg", b.fault)
		}
		if err != nil {
			failed(err)
			b.moved = 1
		}
	}
	b.queued = 0
}
