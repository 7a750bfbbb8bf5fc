package fleet

import (
	"cmp"
	"slices"
	"strings"

	"example.org/breakwater/internal/naming"
)

// entry is a project as the file has it: its kind, by its prefix, and its name below that.
type entry struct{ kind, name string }

// sections are where the file has the projects of each kind.
var sections = map[string]string{naming.MultiDC: "projects.multi-dc", naming.Cache: "projects.cache", naming.Repl: "projects.repl"}

func (e entry) path() string { return sections[e.kind] + "." + e.name }

// own is the name that an entry says of its project itself; ok is false where there is no such entry.
func (p *Projects) own(e entry) (project string, ok bool) {
	switch e.kind {
	case naming.MultiDC:
		if m := p.MultiDC.Items[e.name]; m != nil {
			return m.Project, true
		}
	case naming.Cache:
		if c := p.Cache.Items[e.name]; c != nil {
			return c.Project, true
		}
	case naming.Repl:
		if r := p.Repl.Items[e.name]; r != nil {
			return r.Project, true
		}
	}
	return "", false
}

// entries are all projects of the file, by kind and name.
func (p *Projects) entries() (all []entry) {
	add := func(kind string, names []string) {
		for _, name := range names {
			all = append(all, entry{kind, name})
		}
	}
	add(naming.MultiDC, sorted(p.MultiDC.Items))
	add(naming.Cache, sorted(p.Cache.Items))
	add(naming.Repl, sorted(p.Repl.Items))
	return all
}

// Project is the name in Harbor of a project that the file has under a name, of a kind that is
// said by its prefix (naming.MultiDC): the one of its own (project), else the prefix and the name.
func (f *Fleet) Project(kind, name string) string {
	own, _ := f.Projects.own(entry{kind, name})
	return cmp.Or(own, kind+name)
}

// Entry is the way back: of which kind the file has a project of Harbor's, and under which name.
// Both are "" of a project that is not in the file, whatever its prefix says.
func (f *Fleet) Entry(project string) (kind, name string) {
	if kind = naming.KindOf(project); kind == "" {
		e := f.own[project]
		return e.kind, e.name
	}
	name = strings.TrimPrefix(project, kind)
	if own, ok := f.Projects.own(entry{kind, name}); !ok || own != "" {
		return "", ""
	}
	return kind, name
}

// MultiDC is the multi-dc project of a name in Harbor, and its name in the file; nil and "" where
// the file has none.
func (f *Fleet) MultiDC(project string) (name string, m *MultiDC) {
	kind, name := f.Entry(project)
	if kind != naming.MultiDC {
		return "", nil
	}
	return name, f.Projects.MultiDC.Items[name]
}

// nameProjects notes which projects have names of their own.
func (f *Fleet) nameProjects() {
	f.own = map[string]entry{}
	for _, e := range f.Projects.entries() {
		if own, _ := f.Projects.own(e); own != "" {
			f.own[own] = e
		}
	}
}

// born is the project that every Harbor is made with, for everybody to read.
const born = "library"

// checkNames reports projects whose names Harbor would refuse, or by which something else would
// be meant.
func (f *Fleet) checkNames(d *decoder) {
	all := f.Projects.entries()
	slices.SortStableFunc(all, func(a, b entry) int { return d.lines[a.path()+".project"] - d.lines[b.path()+".project"] })
	taken := map[string]entry{} // of two that are alike the later one is reported
	for _, e := range all {
		for _, datacenter := range sorted(f.Datacenters) {
			if at := e.path() + ".datacenters." + datacenter + ".project"; d.written(at) {
				d.report(at, "a project has one name in all datacenters; write it for the project")
			}
		}
		own, _ := f.Projects.own(e)
		checkName(d, e.path(), e.kind+e.name) // policies and registries are called so in any case
		if own == "" {
			continue
		}
		at := e.path() + ".project"
		if other, ok := taken[own]; ok {
			d.report(at, "%s is %s in line %d; a project is one thing", own, other.path(), d.lines[other.path()+".project"])
			continue
		}
		taken[own] = e
		if checkName(d, at, own) {
			f.checkOwnName(d, at, own, e)
		}
	}
}

// checkName reports a name that Harbor would refuse.
func checkName(d *decoder, path, project string) (ok bool) {
	if ok = naming.ValidProject(project); !ok {
		d.report(path, "Harbor takes no project named %q: lower-case letters and digits, single . _ - among them", project)
	}
	return ok
}

// checkOwnName reports a name without a prefix by which something else is meant: a project that
// is known by its prefix, or a registry that nodes pull from through a cache.
func (f *Fleet) checkOwnName(d *decoder, at, own string, e entry) {
	kind := naming.KindOf(own)
	if e := (entry{kind, strings.TrimPrefix(own, kind)}); kind != "" {
		d.report(at, "names that begin with %s say by that what they are; write %s, without project", kind, e.path())
		return
	}
	if own == born {
		d.report(at, "every Harbor has its own %s, which everybody may read, and mirrors of Docker Hub mean its images by that; move them to another project", born)
		return
	}
	if own == f.Domain {
		d.report(at, "%s is the fleet's own name; a project needs another", own)
		return
	}
	for _, name := range sorted(f.Projects.Cache.Items) {
		if c := f.Projects.Cache.Items[name]; own == c.Host() && e != (entry{naming.Cache, name}) {
			d.report(at, "by %s nodes mean the registry that projects.cache.%s is of; a project needs another name", own, name)
			return
		}
	}
}
