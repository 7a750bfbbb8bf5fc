package namespace

import (
	"net/url"
	"slices"
	"strings"
	"sync/atomic"

	"example.org/breakwater/internal/naming"
	"example.org/breakwater/registry"
)

// Table tells which namespace a project is, and which cache a mirror's client
// means. What is declared may be replaced as a whole. Safe for concurrent use.
type Table struct {
	entries atomic.Pointer[entries]
}

type entries struct {
	declared map[string]Namespace // by project
	mirrors  map[string]string    // the project of a cache, by the names that mirrors' clients have for it
}

// NewTable makes the table of the declared namespaces. Of several caches of one registry
// mirrors' clients mean the first.
func NewTable(declared []Namespace) *Table {
	t := &Table{}
	t.Use(declared)
	return t
}

// Use replaces what is declared.
func (t *Table) Use(declared []Namespace) {
	e := &entries{map[string]Namespace{}, map[string]string{}}
	for _, ns := range declared {
		e.declared[ns.Project] = ns
		if ns.Kind != Cache {
			continue
		}
		e.mirrors[ns.Project] = ns.Project
		if _, taken := e.mirrors[ns.Host]; !taken && ns.Host != "" {
			e.mirrors[ns.Host] = ns.Project
		}
	}
	t.entries.Store(e)
}

// prefixes tell the kind of a project that the fleet file does not name, as a
// cache that was discovered.
var prefixes = []struct {
	prefix string
	kind   Kind
}{{naming.MultiDC, MultiDC}, {naming.Cache, Cache}, {naming.Repl, Repl}}

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

// hub are the names that Docker Hub has beside the one in images.
var hub = []string{"index.docker.io", "registry-1.docker.io", "registry.hub.docker.com", "hub.docker.com"}

// CacheOf returns the cache that mirrors' clients of a registry get.
func (t *Table) CacheOf(host string) (Namespace, bool) {
	e := t.entries.Load()
	project, ok := e.mirrors[host]
	if !ok && slices.Contains(hub, host) {
		project, ok = e.mirrors["docker.io"]
	}
	return e.declared[project], ok
}

// Of returns the namespace of a project: the declared one, else the one that the
// project's prefix says, else a plain one.
func (t *Table) Of(project string) Namespace {
	if ns, ok := t.entries.Load().declared[project]; ok {
		return ns
	}
	for _, p := range prefixes {
		if strings.HasPrefix(project, p.prefix) && len(project) > len(p.prefix) {
			return Namespace{Project: project, Kind: p.kind}
		}
	}
	return Namespace{Project: project}
}

// Mirrored returns the URL of a mirror's client as one below the project of the
// cache that it means: ?ns=docker.io on any path below /v2/ (containerd, moby), or
// /<namespace>/v2/… (docker, whose mirrors may have a path). ok is false for a
// client that is no mirror's; its URL stays. The table of names is closed: another
// ns is NAME_UNKNOWN, and never an address to dial.
func (t *Table) Mirrored(u *url.URL) (_ *url.URL, ok bool, err error) {
	first, rest, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	query := u.Query()
	name := query.Get("ns")
	switch {
	case first == "v2" && query.Has("ns"):
	case first != "v2" && (rest == "v2" || strings.HasPrefix(rest, "v2/")):
		name = first
	default:
		return u, false, nil
	}
	project, ok := t.entries.Load().mirrors[name]
	if !ok && first == "v2" {
		return u, true, registry.Errorf(registry.CodeNameUnknown, "there is no cache of this registry here")
	}
	if !ok { // somebody else's path
		return u, false, nil
	}
	query.Del("ns")
	mirrored := *u
	mirrored.Path, mirrored.RawPath = underProject(u.Path, first, project), underProject(u.RawPath, first, project)
	mirrored.RawQuery = query.Encode()
	return &mirrored, true, nil
}

// underProject puts the project into a path of the registry API. A path that has
// it already stays: containerd adds ?ns= also when it was told the project's path.
func underProject(path, first, project string) string {
	if path == "" {
		return ""
	}
	if first != "v2" {
		path = strings.TrimPrefix(path, "/"+first)
	}
	repo := strings.TrimPrefix(strings.TrimPrefix(path, "/v2"), "/")
	if repo == "" || repo == "_catalog" || strings.HasPrefix(repo, project+"/") {
		return path
	}
	return "/v2/" + project + "/" + repo
}
