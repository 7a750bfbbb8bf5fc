package access

import (
	"context"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Members remembers across restarts which repo holds which content, and the
// project's id when it was seen to (0: not known).
type Members interface {
	Join(repo string, d digest.Digest, project int64)
	Member(repo string, d digest.Digest) (project int64, ok bool)
	Leave(repo string)
}

// Join records that a repo holds a digest: a source answered 200 for it there,
// or Harbor accepted its push there. A mention in a manifest is no such proof:
// anyone can write a manifest that names a digest.
func (c *Checker) Join(repo string, d digest.Digest) {
	project, _, _ := strings.Cut(repo, "/")
	if !c.projects.seen.Contains(project) { // a push is Harbor's to permit, and may be the first to name it
		c.projects.get(context.Background(), project)
	}
	c.join(repo, d)
	c.join(project, d)
}

func (c *Checker) join(name string, d digest.Digest) {
	key, project := memberKey{name, d}, c.projectOf(name)
	before, known := c.member.Get(key)
	c.member.Add(key, project)
	if (!known || before != project) && c.cfg.Members != nil {
		c.cfg.Members.Join(name, d, project)
	}
}

// ProjectHolds reports whether some repo of the project holds the digest, or did:
// who may read one repo of a project may read all.
func (c *Checker) ProjectHolds(project string, d digest.Digest) bool { return c.Member(project, d) }

// Member reports whether the repo is known to hold the digest. A digest that
// is known from another repo is no key to its content, nor one from another
// project of the same name. What was joined while the project's id was not to be had
// is proven again once it is.
func (c *Checker) Member(repo string, d digest.Digest) bool {
	key := memberKey{repo, d}
	project, ok := c.member.Get(key)
	if !ok && c.cfg.Members != nil {
		if project, ok = c.cfg.Members.Member(repo, d); ok {
			c.member.Add(key, project)
		}
	}
	now := c.projectOf(repo)
	return ok && (project == now || now == 0)
}

// projectOf is the id of the repo's project, as far as it is known.
func (c *Checker) projectOf(repo string) int64 {
	name, _, _ := strings.Cut(repo, "/")
	seen, _ := c.projects.seen.Get(name)
	return seen.id
}

// Leave forgets what the repo holds, as after a delete there: what it still
// holds is proven again when it is asked for.
func (c *Checker) Leave(repo string) {
	for _, key := range c.member.Keys() {
		if key.repo == repo {
			c.member.Remove(key)
		}
	}
	if c.cfg.Members != nil {
		c.cfg.Members.Leave(repo)
	}
}
