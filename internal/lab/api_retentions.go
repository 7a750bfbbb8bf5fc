package lab

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

func (h *Harbor) routeRetentions(admin apiRoute) {
	admin("POST /api/v2.0/retentions", h.postRetention)
	admin("GET /api/v2.0/retentions/{id}", h.getRetention)
	admin("PUT /api/v2.0/retentions/{id}", h.putRetention)
	admin("DELETE /api/v2.0/retentions/{id}", h.deleteRetention)
}

// retentionRecord is a retention as it was written.
type retentionRecord struct {
	project *project
	body    map[string]any
}

// retain gives the project a retention. The database is locked.
func (d *database) retain(p *project, body map[string]any) (id int) {
	id = d.id("retention")
	d.retentions[id] = &retentionRecord{p, body}
	p.metadata["retention_id"] = strconv.Itoa(id)
	return id
}

func (r *retentionRecord) view(id int) map[string]any {
	v := map[string]any{"id": id, "scope": map[string]any{"level": "project", "ref": r.project.ID}}
	for _, k := range []string{"algorithm", "rules"} {
		v[k] = r.body[k]
	}
	trigger := map[string]any{"kind": "Schedule"}
	if t, ok := r.body["trigger"].(map[string]any); ok {
		settings := map[string]any{}
		for k, value := range t["settings"].(map[string]any) {
			settings[k] = value
		}
		if settings["cron"] != "" {
			settings["next_scheduled_time"] = stamp(time.Now().Truncate(24 * time.Hour).Add(24 * time.Hour))
		}
		trigger["settings"] = settings
	}
	v["trigger"] = trigger
	return v
}

// readRetention reads a retention and says what Harbor says of it. It takes much that
// makes no sense: unknown templates, two parameters, any algorithm, any pattern.
func readRetention(w http.ResponseWriter, r *http.Request) (body map[string]any, ok bool) {
	if !readBody(w, r, &body) {
		return nil, false
	}
	rules, _ := body["rules"].([]any)
	if len(rules) > 15 {
		badRequest(w, "bad request: only 15 rules are allowed at most")
		return nil, false
	}
	var seen []string
	for _, rule := range rules {
		m, _ := rule.(map[string]any)
		if m == nil {
			badRequest(w, "bad request: invalid rule")
			return nil, false
		}
		if m["disabled"] == false {
			delete(m, "disabled")
		}
		text, _ := json.Marshal(rule)
		if slices.Contains(seen, string(text)) {
			conflict(w, "retention rule already exists")
			return nil, false
		}
		seen = append(seen, string(text))
	}
	if t, _ := body["trigger"].(map[string]any); t != nil {
		settings, _ := t["settings"].(map[string]any)
		cron, _ := settings["cron"].(string)
		delete(t, "references")
		if settings == nil {
			t["settings"] = map[string]any{}
		}
		switch fields := strings.Fields(cron); {
		case cron == "":
		case len(fields) != 6:
			badRequest(w, "bad request: expected exactly 6 fields, found %d: [%s]", len(fields), cron)
			return nil, false
		case fields[0] != "0":
			badRequest(w, "bad request: the 1st field (indicating Seconds of time) of the cron setting must be 0")
			return nil, false
		}
	}
	return body, true
}

func (h *Harbor) postRetention(w http.ResponseWriter, r *http.Request) {
	body, ok := readRetention(w, r)
	if !ok {
		return
	}
	scope, _ := body["scope"].(map[string]any)
	if level, _ := scope["level"].(string); level != "project" {
		badRequest(w, "bad request: scope %s is not support", level)
		return
	}
	ref, _ := scope["ref"].(float64)
	h.db.mu.Lock()
	defer h.db.mu.Unlock()
	for _, p := range h.db.projects {
		if p.ID != int(ref) {
			continue
		}
		if id := p.metadata["retention_id"]; id != "" {
			badRequest(w, "bad request: project %d already has retention policy %s", p.ID, id)
			return
		}
		created(w, fmt.Sprintf("/api/v2.0/retentions/%d", h.db.retain(p, body)))
		return
	}
	badRequest(w, "bad request: invalid Project id %d", int(ref))
}

// getRetention answers 500 for one that is gone.
func (h *Harbor) getRetention(w http.ResponseWriter, r *http.Request) {
	id := pathID(r, "id")
	h.db.mu.Lock()
	defer h.db.mu.Unlock()
	rec := h.db.retentions[id]
	if rec == nil {
		unknown(w)
		return
	}
	writeJSON(w, http.StatusOK, apiJSON, rec.view(id))
}

func (h *Harbor) putRetention(w http.ResponseWriter, r *http.Request) {
	body, ok := readRetention(w, r)
	if !ok {
		return
	}
	id := pathID(r, "id")
	h.db.mu.Lock()
	defer h.db.mu.Unlock()
	rec := h.db.retentions[id]
	if rec == nil {
		missing(w, "resource not found: the retention policy id %d does not match", id)
		return
	}
	rec.body = body
}

func (h *Harbor) deleteRetention(w http.ResponseWriter, r *http.Request) {
	id := pathID(r, "id")
	h.db.mu.Lock()
	defer h.db.mu.Unlock()
	rec := h.db.retentions[id]
	if rec == nil {
		badRequest(w, "bad request: no such Retention policy with id %d", id)
		return
	}
	delete(h.db.retentions, id)
	delete(rec.project.metadata, "retention_id")
}
