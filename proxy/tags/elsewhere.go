package tags

import "time"

// elsewhereFor is how long it is remembered that no other datacenter has a tag, at most: what
// comes there past all edges is announced by nobody.
const elsewhereFor = 5 * time.Minute

// Nowhere reports whether no other datacenter had a tag when all were asked, a short while ago.
// A write to its repo ends that, through this edge or announced by another.
func (c *Cache) Nowhere(key Key) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	no, ok := c.elsewhere.Get(key)
	return ok && c.stands(no, key.Repo)
}

// NotElsewhere remembers that all other datacenters have said that they do not have a tag. begun is
// when they began to be asked.
func (c *Cache) NotElsewhere(key Key, begun time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.elsewhere.Add(key, negative{begun: begun, until: begun.Add(elsewhereFor), project: c.Project(key.Repo)})
}

// Others forgets what other datacenters do not have: they are not the same any more.
func (c *Cache) Others() { c.elsewhere.Purge() }
