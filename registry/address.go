package registry

import (
	"cmp"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"
)

// Host is a host's name or address in the one spelling by which two are compared: letters
// are small, there is no dot at the end, names of other alphabets are as resolvers ask for
// them (xn--…), addresses as short as they get, without brackets.
func Host(name string) string {
	name = strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	if ip, err := netip.ParseAddr(name); err == nil {
		return ip.Unmap().String()
	}
	if ascii, err := idna.Lookup.ToASCII(name); err == nil { // it takes other dots and widths too
		name = ascii
	}
	return strings.ToLower(strings.TrimSuffix(name, "."))
}

// Place is where a URL leads, host:port, however it is written: two of one place are one
// server. A scheme's own port counts as written.
func Place(u *url.URL) string {
	return net.JoinHostPort(Host(u.Hostname()), PortOf(u))
}

// PortOf is the port of a URL, or that of its scheme.
func PortOf(u *url.URL) string {
	if n, err := strconv.ParseUint(u.Port(), 10, 16); err == nil {
		return strconv.FormatUint(n, 10)
	}
	return cmp.Or(u.Port(), map[string]string{"http": "80", "https": "443"}[strings.ToLower(u.Scheme)])
}

// SameDomain reports whether two hosts belong to one owner: they are equal, or
// they share the domain that is registered below a public suffix.
func SameDomain(a, b string) bool {
	a, b = Host(a), Host(b)
	if a == b {
		return true
	}
	if net.ParseIP(a) != nil || net.ParseIP(b) != nil {
		return false
	}
	da, errA := publicsuffix.EffectiveTLDPlusOne(a)
	db, errB := publicsuffix.EffectiveTLDPlusOne(b)
	return errA == nil && errB == nil && da == db
}
