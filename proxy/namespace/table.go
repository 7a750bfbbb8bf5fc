package namespace

import (
	"slices"
	"strings"
	"sync/atomic"

	"example.org/breakwater/internal/naming"
)

// Table tells which namespace a project is, and which cache a mirror's client
// means. What is declared may be replaced as a whole. Safe for concurrent use.
type Table struct {
	entries atomic.Pointer[entries]
}

type entries struct {
	declared map[string]Namespace // by project
	mirrors  map[string]string    // the project of a cache, by the names that mirrors' clients have for it, as Registry spells them
	own      map[string]bool      // the fleet's own names, as hostOf spells them
}

// NewTable makes the table of the declared namespaces, and of the hosts by which clients
// know the fleet. Of several caches of one registry mirrors' clients mean the first.
func NewTable(declared []Namespace, own ...string) *Table {
	t := &Table{}
	t.Use(declared, own...)
	return t
}

// Use replaces what is declared.
func (t *Table) Use(declared []Namespace, own ...string) {
	e := &entries{map[string]Namespace{}, map[string]string{}, map[string]bool{}}
	for _, name := range own {
		e.own[hostOf(name)] = true
	}
	for _, ns := range declared {
		e.declared[ns.Project] = ns
		if ns.Kind != Cache {
			continue
		}
		e.mirrors[ns.Project] = ns.Project
		host := Registry(ns.Host)
		if _, taken := e.mirrors[host]; !taken && host != "" {
			e.mirrors[host] = ns.Project
		}
	}
	t.entries.Store(e)
}

// prefixed is the kind that a project's name says: of one that the fleet file does not name, as
// a cache that was discovered.
func prefixed(project string) Kind {
	switch naming.KindOf(project) {
	case naming.MultiDC:
		return MultiDC
	case naming.Cache:
		return Cache
	case naming.Repl:
		return Repl
	}
	return Plain
}

// Kinds are the kinds of the declared projects whose names do not say it, as String has them.
func (t *Table) Kinds() map[string]string {
	all := map[string]string{}
	for project, ns := range t.entries.Load().declared {
		if prefixed(project) == Plain {
			all[project] = ns.Kind.String()
		}
	}
	return all
}

// Reserved reports whether a name can mean nothing but a project: by its prefix. One without may
// be a publisher's at another registry too, also where there is such a project.
func (t *Table) Reserved(project string) bool { return prefixed(project) != Plain }

// Projects returns the declared projects, of the kinds or, where there are none, of all.
func (t *Table) Projects(kinds ...Kind) (all []string) {
	for project, ns := range t.entries.Load().declared {
		if len(kinds) == 0 || slices.Contains(kinds, ns.Kind) {
			all = append(all, project)
		}
	}
	slices.Sort(all)
	return all
}

// CacheOf returns the cache that mirrors' clients of a registry get.
func (t *Table) CacheOf(host string) (Namespace, bool) {
	e := t.entries.Load()
	project, ok := e.mirrors[Registry(host)]
	return e.declared[project], ok
}

// Of returns the namespace of a project: the declared one, else the one that the
// project's prefix says, else a plain one.
func (t *Table) Of(project string) Namespace {
	if ns, ok := t.entries.Load().declared[project]; ok {
		return ns
	}
	return Namespace{Project: project, Kind: prefixed(project)}
}

// OfRepo returns the namespace of a repo's project.
func (t *Table) OfRepo(repo string) Namespace {
	project, _, _ := strings.Cut(repo, "/")
	return t.Of(project)
}

// Own reports whether a host, with a port or without, is one by which clients know the fleet.
func (t *Table) Own(host string) bool { return t.entries.Load().own[hostOf(host)] }
