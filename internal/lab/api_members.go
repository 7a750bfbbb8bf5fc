package lab

import (
	"fmt"
	"net/http"
	"slices"
)

func (h *Harbor) routeMembers(admin apiRoute) {
	admin("GET /api/v2.0/projects/{name}/members", h.listMembers)
	admin("POST /api/v2.0/projects/{name}/members", h.postMember)
	admin("PUT /api/v2.0/projects/{name}/members/{id}", h.putMember)
	admin("GET /api/v2.0/projects/{name}/immutabletagrules", h.listImmutable)
	admin("POST /api/v2.0/projects/{name}/immutabletagrules", h.postImmutable)
	admin("PUT /api/v2.0/projects/{name}/immutabletagrules/{id}", h.putImmutable)
}

// memberRecord is a group in a project.
type memberRecord struct {
	id, role int
	group    string
}

var roleNames = map[int]string{1: "projectAdmin", 2: "developer", 3: "guest", 4: "maintainer", 5: "limitedGuest"}

func (h *Harbor) listMembers(w http.ResponseWriter, r *http.Request) {
	p := h.projectOf(w, r)
	if p == nil {
		return
	}
	h.db.mu.Lock()
	views := []map[string]any{{"entity_id": 1, "entity_name": "admin", "entity_type": "u", "id": p.ID, "project_id": p.ID, "role_id": 1, "role_name": "projectAdmin"}}
	for _, m := range p.members {
		views = append(views, map[string]any{"entity_id": m.id, "entity_name": m.group, "entity_type": "g", "id": m.id, "project_id": p.ID, "role_id": m.role, "role_name": roleNames[m.role]})
	}
	h.db.mu.Unlock()
	writePage(w, r, views)
}

// postMember takes OIDC groups, and only while people log in by OIDC.
func (h *Harbor) postMember(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Role  int `json:"role_id"`
		Group struct {
			Name string `json:"group_name"`
			Type int    `json:"group_type"`
		} `json:"member_group"`
	}
	p := h.projectOf(w, r)
	if p == nil || !readBody(w, r, &body) {
		return
	}
	h.db.mu.Lock()
	defer h.db.mu.Unlock()
	switch {
	case h.db.text("auth_mode", "") != "oidc_auth" || body.Group.Type != 3:
		missing(w, "the group %s not found", body.Group.Name)
	case roleNames[body.Role] == "":
		badRequest(w, "failed to create member, invalid role id")
	case slices.ContainsFunc(p.members, func(m *memberRecord) bool { return m.group == body.Group.Name }):
		conflict(w, "the project member is already exist")
	default:
		m := &memberRecord{h.db.id("member"), body.Role, body.Group.Name}
		p.members = append(p.members, m)
		created(w, fmt.Sprintf("/api/v2.0/projects/%d/members/%d", p.ID, m.id))
	}
}

func (h *Harbor) putMember(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Role int `json:"role_id"`
	}
	p := h.projectOf(w, r)
	if p == nil || !readBody(w, r, &body) {
		return
	}
	h.db.mu.Lock()
	defer h.db.mu.Unlock()
	for _, m := range p.members {
		if m.id == pathID(r, "id") {
			m.role = body.Role
			return
		}
	}
	missing(w, "project member not found")
}

func (h *Harbor) listImmutable(w http.ResponseWriter, r *http.Request) {
	if p := h.projectOf(w, r); p != nil {
		h.db.mu.Lock()
		views := append([]map[string]any{}, p.immutable...)
		h.db.mu.Unlock()
		writePage(w, r, views)
	}
}

func (h *Harbor) postImmutable(w http.ResponseWriter, r *http.Request) {
	var body map[string]any
	p := h.projectOf(w, r)
	if p == nil || !readBody(w, r, &body) {
		return
	}
	h.db.mu.Lock()
	defer h.db.mu.Unlock()
	id := h.db.id("immutable")
	body["id"] = id
	p.immutable = append(p.immutable, body)
	created(w, fmt.Sprintf("/api/v2.0/projects/%d/immutabletagrules/%d", p.ID, id))
}

func (h *Harbor) putImmutable(w http.ResponseWriter, r *http.Request) {
	var body map[string]any
	p := h.projectOf(w, r)
	if p == nil || !readBody(w, r, &body) {
		return
	}
	h.db.mu.Lock()
	defer h.db.mu.Unlock()
	id := pathID(r, "id")
	for i, rule := range p.immutable {
		if rule["id"] == id {
			body["id"] = id
			p.immutable[i] = body
			return
		}
	}
	missing(w, "immutable tag rule %d not found", id)
}
