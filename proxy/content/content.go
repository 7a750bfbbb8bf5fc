// Package content is what an edge knows of the repos of its fleet: which tags there are, what
// they are in each datacenter, and how late that is. No Harbor and no upstream is asked for it,
// only the other edges, for what they know.
package content

import (
	"cmp"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/proxy/state"
	"example.org/breakwater/proxy/tags"
	"example.org/breakwater/proxy/version"
	"example.org/breakwater/registry"
)

const (
	usual    = 50 // rows of a page
	most     = 200
	maxMatch = 128
)

// Query is what is asked for: repos, or the tags of one.
type Query struct {
	Repo    string // ""; repos
	Project string // of repos: "" all
	Match   string // a part of the repo's or the tag's name
	After   string // the last row of the page before
	Limit   int
}

// Parse reads a query: repo, project, match, after, limit. The error is a sentence.
func Parse(q url.Values) (Query, error) {
	asked := Query{q.Get("repo"), q.Get("project"), q.Get("match"), q.Get("after"), usual}
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > most {
			return asked, fmt.Errorf("limit: %.20q is no number from 1 to %d", text, most)
		}
		asked.Limit = n
	}
	switch {
	case asked.Repo != "" && !registry.ValidRepo(asked.Repo):
		return asked, fmt.Errorf("repo: %.80q is no repository", asked.Repo)
	case asked.Project != "" && (!registry.ValidRepo(asked.Project) || strings.Contains(asked.Project, "/")):
		return asked, fmt.Errorf("project: %.80q is no project", asked.Project)
	case len(asked.Match) > maxMatch:
		return asked, fmt.Errorf("match: %d bytes are the most", maxMatch)
	case asked.After != "" && !registry.ValidRepo(asked.After) && !registry.ValidTag(asked.After):
		return asked, fmt.Errorf("after: %.80q is no row of a page", asked.After)
	}
	return asked, nil
}

// values is the inverse of Parse.
func (q Query) values() url.Values {
	return url.Values{"repo": {q.Repo}, "project": {q.Project}, "match": {q.Match}, "after": {q.After}, "limit": {strconv.Itoa(q.Limit)}}
}

// Local is what one edge knows.
type Local struct {
	Datacenter string `json:"datacenter"`
	Repos      []Repo `json:"repos,omitempty"`
	Tags       []Tag  `json:"tags,omitempty"`
	Until      string `json:"until,omitempty"` // the name up to which these are all, where there may be more; "": there are none
}

// Repo is a repository, and how many of its tags are known.
type Repo struct {
	Repo string `json:"repo"`
	Tags int    `json:"tags"`
}

// Tag is what an edge knows of a tag.
type Tag struct {
	Tag     string        `json:"tag"`
	Digest  digest.Digest `json:"digest,omitempty"` // what its clients get; "": it was deleted
	Held    bool          `json:"held"`             // the manifest is in the store
	Source  string        `json:"source,omitempty"` // who said so
	Seen    *time.Time    `json:"seen,omitempty"`   // when; absent: before the edge was started
	Version *Version      `json:"version,omitempty"`
	Owed    float64       `json:"owed_seconds,omitempty"` // that the local Harbor is yet to be given it
}

// Version is the newest push or delete that an edge knows of.
type Version struct {
	Order      version.Version `json:"order"`
	At         time.Time       `json:"at"`         // by the clock of the edge that acknowledged it
	Datacenter string          `json:"datacenter"` // that edge's
	Late       float64         `json:"late_seconds"`
}

// Config is what a Content is of.
type Config struct {
	Datacenter string
	Namespaces *namespace.Table
	State      *state.DB
	Tags       *tags.Cache
	Versions   *version.Ledger
	Holds      func(digest.Digest) bool
	Owed       func(repo string) map[string]time.Duration // tags that the local Harbor is yet to be given
	Peers      func() []*source.Source
	Deadline   time.Duration // for the answer of a peer
}

// Content answers for one edge. Safe for concurrent use.
type Content struct{ Config }

// Local is what this edge knows. The error says that its disk does not.
func (c *Content) Local(q Query) (Local, error) {
	if q.Repo != "" {
		return c.tags(q)
	}
	prefix := ""
	if q.Project != "" {
		prefix = q.Project + "/"
	}
	local := Local{Datacenter: c.Datacenter}
	repos, until, ok := c.State.Repos(prefix, q.After, func(repo string) bool { return strings.Contains(repo, q.Match) && c.managed(repo) }, q.Limit+1)
	if !ok {
		return local, errDisk
	}
	if local.Until = until; len(repos) > q.Limit {
		repos = repos[:q.Limit]
		local.Until = repos[q.Limit-1]
	}
	for _, repo := range repos {
		known, err := c.names(repo)
		if err != nil {
			return local, err
		}
		local.Repos = append(local.Repos, Repo{repo, len(known)})
	}
	return local, nil
}

// managed reports whether the edge has anything to do with what a repo holds.
func (c *Content) managed(repo string) bool { return c.Namespaces.OfRepo(repo).Kind != namespace.Plain }

// names are the tags of a repo that are known, in order.
func (c *Content) names(repo string) ([]string, error) {
	names, ok := c.State.TagsOf(repo)
	if !ok {
		return nil, errDisk
	}
	for tag := range c.Versions.Tags(repo) {
		names = append(names, tag)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// tags is what is known of the tags of a repo.
func (c *Content) tags(q Query) (Local, error) {
	local := Local{Datacenter: c.Datacenter}
	names, err := c.names(q.Repo)
	if err != nil || !c.managed(q.Repo) {
		return local, err
	}
	names = slices.DeleteFunc(names, func(tag string) bool { return tag <= q.After || !strings.Contains(tag, q.Match) })
	owed := c.Owed(q.Repo)
	for _, name := range names {
		if len(local.Tags) == q.Limit {
			local.Until = local.Tags[q.Limit-1].Tag
			break
		}
		if tag, known := c.tag(q.Repo, name); known {
			tag.Owed = math.Ceil(owed[name].Seconds())
			local.Tags = append(local.Tags, tag)
		}
	}
	return local, nil
}

// tag is what is known of one; known is false where that is nothing any more.
func (c *Content) tag(repo, name string) (t Tag, known bool) {
	t.Tag = name
	e, known, _ := c.Tags.Get(tags.Key{Repo: repo, Reference: name}, 0)
	if known {
		t.Digest, t.Source = e.Digest, e.Source
		if seen := latest(e.Checked, e.Pushed); !seen.IsZero() {
			seen = seen.UTC()
			t.Seen = &seen
		}
	}
	if r := c.Versions.Get(version.Key{Repo: repo, Reference: name}); r.Known() {
		known = true
		t.Version = &Version{r.Version, r.Version.At().UTC(), r.Version.Datacenter, max(0, r.At().Sub(r.Version.At()).Seconds())}
		if c.Versions.Deleted(repo, r) {
			t.Digest = ""
		} else if t.Digest != r.Digest {
			t.Digest, t.Source, t.Seen = r.Digest, "version-"+r.Version.Datacenter, nil
		}
	}
	t.Held = t.Digest != "" && c.Holds(t.Digest)
	return t, known
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// page is the first rows by name, and the name after which the next page begins, "" for none.
// What each edge has said is all up to a name: what comes after the first of these names another
// edge may have too.
func page[T any](rows []T, limit int, all []Local, name func(T) string) (_ []T, next string) {
	for _, local := range all {
		if local.Until != "" && (next == "" || local.Until < next) {
			next = local.Until
		}
	}
	slices.SortFunc(rows, func(a, b T) int { return cmp.Compare(name(a), name(b)) })
	rows = slices.DeleteFunc(rows, func(row T) bool { return next != "" && name(row) > next })
	if len(rows) > limit {
		rows = rows[:limit]
		next = name(rows[limit-1])
	}
	return rows, next
}
