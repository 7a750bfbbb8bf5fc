package lab

import "slices"

// immutableRule makes tags immutable, as it was written.
type immutableRule struct {
	id   int
	body map[string]any
}

func (h *Harbor) immutableRoutes() []route {
	return []route{
		{method: "GET", path: "/projects/{project}/immutabletagrules", check: h.inProject("immutable-tag", "list"), serve: h.listImmutable},
		{method: "POST", path: "/projects/{project}/immutabletagrules", check: h.inProject("immutable-tag", "create"), serve: h.postImmutable},
		{method: "PUT", path: "/projects/{project}/immutabletagrules/{id}", check: h.inProject("immutable-tag", "update"), serve: h.putImmutable},
		{method: "DELETE", path: "/projects/{project}/immutabletagrules/{id}", check: h.inProject("immutable-tag", "delete"), serve: h.deleteImmutable},
	}
}

func (h *Harbor) listImmutable(c *apiCall) error {
	rows := []row{}
	for _, r := range c.project.immutable {
		rows = append(rows, row{r.body, map[string]any{"id": r.id}})
	}
	return c.list(rows, "id")
}

func (h *Harbor) postImmutable(c *apiCall) error {
	var body map[string]any
	if err := c.read("ImmutableRule", &body); err != nil {
		return err
	}
	id := h.db.id("immutable")
	body["id"] = id
	c.project.immutable = append(c.project.immutable, &immutableRule{id, body})
	return c.created("/projects/%s/immutabletagrules/%d", c.r.PathValue("project"), id)
}

// withImmutable runs do on the rule that the path names.
func (c *apiCall) withImmutable(do func(i int) error) error {
	i := slices.IndexFunc(c.project.immutable, func(r *immutableRule) bool { return r.id == c.id("id") })
	if i < 0 {
		return missing("the immutable tag rule %d not found", c.id("id"))
	}
	return do(i)
}

func (h *Harbor) putImmutable(c *apiCall) error {
	var body map[string]any
	if err := c.read("ImmutableRule", &body); err != nil {
		return err
	}
	return c.withImmutable(func(i int) error {
		body["id"] = c.project.immutable[i].id
		c.project.immutable[i].body = body
		return nil
	})
}

func (h *Harbor) deleteImmutable(c *apiCall) error {
	return c.withImmutable(func(i int) error {
		c.project.immutable = slices.Delete(c.project.immutable, i, i+1)
		return nil
	})
}
