package proxy

import (
	"strings"

	"example.org/breakwater/registry"
)

// Kind says how a namespace is read and written (README.md, "Namespaces").
type Kind int

// The kinds of namespaces; all but KindPlain are managed.
const (
	KindPlain   Kind = iota // any other Harbor project: the local Harbor's alone
	KindCache               // cache-*: a proxy cache of an upstream
	KindRepl                // repl-*: public images replicated by pattern
	KindMultiDC             // multi-dc-*: private, replicated between all datacenters
)

// String is the kind in logs and metrics.
func (k Kind) String() string {
	return [...]string{"plain", "cache", "repl", "multi-dc"}[k]
}

// Namespace is a Harbor project and the rules that its repos follow.
type Namespace struct {
	Project   string // the project's name, as cache-dockerhub
	Kind      Kind
	DockerHub bool             // a cache of Docker Hub: its official images live in library/
	Host      string           // the registry that a cache is of, as clients name it: docker.io, quay.io
	Upstream  *registry.Source // what a cache is of, for when Harbor cannot fetch it; nil: Harbor alone can
	Rules     []Rule           // of a repl- project
}

// prefixes tell the kind of projects that the fleet file does not name, as
// caches that were discovered.
var prefixes = []struct {
	prefix string
	kind   Kind
}{{"multi-dc-", KindMultiDC}, {"cache-", KindCache}, {"repl-", KindRepl}}

// resolve returns the namespace of a project: the declared one, else by its
// prefix, else plain.
func resolve(declared map[string]Namespace, project string) Namespace {
	if ns, ok := declared[project]; ok {
		return ns
	}
	for _, p := range prefixes {
		if strings.HasPrefix(project, p.prefix) && len(project) > len(p.prefix) {
			return Namespace{Project: project, Kind: p.kind}
		}
	}
	return Namespace{Project: project}
}

// fullRepo gives an official image of Docker Hub its full name:
// cache-dockerhub/nginx is cache-dockerhub/library/nginx.
func (n Namespace) fullRepo(repo string) string {
	name, ok := strings.CutPrefix(repo, n.Project+"/")
	if !n.DockerHub || !ok || strings.Contains(name, "/") {
		return repo
	}
	return n.Project + "/library/" + name
}

// shortRepo is the inverse of fullRepo; repo itself where there is no shorter name.
func (n Namespace) shortRepo(repo string) string {
	name, ok := strings.CutPrefix(repo, n.Project+"/library/")
	if !n.DockerHub || !ok || strings.Contains(name, "/") {
		return repo
	}
	return n.Project + "/" + name
}
