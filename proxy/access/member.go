package access

import "github.com/opencontainers/go-digest"

// Members remembers across restarts which repo holds which content.
type Members interface {
	Join(repo string, d digest.Digest)
	Member(repo string, d digest.Digest) bool
	Leave(repo string)
}

// Join records that a repo holds a digest: a source answered 200 for it there,
// or Harbor accepted its push there. A mention in a manifest is no such proof:
// anyone can write a manifest that names a digest.
func (c *Checker) Join(repo string, d digest.Digest) {
	key := memberKey{repo, d}
	known := c.member.Contains(key)
	c.member.Add(key, struct{}{})
	if !known && c.cfg.Members != nil {
		c.cfg.Members.Join(repo, d)
	}
}

// Member reports whether the repo is known to hold the digest. A digest that
// is known from another repo is no key to its content.
func (c *Checker) Member(repo string, d digest.Digest) bool {
	key := memberKey{repo, d}
	if _, ok := c.member.Get(key); ok {
		return true
	}
	if c.cfg.Members == nil || !c.cfg.Members.Member(repo, d) {
		return false
	}
	c.member.Add(key, struct{}{})
	return true
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
