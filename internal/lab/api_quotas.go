package lab

import (
	"fmt"
	"strconv"
	"time"
)

// quota is what a project may hold.
type quota struct {
	ID      int
	Hard    int64 // bytes; -1: no limit
	updated time.Time
}

const maxLimit = 1 << 50

func checkLimit(limit int64) error {
	switch {
	case limit != -1 && limit <= 0:
		return fmt.Errorf("invalid non-positive value for quota limit, value=%d", limit)
	case limit > maxLimit:
		return fmt.Errorf("exceeded 1024TB, which is %d Bytes, value=%d", maxLimit, limit)
	}
	return nil
}

// used is how much the project holds: each blob once.
func (p *project) used() (n int64) {
	for _, size := range p.blobs {
		n += size
	}
	return n
}

func (p *project) quotaView(updated time.Time) map[string]any {
	return map[string]any{"id": p.quota.ID, "hard": map[string]int64{"storage": p.quota.Hard}, "used": map[string]int64{"storage": p.used()},
		"ref": map[string]any{"id": p.ID, "name": p.Name, "owner_name": ""}, "creation_time": stamp(p.Created), "update_time": stamp(updated)}
}

func (h *Harbor) listQuotas(c *apiCall) error {
	query := c.r.URL.Query()
	rows := []row{}
	for _, p := range h.db.projects {
		if query.Has("reference") && query.Get("reference") != "project" || query.Has("reference_id") && query.Get("reference_id") != strconv.Itoa(p.ID) {
			continue
		}
		rows = append(rows, row{p.quotaView(p.quota.updated), map[string]any{"id": p.quota.ID, "hard.storage": p.quota.Hard, "used.storage": p.used(),
			"creation_time": p.Created, "update_time": p.quota.updated}})
	}
	return c.list(rows, "-creation_time,-id")
}

func (h *Harbor) quotaOf(c *apiCall) (*project, error) {
	for _, p := range h.db.projects {
		if p.quota.ID == c.id("id") {
			return p, nil
		}
	}
	return nil, missing("quota %s not found", c.r.PathValue("id"))
}

func (h *Harbor) getQuota(c *apiCall) error {
	p, err := h.quotaOf(c)
	if err != nil {
		return err
	}
	return c.reply(p.quotaView(time.Time{}))
}

// putQuota takes a limit below what is used, too: it binds from the next push.
func (h *Harbor) putQuota(c *apiCall) error {
	type QuotaUpdateReq struct {
		Hard map[string]int64 `json:"hard"`
	}
	var body QuotaUpdateReq
	if err := c.read("hard", &body); err != nil {
		return err
	}
	p, err := h.quotaOf(c)
	if err != nil {
		return err
	}
	if len(body.Hard) == 0 {
		return badRequest("hard required in body")
	}
	for resource, limit := range body.Hard {
		if resource != "storage" {
			return badRequest("resource %s not support", resource)
		}
		if err := checkLimit(limit); err != nil {
			return badRequest("%v", err)
		}
		p.quota.Hard, p.quota.updated = limit, h.db.now()
	}
	return nil
}
