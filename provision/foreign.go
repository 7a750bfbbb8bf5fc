package provision

import (
	"fmt"
	"slices"
	"strings"

	"example.org/breakwater/internal/naming"
)

// foreign says what somebody else has put into what is managed, and what it may there; ""
// where that is nothing. It is left alone.
func (p *Plan) foreign(h *having, k Key, o object) string {
	managed := func(project string) bool { return p.want.objects[Key{h.datacenter, kindProject, project}] != nil }
	of, rest, _ := strings.Cut(k.Name, " ")
	switch o := o.(type) {
	case *robot:
		if may := o.powers(managed); len(may) > 0 {
			return "it is somebody else's, and may " + set(may)
		}
	case *member:
		powerful := o.role == "admin" || o.role == "maintainer"
		if managed(of) && (!o.person || powerful && o.group != administrator && o.group != h.account) {
			return "it is not in the fleet file, and has the role " + o.role
		}
	case *immutable:
		if managed(of) && !o.disabled {
			return "the rule is somebody else's: " + rest + " can be neither moved nor deleted"
		}
	case *policy:
		into, takes := o.from != "" && managed(o.namespace), o.to != "" && slices.ContainsFunc(sortedKeys(p.want.objectsOf(h.datacenter, kindProject)), o.takes)
		if (into || takes) && !o.disabled {
			return fmt.Sprintf("it is somebody else's, and copies %s", map[bool]string{true: "into " + o.namespace, false: "out of managed projects"}[into])
		}
	}
	return ""
}

// powers are what a robot may in managed projects: one of the system what changes something,
// one of a project everything.
func (r *robot) powers(managed func(project string) bool) (all []string) {
	for _, g := range r.grants {
		reads := slices.Contains([]string{"pull", "list", "read"}, g.action)
		switch {
		case r.disabled:
		case r.project != "" && managed(r.project):
			all = append(all, g.resource+":"+g.action)
		case r.project == "" && !reads && (g.namespace == "/" || g.namespace == "*" || managed(g.namespace)):
			all = append(all, g.namespace+" "+g.resource+":"+g.action)
		}
	}
	return all
}

// takes reports whether the replication's name filter may take repos of a project.
func (p *policy) takes(project string) bool {
	for _, f := range p.filters {
		if pattern, ok := f.value.(string); ok && f.kind == filterName && pattern != "" {
			of, _, _ := strings.Cut(pattern, "/")
			return naming.Match(of, project)
		}
	}
	return true
}

// objectsOf are the wanted objects of a kind in a datacenter, by their names.
func (d *wanted) objectsOf(datacenter, kind string) map[string]object {
	all := map[string]object{}
	for k, o := range d.objects {
		if k.Datacenter == datacenter && k.Kind == kind {
			all[k.Name] = o
		}
	}
	return all
}
