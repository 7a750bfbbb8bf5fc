package access

import (
	"context"

	"github.com/opencontainers/go-digest"
)

// Members remembers across restarts which repo holds which digest, and the id that the
// repo's project had then.
type Members interface {
	// Join remembers that the repo holds the digest.
	Join(repo string, d digest.Digest, project int64)
	// Member returns the project's id of a membership. ok is false where there is none.
	Member(repo string, d digest.Digest) (project int64, ok bool)
	// Leave forgets everything that the repo holds.
	Leave(repo string)
}

// Join records that a repo holds a digest. The caller must have proof: a source answered
// 200 for the digest in that repo, or Harbor accepted its push there. A manifest that
// names the digest is no proof, because any client can write one.
func (c *Checker) Join(repo string, d digest.Digest) {
	if c.Project(repo) == 0 { // Harbor permits a push, so the project may be unknown here, or was while Harbor was down
		c.Look(context.Background(), repo)
	}
	c.join(repo, d)
	c.join(ProjectOf(repo), d)
}

// join records the membership of a repo, or of a whole project.
func (c *Checker) join(name string, d digest.Digest) {
	key, project := memberKey{name, d}, c.Project(name)
	before, known := c.member.Get(key)
	c.member.Add(key, project)
	if (!known || before != project) && c.cfg.Members != nil {
		c.cfg.Members.Join(name, d, project)
	}
}

// ProjectHolds reports whether a repo of the project holds the digest, or did before. A
// client that may read one repo of a project may read all of them.
func (c *Checker) ProjectHolds(project string, d digest.Digest) bool { return c.Member(project, d) }

// Member reports whether the repo is known to hold the digest. A membership of another
// repo does not count, and neither does one of an earlier project with the same name, or
// one that was recorded while the project's id was not known: it has to be proven again.
func (c *Checker) Member(repo string, d digest.Digest) bool {
	key := memberKey{repo, d}
	project, ok := c.member.Get(key)
	if !ok && c.cfg.Members != nil {
		if project, ok = c.cfg.Members.Member(repo, d); ok {
			c.member.Add(key, project)
		}
	}
	return ok && project != 0 && project == c.Project(repo)
}

// Leave forgets what the repo holds. The edge calls it after a delete. What the repo still
// holds is proven again when a client asks for it.
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
