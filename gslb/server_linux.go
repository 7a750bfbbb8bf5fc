package gslb

import (
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
