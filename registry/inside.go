package registry

import (
	"fmt"
	"net/netip"
	"strings"
)

// Destination is a place that redirects of a source may lead to beside public addresses:
// a host, all hosts of a domain, an address or a network.
type Destination struct {
	host    string // as Host writes it; with a dot before it, whatever is below it
	network netip.Prefix
}

// ParseDestination reads host, *.domain, an address or a network.
func ParseDestination(text string) (Destination, error) {
	if network, err := netip.ParsePrefix(text); err == nil {
		if network != network.Masked() {
			return Destination{}, fmt.Errorf("%q has bits behind its length; write %s", text, network.Masked())
		}
		return Destination{network: network}, nil
	}
	host := Host(text)
	if ip, err := netip.ParseAddr(host); err == nil {
		return Destination{network: netip.PrefixFrom(ip, ip.BitLen())}, nil
	}
	below := strings.HasPrefix(host, "*.")
	host = strings.TrimPrefix(host, "*.")
	if host == "" || strings.ContainsAny(host, "/:*?#@[]$ ") || strings.HasPrefix(host, ".") {
		return Destination{}, fmt.Errorf("%q is no host and no network; write storage.example.net, *.example.net or 10.0.0.0/8, without a scheme and a port", text)
	}
	if below {
		host = "." + host
	}
	return Destination{host: host}, nil
}

// isHost reports whether a host is meant by its name.
func (d Destination) isHost(name string) bool {
	name = Host(name)
	return d.host != "" && (name == d.host || strings.HasPrefix(d.host, ".") && strings.HasSuffix(name, d.host))
}

// admits reports whether a redirect may lead to an address of a host. What is of this link
// alone, or of the cloud, is to be named by its address: a name leads where its owner wants.
func (s *client) admits(host string, ip netip.Addr, inside bool) bool {
	ip = untranslated(ip)
	own := isOwn(ip)
	for _, d := range s.made.Redirects {
		if d.network.IsValid() && d.network.Contains(ip) || d.isHost(host) && (!own || ip.IsLoopback()) {
			return true
		}
	}
	return !own && (!isPrivate(ip) || inside && s.made.Redirects == nil)
}

// private are networks inside, beside those of RFC 1918 and RFC 4193.
var private = []netip.Prefix{
	netip.MustParsePrefix("100.64.0.0/10"),  // shared (RFC 6598): clusters number their pods from it
	netip.MustParsePrefix("64:ff9b:1::/48"), // translators' own (RFC 8215)
	netip.MustParsePrefix("fec0::/10"),      // sites' (RFC 3879)
}

// metadata are where clouds tell machines about themselves, beside link-local addresses.
var metadata = []netip.Prefix{
	netip.MustParsePrefix("100.100.100.200/32"),
	netip.MustParsePrefix("168.63.129.16/32"),
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("fd00:ec2::/32"),
	netip.MustParsePrefix("fd20:ce::254/128"),
	netip.MustParsePrefix("fd00:42::42/128"),
	netip.MustParsePrefix("fd00:c1::a9fe:a9fe/128"),
}

func within(all []netip.Prefix, ip netip.Addr) bool {
	for _, p := range all {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// isPrivate reports whether an address is one of a network inside, as storages have.
func isPrivate(ip netip.Addr) bool {
	ip = untranslated(ip)
	return !isOwn(ip) && (ip.IsPrivate() || within(private, ip))
}

// isOwn reports whether an address is of this machine or link, or of the cloud below it.
func isOwn(ip netip.Addr) bool { return !ip.IsGlobalUnicast() || within(metadata, ip) }

var (
	nat64     = netip.MustParsePrefix("64:ff9b::/96")
	sixToFour = netip.MustParsePrefix("2002::/16")
)

// untranslated is the IPv4 address that is meant by an IPv6 one.
func untranslated(ip netip.Addr) netip.Addr {
	ip = ip.Unmap().WithZone("")
	switch b := ip.As16(); {
	case nat64.Contains(ip):
		return netip.AddrFrom4([4]byte(b[12:]))
	case sixToFour.Contains(ip):
		return netip.AddrFrom4([4]byte(b[2:6]))
	}
	return ip
}

// literal is the address that a URL's host is without anybody's being asked for it. What
// looks like one and is not, as 127.1, is one to some resolvers: it counts as unspecified.
func literal(host string) (netip.Addr, bool) {
	host = Host(host)
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip, true
	}
	last := host[strings.LastIndexByte(host, '.')+1:]
	switch {
	case last == "localhost":
		return netip.IPv6Loopback(), true
	case strings.Trim(last, "0123456789") == "", strings.HasPrefix(last, "0x"):
		return netip.IPv6Unspecified(), true
	}
	return netip.Addr{}, false
}
