package explain

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"example.org/breakwater/internal/naming"
	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/registry"
)

// Reference is what an operator means by a text.
type Reference struct {
	registry.Request
	Namespace namespace.Namespace
	Notes     []string // what it was taken for, and what may be wrong with it
	Nowhere   string   // it is of a registry that the edge has no cache of: this one
}

// Reader reads references as those who pull write them.
type Reader struct {
	Table *namespace.Table
}

// Read reads repo:tag, repo@digest or repo. Before it may stand a name of the edge, or the
// registry that a cache is of, as nodes write it that have the edge for a mirror. A tag is
// "latest" where there is none.
func (r Reader) Read(text string) (Reference, error) {
	ref := Reference{Request: registry.Request{Method: http.MethodGet, Kind: registry.KindManifest}}
	for _, scheme := range []string{"https://", "http://", "oci://", "docker://"} {
		text = strings.TrimPrefix(text, scheme)
	}
	host, rest := r.cutHost(text)
	if err := ref.parse(rest); err != nil {
		return ref, err
	}
	switch cache, ok := r.Table.CacheOf(host); {
	case host == "":
	case ok && (ref.Project() == cache.Project || !r.Table.Reserved(ref.Project())):
		ref.Namespace = cache
		ref.Repo = cache.FullRepo(cache.Project + "/" + strings.TrimPrefix(ref.Repo, cache.Project+"/"))
		ref.Notes = append(ref.Notes, fmt.Sprintf("%s is what %s is a cache of: nodes that have the edge for a mirror get it as %s", host, cache.Project, ref.Repo))
		return ref, nil
	case !r.own(host, ref.Project()):
		ref.Nowhere = host
		ref.Notes = append(ref.Notes, fmt.Sprintf("there is no cache of %s in the fleet file; %s", host, r.caches()))
	}
	ref.Namespace = r.Table.Of(ref.Project())
	ref.Repo = ref.Namespace.FullRepo(ref.Repo)
	if note := r.undeclared(ref); note != "" {
		ref.Notes = append(ref.Notes, note)
	}
	if !strings.Contains(ref.Repo, "/") {
		ref.Notes = append(ref.Notes, ref.Repo+" is a project, and no image in it; want "+ref.Repo+"/image")
	}
	return ref, nil
}

// cutHost cuts the registry's host off. A project may look like one: cache-quay.io.
func (r Reader) cutHost(text string) (host, rest string) {
	host, rest, ok := strings.Cut(text, "/")
	if !ok || !strings.ContainsAny(host, ".:") && host != "localhost" || r.Table.Of(host).Kind != namespace.Plain {
		return "", text
	}
	return strings.ToLower(host), rest
}

// own reports whether a host is the edge's: one of the fleet's names, an address, or whatever
// stands before a project that the fleet file has.
func (r Reader) own(host, project string) bool {
	name := registry.Host((&url.URL{Host: host}).Hostname())
	return r.Table.Own(host) || net.ParseIP(name) != nil || name == "localhost" || r.Table.Of(project).Kind != namespace.Plain
}

func (ref *Reference) parse(text string) error {
	if repo, d, ok := strings.Cut(text, "@"); ok {
		parsed, err := registry.ParseDigest(d)
		if err != nil {
			return err
		}
		ref.Digest, text = parsed, repo
	}
	if at := strings.LastIndexByte(text, ':'); at > strings.LastIndexByte(text, '/') {
		ref.Tag, text = text[at+1:], text[:at]
	}
	switch {
	case ref.Digest != "":
		ref.Tag = ""
	case ref.Tag == "":
		ref.Tag = "latest"
	}
	ref.Repo = text
	if !registry.ValidRepo(ref.Repo) || ref.Tag != "" && !registry.ValidTag(ref.Tag) {
		return fmt.Errorf("%q is no reference; want repo:tag or repo@sha256:…", text)
	}
	return nil
}

// undeclared says that the fleet file does not have the project, and what it has.
func (r Reader) undeclared(ref Reference) string {
	project, known := ref.Project(), r.Table.Projects()
	if ref.Nowhere != "" || slices.Contains(known, project) {
		return ""
	}
	nearest, kind := naming.Nearest(project, known), ref.Namespace.Kind
	if kind == namespace.Plain && nearest == "" {
		return "" // one of Harbor's own, which the fleet file need not have
	}
	note := project + " is not in the fleet file"
	if nearest != "" {
		note += "; do you mean " + nearest + "?"
	}
	switch kind {
	case namespace.Plain:
		return note
	case namespace.Cache:
		return note + " (" + r.caches() + "; one that provision has found at Artifactory is not in it either)"
	}
	return note + " (of this kind it has " + list(r.of(kind)) + ")"
}

// of are the projects of a kind.
func (r Reader) of(kind namespace.Kind) (projects []string) {
	for _, project := range r.Table.Projects() {
		if r.Table.Of(project).Kind == kind {
			projects = append(projects, project)
		}
	}
	return projects
}

// caches says what the caches are of.
func (r Reader) caches() string {
	var all []string
	for _, project := range r.of(namespace.Cache) {
		if ns := r.Table.Of(project); ns.Host != "" {
			project += " of " + ns.Host
		}
		all = append(all, project)
	}
	return "its caches are " + list(all)
}

// most is how many projects are listed.
const most = 20

func list(names []string) string {
	switch {
	case len(names) == 0:
		return "none"
	case len(names) > most:
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}
