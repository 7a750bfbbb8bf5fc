package lab

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

func (h *Harbor) routePolicies(admin apiRoute) {
	admin("POST /api/v2.0/replication/policies", h.postPolicy)
	admin("GET /api/v2.0/replication/policies", h.listPolicies)
	admin("GET /api/v2.0/replication/policies/{id}", h.getPolicy)
	admin("PUT /api/v2.0/replication/policies/{id}", h.putPolicy)
	admin("DELETE /api/v2.0/replication/policies/{id}", h.deletePolicy)
	admin("GET /api/v2.0/replication/executions", func(w http.ResponseWriter, r *http.Request) { writePage(w, r, []any{}) })
}

// policyRecord is a replication rule.
type policyRecord struct {
	ID            int            `json:"id"`
	Name          string         `json:"name"`
	Description   string         `json:"description,omitempty"`
	Source        *registryRef   `json:"src_registry"`
	Destination   *registryRef   `json:"dest_registry"`
	Namespace     string         `json:"dest_namespace,omitempty"`
	ReplaceCount  *int           `json:"dest_namespace_replace_count"`
	Trigger       *policyTrigger `json:"trigger"`
	Filters       []policyFilter `json:"filters"`
	Deletion      bool           `json:"deletion,omitempty"`
	ReplicateDel  bool           `json:"replicate_deletion,omitempty"`
	Override      bool           `json:"override,omitempty"`
	Enabled       bool           `json:"enabled,omitempty"`
	Speed         *int           `json:"speed"`
	CopyByChunk   bool           `json:"copy_by_chunk"`
	SingleActive  bool           `json:"single_active_replication"`
	created, last time.Time
}

type registryRef struct {
	ID int `json:"id"`
}

type policyTrigger struct {
	Type     string `json:"type"`
	Settings struct {
		Cron string `json:"cron,omitempty"`
	} `json:"trigger_settings"`
}

type policyFilter struct {
	Type       string `json:"type"`
	Value      any    `json:"value"`
	Decoration string `json:"decoration,omitempty"`
}

func (r *registryRef) id() int {
	if r == nil {
		return 0
	}
	return r.ID
}

func (p *policyRecord) from() int { return p.Source.id() }
func (p *policyRecord) to() int   { return p.Destination.id() }

// view is the rule with its registries; the side that is this Harbor is "Local".
func (h *Harbor) policyView(p *policyRecord) map[string]any {
	const never = "0001-01-01T00:00:00.000Z"
	side := func(id int) any {
		if rec := h.db.registryLocked(id); rec != nil {
			return rec.view()
		}
		return map[string]any{"creation_time": never, "update_time": never, "credential": map[string]any{"access_secret": "*****", "type": "secret"},
			"id": 0, "insecure": true, "name": "Local", "status": "healthy", "type": "harbor", "url": "http://127.0.0.1:18111"}
	}
	v := map[string]any{"id": p.ID, "name": p.Name, "src_registry": side(p.from()), "dest_registry": side(p.to()), "dest_namespace": p.Namespace,
		"dest_namespace_replace_count": -1, "filters": p.Filters, "trigger": p.Trigger, "speed": 0, "copy_by_chunk": p.CopyByChunk,
		"single_active_replication": p.SingleActive, "creation_time": stamp(p.created), "update_time": stamp(p.last)}
	if p.ReplaceCount != nil {
		v["dest_namespace_replace_count"] = *p.ReplaceCount
	}
	if p.Speed != nil && *p.Speed > 0 {
		v["speed"] = *p.Speed
	}
	for key, on := range map[string]bool{"enabled": p.Enabled, "override": p.Override, "deletion": p.Deletion, "replicate_deletion": p.ReplicateDel || p.Deletion} {
		if on {
			v[key] = true
		}
	}
	if p.Description != "" {
		v["description"] = p.Description
	}
	return v
}

// refusal is what Harbor has against a rule. It takes patterns that are none, and
// event-based pulls.
func (p *policyRecord) refusal() string {
	switch {
	case p.Name == "":
		return "empty name"
	case (p.from() == 0) == (p.to() == 0):
		return "either src_registry or dest_registry should be empty and the other one shouldn't be empty"
	}
	for _, f := range p.Filters {
		switch {
		case !slices.Contains([]string{"name", "tag", "label", "resource"}, f.Type):
			return "invalid filter type"
		case f.Type == "resource" && f.Value != "image" && f.Value != "artifact" && f.Value != "chart":
			return fmt.Sprintf("invalid resource filter: %v", f.Value)
		case f.Decoration != "" && f.Decoration != "matches" && f.Decoration != "excludes":
			return "invalid filter decoration, :" + f.Decoration
		}
	}
	if p.Trigger == nil || p.Trigger.Type != "scheduled" {
		return ""
	}
	cron := p.Trigger.Settings.Cron
	switch fields := strings.Fields(cron); {
	case cron == "":
		return "the cron string cannot be empty when the trigger type is scheduled"
	case len(fields) != 6 || strings.ContainsFunc(cron, func(r rune) bool { return !strings.ContainsRune("0123456789*/,-? ", r) }):
		return "invalid cron string for scheduled trigger: " + cron
	case fields[0] != "0":
		return "the 1st field (indicating Seconds of time) of the cron setting must be 0"
	case fields[1] == "*":
		return "* is not allowed for the Minutes field of the cron setting of replication policy"
	}
	return ""
}

// takes checks a rule as Harbor does; the database is locked.
func (h *Harbor) takes(w http.ResponseWriter, p *policyRecord, id int) bool {
	if why := p.refusal(); why != "" {
		badRequest(w, "%s", why)
		return false
	}
	if other := cmp.Or(p.from(), p.to()); h.db.registryLocked(other) == nil {
		missing(w, "registry %d not found", other)
		return false
	}
	if slices.ContainsFunc(h.db.policies, func(o *policyRecord) bool { return o.Name == p.Name && o.ID != id }) {
		conflict(w, "replication policy %s already exists", p.Name)
		return false
	}
	if p.Trigger == nil {
		p.Trigger = &policyTrigger{Type: "manual"}
	}
	return true
}

func (h *Harbor) postPolicy(w http.ResponseWriter, r *http.Request) {
	var p policyRecord
	if !readBody(w, r, &p) {
		return
	}
	h.db.mu.Lock()
	defer h.db.mu.Unlock()
	if !h.takes(w, &p, 0) {
		return
	}
	p.ID, p.created, p.last = h.db.id("policy"), time.Now(), time.Now()
	h.db.policies = append(h.db.policies, &p)
	created(w, fmt.Sprintf("/api/v2.0/replication/policies/%d", p.ID))
}

func (h *Harbor) listPolicies(w http.ResponseWriter, r *http.Request) {
	part, name := r.URL.Query().Get("name"), filters(r)["name"]
	h.db.mu.Lock()
	views := []map[string]any{}
	for _, p := range slices.Backward(h.db.policies) { // the newest first
		if matches(name, p.Name) && strings.Contains(p.Name, part) {
			views = append(views, h.policyView(p))
		}
	}
	h.db.mu.Unlock()
	writePage(w, r, views)
}

// withPolicy runs do on the rule that the path names, the database locked.
func (h *Harbor) withPolicy(w http.ResponseWriter, r *http.Request, do func(*policyRecord)) {
	id := pathID(r, "id")
	h.db.mu.Lock()
	defer h.db.mu.Unlock()
	for _, p := range h.db.policies {
		if p.ID == id {
			do(p)
			return
		}
	}
	missing(w, "replication policy %d not found", id)
}

func (h *Harbor) getPolicy(w http.ResponseWriter, r *http.Request) {
	h.withPolicy(w, r, func(p *policyRecord) { writeJSON(w, http.StatusOK, apiJSON, h.policyView(p)) })
}

func (h *Harbor) putPolicy(w http.ResponseWriter, r *http.Request) {
	var next policyRecord
	if !readBody(w, r, &next) {
		return
	}
	h.withPolicy(w, r, func(p *policyRecord) {
		if h.takes(w, &next, p.ID) {
			next.ID, next.created, next.last = p.ID, p.created, time.Now()
			*p = next
		}
	})
}

func (h *Harbor) deletePolicy(w http.ResponseWriter, r *http.Request) {
	h.withPolicy(w, r, func(p *policyRecord) {
		h.db.policies = slices.DeleteFunc(h.db.policies, func(o *policyRecord) bool { return o == p })
	})
}
