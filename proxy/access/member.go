package access

import (
	"context"
	"time"

	"github.com/opencontainers/go-digest"
)

// Members remembers across restarts which repo holds which digest, and the id that the
// repo's project had then.
type Members interface {
	// Join remembers that the repo holds the digest.
	Join(repo string, d digest.Digest, project int64)
	// Member returns the project's id of a membership, and when Join was told of it last. ok is
	// false where there is none.
	Member(repo string, d digest.Digest) (project int64, joined time.Time, ok bool)
	// Leave forgets everything that the repo holds.
	Leave(repo string)
}

// membership says of which project a repo was when it was seen to hold a digest, and when
// Members was told so last.
type membership struct {
	project int64
	joined  time.Time
}

// rejoinEvery is when Members is told again of a membership that is in use: what is in use is
// told from what is old by that.
const rejoinEvery = 24 * time.Hour

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
	key, m := memberKey{name, d}, membership{c.Project(name), c.cfg.Now()}
	if before, known := c.member.Get(key); known && before.project == m.project && m.joined.Sub(before.joined) < rejoinEvery {
		return
	}
	c.member.Add(key, m)
	if c.cfg.Members != nil {
		c.cfg.Members.Join(name, d, m.project)
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
	m, ok := c.member.Get(key)
	if !ok && c.cfg.Members != nil {
		if m.project, m.joined, ok = c.cfg.Members.Member(repo, d); ok {
			c.member.Add(key, m)
		}
	}
	holds := ok && m.project != 0 && m.project == c.Project(repo)
	if holds && c.cfg.Now().Sub(m.joined) >= rejoinEvery {
		c.join(repo, d)
	}
	return holds
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
