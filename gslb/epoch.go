package gslb

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// epoch is a digest of all that is answered from the view: the zones, as their serials have
// them, and which datacenters and addresses count as what for each name. Two name servers of
// one epoch answer all clients alike, but where nobody serves: who did last is each one's own.
func (v *view) epoch() string {
	h := xxhash.New()
	for _, z := range v.zones {
		fmt.Fprintln(h, z.Origin, z.soa.Serial)
	}
	for _, n := range v.names() {
		for _, s := range n.status {
			dead := slices.SortedFunc(maps.Keys(s.dead), netip.Addr.Compare)
			fmt.Fprintln(h, s.healthy, s.away, dead)
		}
	}
	return fmt.Sprintf("%08x", uint32(h.Sum64()))
}

// identity is who answers and by what: the node's name and the epoch, for NSID (RFC 5001) and
// id.server (RFC 4892).
func (s *Node) identity() []string {
	if v := s.view.Load(); v != nil {
		return []string{s.node, "epoch " + v.state}
	}
	return []string{s.node}
}
