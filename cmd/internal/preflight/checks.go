package preflight

import "context"

// checks are those that apply to this machine, in the order of the table. What is not
// configured has none.
func (m *machine) checks() (all []check) {
	m.ids = []string{"peer", "upstream"}
	add := func(c check, configured bool) {
		m.ids = append(m.ids, c.id)
		if configured && m.wants(c) {
			all = append(all, c)
		}
	}
	f, every := m.Fleet, Offline|Start|Whole
	daemons, edge := []Part{Edge, GSLB}, []Part{Edge}
	add(check{"secrets", "secrets", Offline | Whole, Parts, m.trySecrets}, len(m.references()) > 0)
	add(check{"files", "files", every, Parts, m.tryFiles}, len(m.files()) > 0)
	add(check{"certificate", "certificate", every, edge, m.tryCertificate}, f.Edge.TLS.Certificate != "")
	add(check{"store", "store", every, edge, m.tryStore}, true)
	add(check{"admin", "admin listeners", every, daemons, m.tryAdmin}, true)
	add(check{"ports", "ports", Offline | Whole, daemons, m.tryPorts}, true)
	add(check{"machine", "machine", every, daemons, m.tryMachine}, true)
	add(check{"gslb", "name server", every, []Part{GSLB}, m.tryGSLB}, f.GSLB != nil)
	harbor := &harborTrial{machine: m}
	add(check{"harbor", "Harbor", Start | Whole, []Part{Edge, Provision}, harbor.try}, true)
	add(check{"robot", "Harbor: the edge's robot", Start | Whole, edge, harbor.tryRobot}, !f.Edge.Robot.Secret.IsZero())
	add(check{"tokens", "Harbor: its tokens", Start | Whole, edge, harbor.tryTokens}, len(f.Harbor.TokenCertificates) > 0)
	add(check{"administrator", "Harbor: the administrator", Whole, []Part{Provision}, harbor.tryAdministrator}, true)
	for _, name := range f.Order {
		if name != m.Datacenter && f.Datacenters[name].Edge != "" {
			add(check{"peer", "the edge of " + name, Whole, edge, func(ctx context.Context, r *results) { m.tryPeer(ctx, r, name) }}, true)
		}
	}
	for _, u := range m.upstreams() {
		add(check{"upstream", "the upstream of " + u.project, Whole, edge, func(ctx context.Context, r *results) { m.tryUpstream(ctx, r, u) }}, u.asked())
	}
	add(check{"console", "the console's provider", Whole, edge, m.tryConsole}, f.Edge.Console.Listen != "" && len(f.Edge.Console.Groups) > 0)
	add(check{"delegation", "delegation", Whole, []Part{GSLB}, m.tryDelegation}, m.delegates())
	return all
}
