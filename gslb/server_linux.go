package gslb

import (
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// ignorePathMTU makes answers leave as the interface takes them, whatever routers are said
// to have said: who forges ICMP could have them cut into fragments, and replace one.
func ignorePathMTU(network, _ string, c syscall.RawConn) error {
	level, option, values := unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, []int{unix.IP_PMTUDISC_OMIT, unix.IP_PMTUDISC_DONT}
	if network == "udp6" {
		level, option, values = unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, []int{unix.IPV6_PMTUDISC_OMIT, unix.IPV6_PMTUDISC_DONT}
	}
	return control(c, func(fd int) (err error) {
		for _, value := range values { // the first is not known to old kernels, and to some that only look like Linux
			if err = unix.SetsockoptInt(fd, level, option, value); err == nil {
				return nil
			}
		}
		return err
	})
}

// retire has a UDP socket receive nothing more, but what it has received already: it is
// connected to itself, and the kernel passes over connected sockets where several share a
// port. It can send to anybody still.
func retire(c *net.UDPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	own := c.LocalAddr().(*net.UDPAddr).AddrPort()
	ip := own.Addr().Unmap()
	if ip.IsUnspecified() && ip.Is4() {
		ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	} else if ip.IsUnspecified() {
		ip = netip.IPv6Loopback()
	}
	var to unix.Sockaddr = &unix.SockaddrInet6{Port: int(own.Port()), Addr: ip.As16()}
	if ip.Is4() {
		to = &unix.SockaddrInet4{Port: int(own.Port()), Addr: ip.As4()}
	}
	return control(raw, func(fd int) error { return unix.Connect(fd, to) })
}
