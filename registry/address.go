package registry

import (
	"net"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// SameDomain reports whether two hosts belong to one owner: they are equal, or
// they share the domain that is registered below a public suffix.
func SameDomain(a, b string) bool {
	if strings.EqualFold(a, b) {
		return true
	}
	if net.ParseIP(a) != nil || net.ParseIP(b) != nil {
		return false
	}
	da, errA := publicsuffix.EffectiveTLDPlusOne(strings.ToLower(a))
	db, errB := publicsuffix.EffectiveTLDPlusOne(strings.ToLower(b))
	return errA == nil && errB == nil && da == db
}
