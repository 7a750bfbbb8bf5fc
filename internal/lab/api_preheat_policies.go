package lab

import (
	"encoding/json"
	"slices"
	"time"
)

// preheatPolicy says which images of a project are to be fetched, and when. Filters and trigger
// are kept as the text that was sent.
type preheatPolicy struct {
	ID          int    `json:"id"`
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	Project     int    `json:"project_id"`
	Provider    int    `json:"provider_id"`
	Provided    string `json:"provider_name,omitempty"`
	Filters     string `json:"filters"`
	Trigger     string `json:"trigger"`
	Extra       string `json:"extra_attrs,omitempty"`
	Enabled     bool   `json:"enabled"`
	Created     string `json:"creation_time,omitempty"`
	Updated     string `json:"update_time,omitempty"`
	runs        []*preheatRun
}

// preheatRun is one execution of a policy.
type preheatRun struct {
	ID         int
	trigger    string
	total      int
	failed     int
	done       bool
	start, end time.Time
}

type preheatFilter struct {
	Type  string `json:"type"`
	Value any    `json:"value"`
}

type preheatTrigger struct {
	Type     string `json:"type"`
	Settings struct {
		Cron string `json:"cron,omitempty"`
	} `json:"trigger_setting"`
}

func (p *preheatPolicy) filters() (all []preheatFilter, err error) {
	return all, json.Unmarshal([]byte(p.Filters), &all)
}

func (p *preheatPolicy) trigger() (t preheatTrigger, err error) {
	return t, json.Unmarshal([]byte(p.Trigger), &t)
}

// check refuses as little as Harbor does: what cannot be read is a 500, a bad schedule a 400.
func (p *preheatPolicy) check() error {
	if _, err := p.filters(); err != nil || !preheatName.MatchString(p.Name) {
		return broken()
	}
	t, err := p.trigger()
	if err != nil {
		return broken()
	}
	if t.Type == "scheduled" && t.Settings.Cron != "" {
		if spec, err := parseCron(t.Settings.Cron); err != nil || spec[0] != 1 {
			return badRequest("invalid cron string for scheduled preheat: %s, error: %v", t.Settings.Cron, err)
		}
	}
	return nil
}

func (h *Harbor) readPreheatPolicy(c *apiCall) (*preheatPolicy, error) {
	var p preheatPolicy
	if err := c.read("policy", &p); err != nil {
		return nil, err
	}
	if h.db.preheater(func(i *preheatInstance) bool { return i.ID == p.Provider }) == nil {
		return nil, missing("instance %d not found", p.Provider)
	}
	p.Project = c.project.ID
	return &p, p.check()
}

func (h *Harbor) preheatPolicyOf(c *apiCall) (*preheatPolicy, error) {
	name := c.r.PathValue("name")
	for _, p := range c.project.preheats {
		if p.Name == name {
			return p, nil
		}
	}
	return nil, missing("policy %s not found", name)
}

func (h *Harbor) preheatPolicyView(p *preheatPolicy) *preheatPolicy {
	shown := *p
	if i := h.db.preheater(func(i *preheatInstance) bool { return i.ID == p.Provider }); i != nil {
		shown.Provided = i.Name
	}
	return &shown
}

func (h *Harbor) listPreheatPolicies(c *apiCall) error {
	rows := []row{}
	for _, p := range c.project.preheats {
		rows = append(rows, row{h.preheatPolicyView(p), map[string]any{"id": p.ID, "name": p.Name, "enabled": p.Enabled, "provider_id": p.Provider}})
	}
	return c.list(rows, "-id")
}

func (p *project) freePreheatName(o *preheatPolicy) error {
	if slices.ContainsFunc(p.preheats, func(q *preheatPolicy) bool { return q.Name == o.Name && q.ID != o.ID }) {
		return conflict("policy %s already exists", o.Name)
	}
	return nil
}

func (h *Harbor) postPreheatPolicy(c *apiCall) error {
	p, err := h.readPreheatPolicy(c)
	if err != nil {
		return err
	}
	p.ID = 0
	if err := c.project.freePreheatName(p); err != nil {
		return err
	}
	p.ID, p.Created, p.Updated = h.db.id("preheats"), stamp(h.db.now()), stamp(h.db.now())
	c.project.preheats = append(c.project.preheats, p)
	return c.created("/projects/%s/preheat/policies/%s", c.r.PathValue("project"), p.Name)
}

func (h *Harbor) getPreheatPolicy(c *apiCall) error {
	p, err := h.preheatPolicyOf(c)
	if err != nil {
		return err
	}
	return c.reply(h.preheatPolicyView(p))
}

// putPreheatPolicy changes the policy whose number is in the body, whatever the path's name is.
func (h *Harbor) putPreheatPolicy(c *apiCall) error {
	p, err := h.readPreheatPolicy(c)
	if err != nil {
		return err
	}
	if err := c.project.freePreheatName(p); err != nil {
		return err
	}
	for i, old := range c.project.preheats {
		if old.ID == p.ID {
			p.runs, p.Updated = old.runs, stamp(h.db.now())
			c.project.preheats[i] = p
			return nil
		}
	}
	return missing("policy %d not found", p.ID)
}

func (h *Harbor) deletePreheatPolicy(c *apiCall) error {
	p, err := h.preheatPolicyOf(c)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(p.runs, func(r *preheatRun) bool { return !r.done }) {
		return precondition("execution under the policy %s is running, stop it and retry", p.Name)
	}
	c.project.preheats = slices.DeleteFunc(c.project.preheats, func(o *preheatPolicy) bool { return o == p })
	return nil
}

func (h *Harbor) listPreheatRuns(c *apiCall) error {
	p, err := h.preheatPolicyOf(c)
	if err != nil {
		return err
	}
	rows := []row{}
	for _, r := range p.runs {
		status := inProgress
		switch {
		case r.done && r.failed > 0:
			status = "Error"
		case r.done:
			status = "Success"
		}
		rows = append(rows, row{map[string]any{"id": r.ID, "vendor_type": "P2P_PREHEAT", "vendor_id": p.ID, "status": status, "trigger": r.trigger,
			"start_time": stamp(r.start), "end_time": stamp(r.end), "extra_attrs": map[string]any{"totalCount": r.total, "trigger": r.trigger},
			"metrics": map[string]int{"task_count": r.total, "error_task_count": r.failed}}, map[string]any{"id": r.ID, "status": status}})
	}
	return c.list(rows, "-id")
}
