// Package namespace says what a Harbor project is to the edge: its kind, the
// rules that its repos follow, and the names that its images have elsewhere. It
// is pure: it asks nobody and keeps nothing.
package namespace

import (
	"math"
	"slices"
	"strings"
	"time"

	"example.org/breakwater/internal/naming"
)

// Kind says how the repos of a project are read and written (proxy/README.md,
// "Namespaces").
type Kind int

// The kinds of namespaces. All but Plain are managed. A project's name says its kind by a prefix,
// or the fleet file says it of a name without.
const (
	Plain   Kind = iota // any other Harbor project: the local Harbor's alone
	Cache               // cache-*: a proxy cache of an upstream
	Repl                // repl-*: public images replicated by pattern
	MultiDC             // multi-dc-*: private, replicated between all datacenters
)

// String returns the kind's name in logs and metrics.
func (k Kind) String() string {
	return [...]string{"plain", "cache", "repl", "multi-dc"}[k]
}

// Namespace is a Harbor project and the rules that its repos follow.
type Namespace struct {
	Project   string // the project's name, as cache-dockerhub
	Kind      Kind
	DockerHub bool   // a cache of Docker Hub: its official images live in library/
	Host      string // the registry that a cache is of, as clients name it: docker.io, quay.io
	Rules     []Rule // of a repl- project

	Homes []string // of a multi-dc- project: the datacenters whose Harbors are to hold it; none: all are
	Away  bool     // the local datacenter is not among them

	Keep   time.Duration // of a cache: how long what its upstream has deleted outlives that; 0: not at all
	Freeze []Frozen      // of a cache: tags that stay as they were first seen
}

// HeldAt returns the namespace with its homes, as the edge of the datacenter here has it.
func (n Namespace) HeldAt(homes []string, here string) Namespace {
	n.Homes = homes
	n.Away = !n.At(here)
	return n
}

// At reports whether the Harbor of a datacenter is to hold what is pushed elsewhere.
func (n Namespace) At(datacenter string) bool {
	return len(n.Homes) == 0 || slices.Contains(n.Homes, datacenter)
}

// Forever is a Keep without end.
const Forever time.Duration = math.MaxInt64

// Frozen are tags that stay as they were first seen, by globs.
type Frozen struct{ Image, Tag string }

// Freezes reports whether a tag of a repo stays as it was first seen.
func (n Namespace) Freezes(repo, tag string) bool {
	image, short := n.Image(repo), n.Image(n.ShortRepo(repo))
	return slices.ContainsFunc(n.Freeze, func(f Frozen) bool {
		return naming.Match(f.Tag, tag) && (naming.Match(f.Image, image) || naming.Match(f.Image, short))
	})
}

// Rule is one line of a repl- project: which tags of which image Harbor holds,
// and where they come from (Harbor's replication policy with a name and a tag filter).
type Rule struct {
	From    string         // the project of the cache whose upstream it comes from, as cache-dockerhub
	Name    string         // a glob of the image's name there
	Tags    string         // a glob; "" is every tag
	Flatten naming.Flatten // how the name becomes the repo's
}

// Origin is where an image of a repl- project may have been replicated from.
type Origin struct {
	Cache string // the project of the cache of the upstream, as cache-dockerhub
	Image string // the image's name at the upstream
}

// Image returns the name of a repo below its project.
func (n Namespace) Image(repo string) string { return strings.TrimPrefix(repo, n.Project+"/") }

// FullRepo gives an official image of Docker Hub its full name:
// cache-dockerhub/nginx is cache-dockerhub/library/nginx. Other names stay.
func (n Namespace) FullRepo(repo string) string {
	name, ok := strings.CutPrefix(repo, n.Project+"/")
	if !n.DockerHub || !ok || strings.Contains(name, "/") {
		return repo
	}
	return n.Project + "/library/" + name
}

// ShortRepo is the inverse of FullRepo. It returns repo itself where there is no
// shorter name.
func (n Namespace) ShortRepo(repo string) string {
	name, ok := strings.CutPrefix(repo, n.Project+"/library/")
	if !n.DockerHub || !ok || strings.Contains(name, "/") {
		return repo
	}
	return n.Project + "/" + name
}

// Origins returns where a repo of a repl- project may have come from: each rule
// that matches the tag is followed back through its flattening. tag is "" for a
// digest, which any rule may have brought.
func (n Namespace) Origins(repo, tag string) (all []Origin) {
	for _, rule := range n.Rules {
		if tag != "" && rule.Tags != "" && !naming.Match(rule.Tags, tag) {
			continue
		}
		for _, image := range rule.Flatten.Sources(rule.Name, n.Image(repo)) {
			all = append(all, Origin{rule.From, image})
		}
	}
	return all
}
