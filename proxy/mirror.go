package proxy

import (
	"net/http"
	"strings"

	"example.org/breakwater/registry"
)

// mirrored returns the request as one for a cache's project, if it is one of a
// mirror's client: ?ns=docker.io on any path below /v2/ (containerd, moby), or
// /<namespace>/v2/… (docker, whose mirrors may have a path). The table of names is
// closed: another ns is 404, and never an address to dial.
func (h *Handler) mirrored(r *http.Request) (_ *http.Request, is bool, err error) {
	first, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	query := r.URL.Query()
	name := query.Get("ns")
	switch {
	case first == "v2" && query.Has("ns"):
	case first != "v2" && (rest == "v2" || strings.HasPrefix(rest, "v2/")):
		name = first
	default:
		return r, false, nil
	}
	project, ok := h.mirrors[name]
	if !ok && first == "v2" {
		return r, true, registry.Errorf(registry.CodeNameUnknown, "there is no cache of this registry here")
	}
	if !ok { // somebody else's path
		return r, false, nil
	}
	query.Del("ns")
	u := *r.URL
	u.Path, u.RawPath = underProject(u.Path, first, project), underProject(u.RawPath, first, project)
	u.RawQuery = query.Encode()
	clone := *r
	clone.URL = &u
	return &clone, true, nil
}

// underProject puts the project into a path of the registry API. Where it is there
// already it stays: containerd adds ?ns= also when it was told the project's path.
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

// newMirrors is the closed table of names under which caches are mirrors: their
// projects' names, and the registries' that they are of.
func newMirrors(namespaces map[string]Namespace) map[string]string {
	table := map[string]string{}
	for project, ns := range namespaces {
		if ns.Kind != KindCache {
			continue
		}
		table[project] = project
		if ns.Host != "" {
			table[ns.Host] = project
		}
	}
	return table
}
