package fleet

import (
	"net"
	"net/netip"
	"strconv"
)

// listener is where something listens, by its field.
type listener struct{ path, address string }

func edgeListeners(e *Edge) []listener {
	all := []listener{{"edge.listen", e.Listen}, {"edge.metrics", e.Metrics}, {"edge.admin", e.Admin}}
	if e.Console.Listen != "" {
		all = append(all, listener{"edge.console.listen", e.Console.Listen})
	}
	return all
}

func gslbListeners(g *GSLB) []listener {
	all := []listener{{"gslb.listen", g.Listen}, {"gslb.metrics", g.Metrics}, {"gslb.admin", g.Admin}}
	if *g.Peers != "" && g.Key != (Ref{}) { // without a key nobody is listened to
		all = append(all, listener{"gslb.peers", *g.Peers})
	}
	return all
}

// checkListeners reports addresses that nothing can listen on, and those that another
// listener of the same program has.
func checkListeners(d *decoder, all []listener) {
	for i, l := range all {
		host, port, err := net.SplitHostPort(l.address)
		n, bad := strconv.Atoi(port)
		_, noIP := netip.ParseAddr(host)
		switch {
		case err != nil || port == "":
			d.report(l.path, "%q is no address to listen on; write :443 or 127.0.0.1:9091", l.address)
		case bad != nil || n < 0 || n > 65535:
			d.report(l.path, "%q is no port: they are 1 to 65535", port)
		case host != "" && host != "localhost" && noIP != nil:
			d.report(l.path, "%q is no IP address of this machine; write one, or :%s for all", host, port)
		}
		for _, other := range all[:i] {
			if overlap(l.address, other.address) {
				d.report(l.path, "%s listens there already (%s); write another port", other.path, other.address)
			}
		}
	}
}

// overlap reports whether one machine cannot listen on both addresses. Port 0 is any that is free.
func overlap(a, b string) bool {
	hostA, hostB := ipOf(a), ipOf(b)
	if portOf(a) != portOf(b) || portOf(a) == "0" || portOf(a) == "" {
		return false
	}
	if !hostA.IsValid() || !hostB.IsValid() { // all addresses of both families
		return true
	}
	return hostA == hostB || hostA.Is4() == hostB.Is4() && (hostA.IsUnspecified() || hostB.IsUnspecified())
}

func portOf(address string) string {
	_, port, err := net.SplitHostPort(address)
	if n, bad := strconv.Atoi(port); err == nil && bad == nil {
		return strconv.Itoa(n)
	}
	return ""
}

func hostOfListener(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return ""
	}
	return host
}

// ipOf is the address that is listened on; the zero Addr is all of both families.
func ipOf(address string) netip.Addr {
	host := hostOfListener(address)
	if host == "localhost" {
		host = "127.0.0.1"
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || ip == netip.IPv6Unspecified() {
		return netip.Addr{}
	}
	return ip.Unmap()
}
