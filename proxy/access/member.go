package access

import "github.com/opencontainers/go-digest"

// Join records that a repo holds a digest: a source answered 200 for it there,
// or Harbor accepted its push there. A mention in a manifest is no such proof:
// anyone can write a manifest that names a digest.
func (c *Checker) Join(repo string, d digest.Digest) {
	c.member.Add(memberKey{repo, d}, struct{}{})
}

// Member reports whether the repo is known to hold the digest. A digest that
// is known from another repo is no key to its content.
func (c *Checker) Member(repo string, d digest.Digest) bool {
	_, ok := c.member.Get(memberKey{repo, d})
	return ok
}

// Leave forgets what the repo holds, as after a delete there: what it still
// holds is proven again when it is asked for.
func (c *Checker) Leave(repo string) {
	for _, key := range c.member.Keys() {
		if key.repo == repo {
			c.member.Remove(key)
		}
	}
}
