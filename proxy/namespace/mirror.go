package namespace

import (
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"example.org/breakwater/registry"
)

// hub are the names that Docker Hub has beside the one in images.
var hub = []string{"index.docker.io", "registry-1.docker.io", "registry.docker.io", "www.docker.io", "docker.com", "hub.docker.com", "registry.hub.docker.com"}

// Registry is a registry's name in the one spelling by which two are compared: its host as
// registry.Host has it, with no port that is a scheme's own, and docker.io for Docker Hub.
func Registry(name string) string {
	host, port, err := net.SplitHostPort(name)
	if err != nil {
		host, port = name, ""
	}
	host = registry.Host(host)
	switch {
	case port != "" && port != "443" && port != "80":
		return net.JoinHostPort(host, port)
	case slices.Contains(hub, host):
		return "docker.io"
	}
	return host
}

// hostOf is a registry's host as registry.Host has it, without its port.
func hostOf(name string) string {
	if host, _, err := net.SplitHostPort(name); err == nil {
		name = host
	}
	return registry.Host(name)
}

// Meant is what the URL of a client means that may be a mirror's.
type Meant struct {
	URL    *url.URL // it names the project
	Mirror bool     // the client named the registry, and the project is its cache
	// Otherwise is what the URL means where the cache has nothing: the path may name a plain
	// project, as in the address of a mirror that ends in one. nil: nothing else.
	Otherwise *url.URL
}

// Mean tells what the URL of a request means. A mirror's client says for which registry it asks:
// ?ns=docker.io on any path below /v2/ (containerd, moby), or /<name>/v2/… (docker, whose
// mirrors may have a path). The table of names is closed: another name is never an address
// to dial. ns says nothing where it is empty or the fleet's own name, and where the path
// names a project by its prefix, or the cache itself: a mirror's address may end in one
// (https://harbor.example.org/v2/<project>). Other names may be those of publishers, too.
// A write goes to the project in its path, because a cache takes none. The host that the client
// reached the edge by is the fleet's own name, too.
func (t *Table) Mean(r *http.Request) (m Meant, err error) {
	u := r.URL
	first, rest, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	if first == "v2" && u.RawQuery == "" { // most requests
		return Meant{URL: u}, nil
	}
	query := u.Query()
	name, named := query.Get("ns"), query.Has("ns")
	plain := *u // without what says only for which registry
	if query.Del("ns"); named {
		plain.RawQuery = query.Encode()
	}
	switch {
	case first != "v2" && (rest == "v2" || strings.HasPrefix(rest, "v2/")):
		cache, ok := t.CacheOf(first)
		if !ok && !t.Own(first) { // somebody else's path
			return Meant{URL: u}, nil
		}
		plain.Path, plain.RawPath = strings.TrimPrefix(u.Path, "/"+first), strings.TrimPrefix(u.RawPath, "/"+first)
		if !ok {
			return Meant{URL: &plain}, nil
		}
		return Meant{URL: below(plain, cache.Project), Mirror: true}, nil
	case first != "v2" || !named:
		return Meant{URL: u}, nil
	}
	repo, _, _ := registry.CutPath(rest)
	project, _, inProject := strings.Cut(repo, "/") // one component is no project and an image in it
	cache, ok := t.CacheOf(name)
	writes := inProject && r.Method != http.MethodGet && r.Method != http.MethodHead
	switch {
	case name == "" || !ok && (t.Own(name) || Registry(name) == Registry(r.Host)) || t.Reserved(project) || ok && project == cache.Project || writes:
		return Meant{URL: &plain}, nil
	case ok && inProject:
		return Meant{URL: below(plain, cache.Project), Mirror: true, Otherwise: &plain}, nil
	case ok:
		return Meant{URL: below(plain, cache.Project), Mirror: true}, nil
	case inProject:
		return Meant{URL: &plain}, nil
	}
	return Meant{URL: u}, registry.Errorf(registry.CodeNameUnknown, "there is no cache of this registry here")
}

// below puts the project into a URL of the registry API. A path that has it already stays.
func below(u url.URL, project string) *url.URL {
	repo := strings.TrimPrefix(strings.TrimPrefix(u.Path, "/v2"), "/")
	if repo == "" || repo == "_catalog" || strings.HasPrefix(repo, project+"/") {
		return &u
	}
	for _, path := range []*string{&u.Path, &u.RawPath} {
		if rest, ok := strings.CutPrefix(*path, "/v2/"); ok {
			*path = "/v2/" + project + "/" + rest
		}
	}
	return &u
}
