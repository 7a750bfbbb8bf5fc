package lab

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// policy is one replication policy. Source or Destination is 0: this Harbor.
type policy struct {
	ID                  int
	Name, Description   string
	Source, Destination int
	Namespace           string
	Replace             int // dest_namespace_replace_count
	Trigger, Cron       string
	Filters             []policyFilter
	Enabled, Override   bool
	Deletion, ByChunk   bool
	Single              bool
	Speed               int32
	Created, Updated    time.Time
}

type policyFilter struct {
	Type       string `json:"type"`
	Value      any    `json:"value"`
	Decoration string `json:"decoration,omitempty"`
}

func (h *Harbor) replicationRoutes() []route {
	return []route{
		{method: "GET", path: "/replication/policies", check: inSystem("replication-policy", "list"), serve: h.listPolicies},
		{method: "POST", path: "/replication/policies", check: inSystem("replication-policy", "create"), serve: h.postPolicy},
		{method: "GET", path: "/replication/policies/{id}", check: inSystem("replication-policy", "read"), serve: h.getPolicy},
		{method: "PUT", path: "/replication/policies/{id}", check: inSystem("replication-policy", "update"), serve: h.putPolicy},
		{method: "DELETE", path: "/replication/policies/{id}", check: inSystem("replication-policy", "delete"), serve: h.deletePolicy},
	}
}

func (d *database) policy(id int) *policy {
	for _, p := range d.policies {
		if p.ID == id {
			return p
		}
	}
	return nil
}

// policyRegistry is a side of a policy as it is shown.
func (h *Harbor) policyRegistry(id int) any {
	if r := h.db.registry(id); r != nil {
		return r.view()
	}
	never := stamp(time.Time{})
	return map[string]any{"id": 0, "name": "Local", "type": "harbor", "url": h.URL(), "insecure": true, "status": "healthy",
		"credential": credential{AccessSecret: "*****", Type: "secret"}, "creation_time": never, "update_time": never}
}

func (h *Harbor) policyView(p *policy) map[string]any {
	settings := map[string]string{}
	if p.Cron != "" {
		settings["cron"] = p.Cron
	}
	v := map[string]any{"id": p.ID, "name": p.Name, "src_registry": h.policyRegistry(p.Source), "dest_registry": h.policyRegistry(p.Destination),
		"dest_namespace": p.Namespace, "dest_namespace_replace_count": p.Replace, "filters": p.Filters, "speed": max(p.Speed, 0), "copy_by_chunk": p.ByChunk,
		"single_active_replication": p.Single, "trigger": map[string]any{"type": p.Trigger, "trigger_settings": settings},
		"creation_time": stamp(p.Created), "update_time": stamp(p.Updated)}
	for name, set := range map[string]bool{"enabled": p.Enabled, "override": p.Override, "deletion": p.Deletion, "replicate_deletion": p.Deletion} {
		if set {
			v[name] = true
		}
	}
	for name, text := range map[string]string{"description": p.Description, "dest_namespace": p.Namespace} {
		if text == "" {
			delete(v, name)
		} else {
			v[name] = text
		}
	}
	return v
}

func (h *Harbor) listPolicies(c *apiCall) error {
	rows := []row{}
	for _, p := range h.db.policies {
		if strings.Contains(p.Name, c.r.URL.Query().Get("name")) {
			rows = append(rows, row{h.policyView(p), map[string]any{"id": p.ID, "name": p.Name, "creation_time": p.Created, "update_time": p.Updated, "enabled": p.Enabled}})
		}
	}
	return c.list(rows, "-creation_time,-id")
}

// readPolicy reads a policy's body and refuses what Harbor refuses: an event-based
// pull and a glob that is none are taken.
func (h *Harbor) readPolicy(c *apiCall) (*policy, error) {
	type side struct {
		ID int `json:"id"`
	}
	type ReplicationPolicy struct {
		Name        string         `json:"name"`
		Description string         `json:"description"`
		Source      *side          `json:"src_registry"`
		Destination *side          `json:"dest_registry"`
		Namespace   string         `json:"dest_namespace"`
		Replace     *int8          `json:"dest_namespace_replace_count"`
		Filters     []policyFilter `json:"filters"`
		Enabled     bool           `json:"enabled"`
		Override    bool           `json:"override"`
		Deletion    bool           `json:"deletion"`
		Replicate   bool           `json:"replicate_deletion"`
		Speed       *int32         `json:"speed"`
		ByChunk     *bool          `json:"copy_by_chunk"`
		Single      bool           `json:"single_active_replication"`
		Trigger     *struct {
			Type     string `json:"type"`
			Settings struct {
				Cron string `json:"cron"`
			} `json:"trigger_settings"`
		} `json:"trigger"`
	}
	var body ReplicationPolicy
	if err := c.read("policy", &body); err != nil {
		return nil, err
	}
	p := &policy{Name: body.Name, Description: body.Description, Namespace: body.Namespace, Replace: -1, Filters: body.Filters, Enabled: body.Enabled,
		Override: body.Override, Deletion: body.Deletion || body.Replicate, Single: body.Single, Trigger: "manual"}
	if body.Source != nil {
		p.Source = body.Source.ID
	}
	if body.Destination != nil {
		p.Destination = body.Destination.ID
	}
	if body.Replace != nil {
		p.Replace = int(*body.Replace)
	}
	if body.Speed != nil {
		p.Speed = *body.Speed
	}
	if body.ByChunk != nil {
		p.ByChunk = *body.ByChunk
	}
	if body.Trigger != nil {
		p.Trigger, p.Cron = body.Trigger.Type, body.Trigger.Settings.Cron
	}
	if p.Filters == nil {
		p.Filters = []policyFilter{}
	}
	return p, h.checkPolicy(p)
}

func (h *Harbor) checkPolicy(p *policy) error {
	switch {
	case p.Name == "":
		return badRequest("empty name")
	case (p.Source == 0) == (p.Destination == 0):
		return badRequest("either src_registry or dest_registry should be empty and the other one shouldn't be empty")
	}
	for _, f := range p.Filters {
		if err := f.check(); err != nil {
			return err
		}
	}
	if kept, err := json.Marshal(p.Filters); err != nil || len(kept) > maxFilters {
		return broken()
	}
	switch p.Trigger {
	case "manual", "event_based":
	case "scheduled":
		if err := checkPolicyCron(p.Cron); err != nil {
			return err
		}
	default:
		return badRequest("invalid trigger type")
	}
	if p.Single && p.Trigger == "event_based" {
		return broken()
	}
	if id := p.Source + p.Destination; h.db.registry(id) == nil {
		return missing("registry %d not found", id)
	}
	return nil
}

// maxFilters is how many characters Harbor's database keeps of a policy's filters
// (replication_policy.filters, varchar(1024)); what is longer it says 500 to.
const maxFilters = 1024

func (f policyFilter) check() error {
	switch f.Type {
	case "resource", "name", "tag":
		value, ok := f.Value.(string)
		if !ok {
			return badRequest("the type of filter value isn't string")
		}
		if f.Type == "resource" && !slices.Contains([]string{"", "image", "artifact"}, value) {
			return badRequest("invalid resource filter: %s", value)
		}
	case "label":
		if _, ok := f.Value.([]any); !ok {
			return badRequest("the type of label filter value isn't string slice")
		}
	default:
		return badRequest("invalid filter type")
	}
	if !slices.Contains([]string{"", "matches", "excludes"}, f.Decoration) {
		return badRequest("invalid filter decoration, :%s", f.Decoration)
	}
	return nil
}

func checkPolicyCron(cron string) error {
	if cron == "" {
		return badRequest("the cron string cannot be empty when the trigger type is scheduled")
	}
	spec, err := parseCron(cron)
	switch {
	case err != nil:
		return badRequest("invalid cron string for scheduled trigger: %s", cron)
	case spec[0] != 1:
		return badRequest("the 1st field (indicating Seconds of time) of the cron setting must be 0")
	case strings.Fields(cron)[1] == "*":
		return badRequest("* is not allowed for the Minutes field of the cron setting of replication policy")
	}
	return nil
}

func (h *Harbor) freePolicyName(p *policy) error {
	if slices.ContainsFunc(h.db.policies, func(o *policy) bool { return o.Name == p.Name && o.ID != p.ID }) {
		return conflict("replication policy %s already exists", p.Name)
	}
	return nil
}

func (h *Harbor) postPolicy(c *apiCall) error {
	p, err := h.readPolicy(c)
	if err != nil {
		return err
	}
	if err := h.freePolicyName(p); err != nil {
		return err
	}
	p.ID, p.Created = h.db.id("policies"), h.db.now()
	p.Updated = p.Created
	h.db.policies = append(h.db.policies, p)
	return c.created("/replication/policies/%d", p.ID)
}

func (h *Harbor) policyOf(c *apiCall) (*policy, error) {
	if p := h.db.policy(c.id("id")); p != nil {
		return p, nil
	}
	return nil, missing("replication policy %s not found", c.r.PathValue("id"))
}

func (h *Harbor) getPolicy(c *apiCall) error {
	p, err := h.policyOf(c)
	if err != nil {
		return err
	}
	return c.reply(h.policyView(p))
}

// putPolicy replaces the whole policy.
func (h *Harbor) putPolicy(c *apiCall) error {
	old, err := h.policyOf(c)
	if err != nil {
		return err
	}
	p, err := h.readPolicy(c)
	if err != nil {
		return err
	}
	p.ID, p.Created, p.Updated = old.ID, old.Created, h.db.now()
	if err := h.freePolicyName(p); err != nil {
		return err
	}
	*old = *p
	return nil
}

func (h *Harbor) deletePolicy(c *apiCall) error {
	p, err := h.policyOf(c)
	if err != nil {
		return err
	}
	if h.running(p.ID) {
		return precondition("contains executions that aren't in final status, stop the execution first")
	}
	h.db.executions = slices.DeleteFunc(h.db.executions, func(e *execution) bool { return e.Policy == p.ID })
	h.db.policies = slices.DeleteFunc(h.db.policies, func(o *policy) bool { return o == p })
	return nil
}
