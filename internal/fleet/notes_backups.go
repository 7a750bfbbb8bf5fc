package fleet

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
