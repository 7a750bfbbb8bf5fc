package fleet

import (
	"net/netip"
	"slices"
	"strings"
)

// families are those of addresses that some datacenters have, and others lack.
func (n *notes) families() {
	for family, is := range map[string]func(netip.Addr) bool{"IPv4": netip.Addr.Is4, "IPv6": netip.Addr.Is6} {
		var have, lack []string
		for _, name := range n.f.Order {
			if slices.ContainsFunc(n.f.Datacenters[name].Addresses, func(a Addr) bool { return is(a.Unmap()) }) {
				have = append(have, name)
			} else {
				lack = append(lack, name)
			}
		}
		if len(have) == 0 {
			continue
		}
		for _, name := range lack {
			n.add("datacenters."+name+".addresses", "%s has no %s address: its clients that use %s are sent to another (%s), and prefer that where they have both; give all datacenters the same families", name, family, family, strings.Join(have, ", "))
		}
	}
}
