package provision

import "example.org/breakwater/internal/naming"

// starts says of which projects the plan begins a replication that nobody has asked for by a
// robot of theirs: in groups every project is replicated.
func (w *wanting) starts(p *Plan) {
	if !w.fleet.Grouped() {
		return
	}
	for _, datacenter := range sortedKeys(p.have) {
		h := p.have[datacenter]
		replicated := map[string]bool{}
		h.mu.Lock()
		for k, e := range h.entries {
			if rule, ok := e.object.(*policy); ok && k.Kind == kindPolicy {
				for _, project := range rule.projects() {
					replicated[project] = true
				}
			}
		}
		h.mu.Unlock()
		for _, name := range sortedKeys(w.fleet.Projects.MultiDC.Items) {
			k := Key{datacenter, kindProject, w.fleet.Project(naming.MultiDC, name)}
			if w.fleet.Projects.MultiDC.Items[name].Robots.Sync.IsZero() && holds(w.fleet.Homes(name), datacenter) && !replicated[k.Name] && h.get(k.Kind, k.Name) != nil {
				p.note(k, "it has no robots.sync and is replicated from now on: projects.multi-dc.replication is grouped, which takes every project")
			}
		}
	}
}
