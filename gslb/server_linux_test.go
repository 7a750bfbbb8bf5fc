package gslb

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestAnswersIgnorePathMTU: an ICMP message that anybody may have sent, "fragmentation
// needed", does not have answers cut into fragments.
func TestAnswersIgnorePathMTU(t *testing.T) {
	for _, c := range []struct {
		address             string
		level, option, want int
	}{
		{"127.0.0.1:0", unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_OMIT},
		{"[::1]:0", unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_OMIT},
	} {
		all, err := (&server{workers: 2}).listen(t.Context(), c.address)
		if err != nil {
			if c.level == unix.IPPROTO_IP {
				t.Fatal(err)
			}
			continue // a machine without IPv6
		}
		defer closeAll(all)
		for _, socket := range all[0].udp {
			raw, err := socket.SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			if err := control(raw, func(fd int) error {
				got, err := unix.GetsockoptInt(fd, c.level, c.option)
				if err == nil && got != c.want {
					t.Errorf("%s: path MTU discovery is %d, want %d", c.address, got, c.want)
				}
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
}
