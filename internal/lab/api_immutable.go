package lab

import (
	"net/http"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// immutableRule keeps tags from being moved or deleted.
type immutableRule struct {
	ID        int                   `json:"id"`
	Disabled  bool                  `json:"disabled"`
	Action    string                `json:"action,omitempty"`
	Template  string                `json:"template,omitempty"`
	Priority  int                   `json:"priority,omitempty"`
	Params    map[string]any        `json:"params,omitempty"`
	Scopes    map[string][]selector `json:"scope_selectors"`
	Selectors []selector            `json:"tag_selectors"`
}

func (h *Harbor) immutableRoutes() []route {
	const path = "/projects/{project}/immutabletagrules"
	return []route{
		{method: "GET", path: path, check: h.inProject("immutable-tag", "list"), serve: h.listImmutable},
		{method: "POST", path: path, check: h.inProject("immutable-tag", "create"), serve: h.postImmutable},
		{method: "PUT", path: path + "/{id}", check: h.inProject("immutable-tag", "update"), serve: h.putImmutable},
		{method: "DELETE", path: path + "/{id}", check: h.inProject("immutable-tag", "delete"), serve: h.deleteImmutable},
	}
}

// matches reports whether the selectors take the name: Harbor's globs.
func matches(selectors []selector, name string) bool {
	for _, s := range selectors {
		ok, err := doublestar.Match(s.Pattern, name)
		if err != nil || ok == strings.Contains(strings.ToLower(s.Decoration), "excludes") {
			return false
		}
	}
	return true
}

// immutable reports whether a tag of the repo, given in full, must stay.
func (p *project) immutable(repo, tag string) bool {
	_, name, _ := strings.Cut(repo, "/")
	return slices.ContainsFunc(p.immutables, func(rule *immutableRule) bool {
		return !rule.Disabled && matches(rule.Scopes["repository"], name) && matches(rule.Selectors, tag)
	})
}

func (h *Harbor) listImmutable(c *apiCall) error {
	rows := []row{}
	for _, rule := range c.project.immutables {
		rows = append(rows, row{*rule, map[string]any{"id": rule.ID}})
	}
	return c.list(rows, "id")
}

func (h *Harbor) postImmutable(c *apiCall) error {
	var rule immutableRule
	if err := c.read("ImmutableRule", &rule); err != nil {
		return err
	}
	rule.ID = h.db.id("immutabletagrules")
	c.project.immutables = append(c.project.immutables, &rule)
	return c.created("/projects/%s/immutabletagrules/%d", c.r.PathValue("project"), rule.ID)
}

func (h *Harbor) withImmutable(c *apiCall, do func(i int)) error {
	i := slices.IndexFunc(c.project.immutables, func(rule *immutableRule) bool { return rule.ID == c.id("id") })
	if i < 0 {
		return missing("the immutable rule not found, id: %s", c.r.PathValue("id"))
	}
	do(i)
	return nil
}

func (h *Harbor) putImmutable(c *apiCall) error {
	var rule immutableRule
	if err := c.read("ImmutableRule", &rule); err != nil {
		return err
	}
	return h.withImmutable(c, func(i int) {
		rule.ID = c.project.immutables[i].ID
		c.project.immutables[i] = &rule
	})
}

func (h *Harbor) deleteImmutable(c *apiCall) error {
	return h.withImmutable(c, func(i int) { c.project.immutables = slices.Delete(c.project.immutables, i, i+1) })
}

// mayPutManifest writes the refusal of a tag that must stay, or of a manifest that
// the project has no room for.
func (h *Harbor) mayPutManifest(c *call, a *artifact, tag string) bool {
	h.db.mu.Lock()
	there, _ := c.project.find(c.repo, c.reference)
	fixed := tag != "" && there != nil && c.project.immutable(c.repo, tag)
	added := int64(0)
	if _, held := c.project.blobs[a.Digest]; !held {
		added = a.Size
	}
	for d, size := range a.blobs {
		if _, held := c.project.blobs[d]; !held {
			added += size
		}
	}
	h.db.mu.Unlock()
	if fixed {
		_, name, _ := strings.Cut(c.repo, "/")
		coreError(c.w, http.StatusPreconditionFailed, "PRECONDITION", "Failed to process request due to '"+name+":"+tag+"' configured as immutable.")
		return false
	}
	return h.room(c, added)
}
