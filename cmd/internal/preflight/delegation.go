package preflight

import (
	"context"
	"slices"
	"strings"

	"example.org/breakwater/cmd/internal/wire"
	"example.org/breakwater/gslb"
)

// delegates reports whether there is a name server that the name can be delegated to.
func (m *machine) delegates() bool {
	if m.Fleet.GSLB == nil {
		return false
	}
	for _, dc := range m.Fleet.Datacenters {
		if len(dc.GSLB) > 0 {
			return true
		}
	}
	return false
}

// lesser are the findings with which names are answered all the same.
var lesser = []string{"parent-ttl", "parent-silent", "too-few", "serials", "no-ds", "old-ds", "old-key"}

// tryDelegation follows the chain from the root, and asks the name servers of all datacenters.
func (m *machine) tryDelegation(ctx context.Context, r *results) {
	delegations, err := wire.Delegations(m.Fleet)
	if err != nil {
		r.fault("unknown", "gslb", oneLine(err), "write gslb.listen as :53")
		return
	}
	for _, d := range delegations {
		d.Roots = m.Roots
		found, err := d.Check(ctx)
		if err != nil {
			r.warn("unknown", d.Zone, "the chain from the root to "+d.Zone+" cannot be followed from here: "+oneLine(err), "let this machine ask name servers in the internet (port 53), or name those of a private root with --root")
			continue
		}
		for _, f := range found {
			silent := slices.ContainsFunc(found, func(other gslb.Finding) bool { return other.Kind == "unreachable" && other.Where == f.Where })
			switch {
			case f.Kind == "no-tcp" && silent: // it is not there at all
			case slices.Contains(lesser, f.Kind):
				what, do := halves(f.Message)
				r.warn(f.Kind, f.Where, f.Where+": "+what, do)
			default:
				what, do := halves(f.Message)
				r.fault(f.Kind, f.Where, f.Where+": "+what, do)
			}
		}
		if len(found) == 0 {
			r.say("%s is delegated as it should be, and its name servers answer", d.Zone)
		}
	}
}

// halves parts a sentence into what is wrong and what to do.
func halves(message string) (what, do string) {
	for _, between := range []string{"; ", ": "} {
		if at := strings.LastIndex(message, between); at > 0 {
			return message[:at], message[at+len(between):]
		}
	}
	return message, ""
}
