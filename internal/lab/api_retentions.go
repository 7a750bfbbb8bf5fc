package lab

import (
	_ "embed" // the static answers
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
)

// retention is the policy of one project. Harbor does not look into its rules.
type retention struct {
	ID        int              `json:"id"`
	Algorithm string           `json:"algorithm"`
	Rules     []retentionRule  `json:"rules"`
	Trigger   retentionTrigger `json:"trigger"`
	Scope     retentionScope   `json:"scope"`
	runs      []*retentionRun
}

type retentionRule struct {
	Action    string                `json:"action,omitempty"`
	Disabled  bool                  `json:"disabled,omitempty"`
	ID        int                   `json:"id,omitempty"`
	Params    map[string]any        `json:"params,omitempty"`
	Priority  int                   `json:"priority,omitempty"`
	Scopes    map[string][]selector `json:"scope_selectors,omitempty"`
	Selectors []selector            `json:"tag_selectors"`
	Template  string                `json:"template,omitempty"`
}

type selector struct {
	Decoration string `json:"decoration,omitempty"`
	Extras     string `json:"extras,omitempty"`
	Kind       string `json:"kind,omitempty"`
	Pattern    string `json:"pattern,omitempty"`
}

type retentionTrigger struct {
	Kind     string         `json:"kind,omitempty"`
	Settings map[string]any `json:"settings"`
}

type retentionScope struct {
	Level string `json:"level"`
	Ref   int    `json:"ref"`
}

//go:embed static/retention-metadatas.json
var retentionMetadatas []byte

func (h *Harbor) retentionRoutes() []route {
	return []route{
		{method: "GET", path: "/retentions/metadatas", check: loggedIn, serve: func(c *apiCall) error { return c.reply(json.RawMessage(retentionMetadatas)) }},
		{method: "POST", path: "/retentions", check: loggedIn, serve: h.postRetention},
		{method: "GET", path: "/retentions/{id}", check: loggedIn, serve: h.getRetention},
		{method: "PUT", path: "/retentions/{id}", check: loggedIn, serve: h.putRetention},
		{method: "DELETE", path: "/retentions/{id}", check: loggedIn, serve: h.deleteRetention},
	}
}

// weekOfPulls is the policy that a proxy cache is born with.
func weekOfPulls(project int) *retention {
	return &retention{Algorithm: "or", Scope: retentionScope{"project", project},
		Trigger: retentionTrigger{"Schedule", map[string]any{"cron": "0 0 0 * * *"}},
		Rules: []retentionRule{{Action: "retain", ID: 1, Priority: 1, Template: "nDaysSinceLastPull", Params: map[string]any{"nDaysSinceLastPull": 7},
			Scopes:    map[string][]selector{"repository": {{Kind: "doublestar", Decoration: "repoMatches", Pattern: "**"}}},
			Selectors: []selector{{Kind: "doublestar", Decoration: "matches", Pattern: "**"}}}}}
}

func (d *database) addRetention(p *project, t *retention) {
	t.ID = d.id("retentions")
	d.retentions = append(d.retentions, t)
	p.set(map[string]string{"retention_id": strconv.Itoa(t.ID)})
}

// validate refuses as little as Harbor does.
func (t *retention) validate() error {
	if cron, _ := t.Trigger.Settings["cron"].(string); t.Trigger.Kind == "Schedule" && cron != "" {
		spec, err := parseCron(cron)
		if err == nil && spec[0] != 1 {
			err = fmt.Errorf("the 1st field (indicating Seconds of time) of the cron setting must be 0")
		}
		if err != nil {
			return badRequest("invalid cron string for scheduled tag retention: %s, error: %v", cron, err)
		}
	}
	if len(t.Rules) > 15 {
		return badRequest("bad request: only 15 rules are allowed at most")
	}
	for i, a := range t.Rules {
		for j, b := range t.Rules[:i] {
			if reflect.DeepEqual(a, b) {
				return conflict("resource conflict: rule %d is conflict with rule %d", i, j)
			}
		}
	}
	return nil
}

// retentionProject is the project that a body speaks of.
func (h *Harbor) retentionProject(c *apiCall, t *retention, action string) (*project, error) {
	if t.Scope.Level != "project" {
		return nil, badRequest("bad request: scope %s is not support", t.Scope.Level)
	}
	p := h.db.named(strconv.Itoa(t.Scope.Ref), false)
	switch {
	case p == nil:
		return nil, badRequest("bad request: invalid Project id %d", t.Scope.Ref)
	case !c.who.inProject(p, "tag-retention", action):
		return nil, refusal(403, "forbidden")
	}
	return p, nil
}

func (h *Harbor) postRetention(c *apiCall) error {
	var t retention
	if err := c.read("policy", &t); err != nil {
		return err
	}
	p, err := h.retentionProject(c, &t, "create")
	if err != nil {
		return err
	}
	if id := p.Metadata["retention_id"]; id != "" {
		return badRequest("bad request: project %d already has retention policy %s", p.ID, id)
	}
	if err := t.validate(); err != nil {
		return err
	}
	h.db.addRetention(p, &t)
	return c.created("/retentions/%d", t.ID)
}

func (d *database) retention(id int) *retention {
	for _, t := range d.retentions {
		if t.ID == id {
			return t
		}
	}
	return nil
}

// getRetention answers 500 for what is not there.
func (h *Harbor) getRetention(c *apiCall) error {
	t := h.db.retention(c.id("id"))
	if t == nil {
		return broken()
	}
	shown := *t
	shown.Trigger.Settings = map[string]any{}
	for k, v := range t.Trigger.Settings {
		shown.Trigger.Settings[k] = v
	}
	cron, _ := t.Trigger.Settings["cron"].(string)
	if spec, err := parseCron(cron); err == nil && t.Trigger.Kind == "Schedule" {
		shown.Trigger.Settings["next_scheduled_time"] = stamp(spec.next(h.db.now()))
	}
	return c.reply(shown)
}

func (h *Harbor) putRetention(c *apiCall) error {
	var t retention
	if err := c.read("policy", &t); err != nil {
		return err
	}
	p, err := h.retentionProject(c, &t, "update")
	if err != nil {
		return err
	}
	id := c.r.PathValue("id")
	if p.Metadata["retention_id"] != id {
		return missing("resource not found: the retention policy id %s does not match", id)
	}
	if err := t.validate(); err != nil {
		return err
	}
	old := h.db.retention(c.id("id"))
	if old == nil {
		return broken()
	}
	t.ID, t.runs = old.ID, old.runs
	*old = t
	return nil
}

func (h *Harbor) deleteRetention(c *apiCall) error {
	t, err := h.retentionOf(c, "delete")
	if err != nil {
		return err
	}
	h.db.retentions = slices.DeleteFunc(h.db.retentions, func(o *retention) bool { return o == t })
	for _, p := range h.db.projects {
		if p.Metadata["retention_id"] == strconv.Itoa(t.ID) {
			p.set(map[string]string{"retention_id": ""})
		}
	}
	return nil
}

// retentionOf is the policy that the path names.
func (h *Harbor) retentionOf(c *apiCall, action string) (*retention, error) {
	t := h.db.retention(c.id("id"))
	if t == nil {
		return nil, badRequest("bad request: no such Retention policy with id %s", c.r.PathValue("id"))
	}
	if p := h.db.named(strconv.Itoa(t.Scope.Ref), false); p == nil || !c.who.inProject(p, "tag-retention", action) {
		return nil, refusal(403, "forbidden")
	}
	return t, nil
}
