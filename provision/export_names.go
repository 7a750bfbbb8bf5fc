package provision

import (
	"slices"
	"strings"

	"example.org/breakwater/internal/naming"
)

// declared is what an exported file says that a project is, whose name does not say it: its
// kind, by the prefix of that, and its name in the file.
type declared struct{ kind, name string }

// declare finds projects without a prefix that are of a kind of the fleet file's all the same:
// those that apply made so, caches, and what several datacenters replicate to each other.
func (x *exporter) declare() {
	x.own, x.entries = map[string]declared{}, map[declared]string{}
	for _, full := range x.all(kindProject) {
		if naming.KindOf(full) != "" || full == library {
			continue
		}
		is := x.foundAs(full)
		if x.taken(is) && is.kind != naming.Cache { // a cache's registry has its name, and one project alone
			is.name = full
		}
		if is.kind != "" && !x.taken(is) {
			x.own[full], x.entries[is] = is, full
		}
	}
}

// foundAs is what a project is by what Harbors have of it; of no kind: nothing of the fleet file's.
func (x *exporter) foundAs(full string) declared {
	if of := x.first(kindProject, full).object.(*project).registry; of != "" {
		return declared{naming.Cache, of}
	}
	if name := x.heldAs(full); name != "" {
		return declared{naming.Repl, name}
	}
	if name := x.sharedAs(full); name != "" {
		return declared{naming.MultiDC, name}
	}
	return declared{}
}

// taken reports whether another project is that in the file already.
func (x *exporter) taken(is declared) bool {
	return x.first(kindProject, is.kind+is.name) != nil || x.entries[is] != ""
}

// library is the project that every Harbor is born with.
const library = "library"

// kindOf is the kind of a project as the file has it; "": it is left out.
func (x *exporter) kindOf(full string) string {
	if kind := naming.KindOf(full); kind != "" {
		return kind
	}
	return x.own[full].kind
}

// nameOf is the name of a project in the file.
func (x *exporter) nameOf(full string) string {
	if is, ok := x.own[full]; ok {
		return is.name
	}
	return strings.TrimPrefix(full, naming.KindOf(full))
}

// full is the way back from nameOf.
func (x *exporter) full(kind, name string) string {
	if full := x.entries[declared{kind, name}]; full != "" {
		return full
	}
	return kind + name
}

// heldAs is the name in a file of a project into which replications of ours pull public images; "":
// there are none.
func (x *exporter) heldAs(full string) string {
	for _, rule := range x.all(kindPolicy) {
		p := x.first(kindPolicy, rule).object.(*policy)
		if of, rest, ok := strings.Cut(rule, "->"); ok && p.namespace == full && p.from == of {
			name, _, _ := strings.Cut(rest, " (")
			return name
		}
	}
	return ""
}

// Words in the description of the robots of projects that datacenters share.
const (
	robotOf = " user for "
	robotIn = " repository"
)

// sharedAs is the name in a file of a project that datacenters share: of what apply made it is
// in the descriptions of robots and in the names of replications. "": it is not shared.
func (x *exporter) sharedAs(full string) string {
	shared := false
	for _, datacenter := range x.names {
		for k, e := range x.have[datacenter].entries {
			switch o := e.object.(type) {
			case *robot:
				before, rest, ok := strings.Cut(o.description, robotOf)
				if name, ours := strings.CutSuffix(rest, robotIn+" "+mark); ok && ours && o.project == full && strings.HasPrefix(before, "Multi DC ") {
					return name
				}
			case *policy:
				of, _, _ := strings.Cut(k.Name, " ")
				_, ours := directionOf(k)
				if ours && of != groups && o.namespace == full {
					return strings.TrimPrefix(of, naming.MultiDC)
				}
				shared = shared || ours && slices.Contains(o.projects(), full) || x.shares(datacenter, o, full)
			case *webhook:
				shared = shared || k.Name == full+" "+webhookName && strings.HasSuffix(o.description, mark)
			}
		}
	}
	if shared {
		return full
	}
	return ""
}

// shares reports whether a replication of somebody's takes a project between two of the Harbors,
// under its own name.
func (x *exporter) shares(datacenter string, p *policy, full string) bool {
	at := x.have[datacenter].get(kindRegistry, p.from+p.to)
	if p.disabled || at == nil || !p.takes(full) || p.namespace != "" && p.namespace != full {
		return false
	}
	return slices.ContainsFunc(x.names, func(peer string) bool {
		return peer != datacenter && x.have[peer].get(kindProject, full) != nil && x.have[datacenter].get(kindProject, full) != nil &&
			address(at.object.(*registry).url) == address(x.options.Harbors[peer])
	})
}

// projects are those of a kind, by their names in the file, as far as they are written.
func (x *exporter) projects(kind string) (names []string) {
	for _, full := range x.all(kindProject) {
		if x.kindOf(full) == kind && !x.unsaid[full] {
			names = append(names, x.nameOf(full))
		}
	}
	slices.Sort(names)
	return names
}
