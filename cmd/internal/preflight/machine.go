package preflight

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// fewFiles is less than clients may open connections to an edge.
const fewFiles = 16 << 10

// tryMachine looks at what the daemons need of the machine itself.
func (m *machine) tryMachine(_ context.Context, r *results) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err == nil && limit.Max < fewFiles {
		r.warn("files", "", fmt.Sprintf("a process may have %d files open, and an edge takes %d connections", limit.Max, fewFiles), "raise it for the daemon: LimitNOFILE of systemd, ulimits of compose")
	}
	r.say("a process may have %d files open", limit.Max)
	if m.Depth == Start { // a daemon may not even ask (systemd's ProtectClock)
		return
	}
	switch kept, known := clockIsKept(); {
	case known && !kept:
		r.warn("clock", "", "nothing keeps this machine's clock right: the kernel says that it is not synchronized", "run chrony (with rtcsync) or systemd-timesyncd: tokens live a minute")
	case known:
		r.say("its clock is synchronized")
	}
}

// tryAdmin wants what operators may do to be out of everybody else's reach.
func (m *machine) tryAdmin(_ context.Context, r *results) {
	listeners := map[string]string{}
	if m.needs(Edge) {
		listeners["edge.admin"] = m.Fleet.Edge.Admin
	}
	if m.needs(GSLB) {
		listeners["gslb.admin"] = m.Fleet.GSLB.Admin
	}
	for _, field := range sorted(listeners) {
		address := listeners[field]
		host, _, err := net.SplitHostPort(address)
		ip, _ := netip.ParseAddr(host)
		if err == nil && (host == "" || ip.IsUnspecified()) {
			r.warn("everywhere", field, fmt.Sprintf("%s is %s: whoever reaches this machine may drain it and read its memory", field, address), "write 127.0.0.1 and the port, or the address of a network of operators alone")
			continue
		}
		r.say("%s on %s", field, address)
	}
}
