package fleet

import (
	"cmp"
	"slices"
	"strings"
)

// idleFields are those that are written and that nobody reads, as the file is.
func (n *notes) idleFields() {
	f := n.f
	if f.Edge.Robot.Secret.IsZero() {
		n.idle("edge.touch", "it does nothing without edge.robot.secret: edges show retention with an account of their own what was pulled")
	}
	if all := n.ofNameServers(); f.GSLB == nil && len(all) > 0 {
		also := ""
		if len(all) > 1 {
			also = ", nor do " + strings.Join(all[1:], ", ")
		}
		n.idle(all[0], "it does nothing without name servers%s; write gslb: {} for them", also)
	}
	if f.Secrets.Vault.Address != "" && !n.f.usesVault() {
		n.idle("secrets.vault", "no vault: reference in the file needs it")
	}
	if len(f.Datacenters) == 1 {
		n.idle("projects.multi-dc.replication", "it does nothing: there is one datacenter, and nothing to replicate to")
		for _, name := range append([]string{"defaults"}, sorted(f.Projects.MultiDC.Items)...) {
			for _, field := range []string{"replication", "robots.sync"} {
				n.idle("projects.multi-dc."+name+"."+field, "it does nothing: there is one datacenter, and nothing to replicate to")
			}
		}
	}
	n.idleCopies()
	for path, r := range f.retentions() {
		if r != nil && r.Always && (*r != Retention{Always: true}) {
			n.idle(path+".always", "with it everything is kept, and the rules beside it do nothing")
		}
	}
	if g := f.GSLB; g != nil {
		n.idleWithoutBackups(g)
		if g.Key.IsZero() && *g.Peers != "" {
			n.idle("gslb.peers", "it does nothing: it is served where there is a gslb.key")
		}
		if g.GeoIP != "" && !slices.ContainsFunc(sorted(f.Datacenters), func(name string) bool { return f.Datacenters[name].Location != nil }) {
			n.idle("gslb.geoip", "it does nothing: no datacenter has a location")
		}
	}
}

// idleWithoutBackups are fields that say what backups do, where there are none.
func (n *notes) idleWithoutBackups(g *GSLB) {
	if n.f.primaries() < len(n.f.Datacenters) {
		return
	}
	const panics = "there is no datacenter with role: backup; it acts as last-good"
	if g.Panic == "backup" {
		n.idle("gslb.panic", panics)
	}
	for _, name := range sorted(g.Names) {
		if g.Names[name].Panic == "backup" {
			n.idle("gslb.names."+name+".panic", panics)
		}
	}
	if g.MinPrimaries > 1 {
		n.idle("gslb.min_primaries", "it does nothing: there is no datacenter with role: backup")
	}
}

// ofNameServers are the fields of datacenters that name servers alone go by, as far as they are
// written, in the order of their lines.
func (n *notes) ofNameServers() (all []string) {
	for _, name := range sorted(n.f.Datacenters) {
		for _, field := range []string{"addresses", "networks", "gslb", "weight", "probe"} {
			if path := "datacenters." + name + "." + field; n.written(path) {
				all = append(all, path)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b string) int { return cmp.Compare(n.lines[a], n.lines[b]) })
	return all
}
