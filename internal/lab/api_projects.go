package lab

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

func (h *Harbor) routeProjects(admin apiRoute) {
	admin("POST /api/v2.0/projects", h.postProject)
	admin("HEAD /api/v2.0/projects", h.headProject)
	admin("GET /api/v2.0/projects/{name}", h.getProject)
	admin("PUT /api/v2.0/projects/{name}", h.putProject)
	admin("DELETE /api/v2.0/projects/{name}", h.deleteProject)
	admin("DELETE /api/v2.0/projects/{name}/metadatas/{key}", h.deleteMetadata)
	admin("GET /api/v2.0/quotas", h.listQuotas)
	admin("GET /api/v2.0/quotas/{id}", h.getQuota)
	admin("PUT /api/v2.0/quotas/{id}", h.putQuota)
}

// metadataKeys are those that Harbor keeps; others are dropped without a word.
var metadataKeys = []string{"public", "enable_content_trust", "enable_content_trust_cosign", "prevent_vul", "severity", "auto_scan", "auto_sbom_generation",
	"reuse_sys_cve_allowlist", "retention_id", "proxy_cache_local_on_not_found"}

func (p *project) view() map[string]any {
	const never = "0001-01-01T00:00:00.000Z"
	metadata := map[string]string{"public": strconv.FormatBool(p.Public)}
	for k, v := range p.metadata {
		metadata[k] = v
	}
	v := map[string]any{"project_id": p.ID, "name": p.Name, "owner_id": 1, "owner_name": "admin", "creation_time": stamp(p.Created), "update_time": stamp(p.Created),
		"repo_count": len(p.repos), "metadata": metadata, "current_user_role_id": 1, "current_user_role_ids": []int{1},
		"cve_allowlist": map[string]any{"creation_time": never, "id": p.ID, "items": []any{}, "project_id": p.ID, "update_time": never}}
	if p.Registry != 0 {
		v["registry_id"] = p.Registry
	}
	return v
}

// keep takes what Harbor keeps of a project's metadata. The database is locked.
func (p *project) keep(metadata map[string]string) {
	for k, v := range metadata {
		switch {
		case k == "public":
			p.Public = v == "true"
		case slices.Contains(metadataKeys, k):
			p.metadata[k] = v
		}
	}
}

func (h *Harbor) postProject(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Name     string            `json:"project_name"`
		Registry int               `json:"registry_id"`
		Metadata map[string]string `json:"metadata"`
		Limit    *int64            `json:"storage_limit"`
	}
	if !readBody(w, r, &body) {
		return
	}
	var upstream *registryRecord
	if body.Registry != 0 {
		if upstream = h.db.registry(body.Registry); upstream == nil {
			unknown(w)
			return
		}
	}
	p := h.addProject(body.Name, body.Metadata["public"] == "true", upstream)
	if p == nil {
		conflict(w, "The project named %s already exists", body.Name)
		return
	}
	h.db.mu.Lock()
	defer h.db.mu.Unlock()
	p.keep(body.Metadata)
	if body.Limit != nil && *body.Limit != 0 {
		p.quota = *body.Limit
	}
	if upstream != nil { // a proxy cache is born with a retention
		h.db.retain(p, map[string]any{"algorithm": "or", "rules": []any{map[string]any{"id": 1, "priority": 1, "action": "retain", "template": "nDaysSinceLastPull", "params": map[string]any{"nDaysSinceLastPull": 7},
			"scope_selectors": map[string]any{"repository": []any{map[string]any{"kind": "doublestar", "decoration": "repoMatches", "pattern": "**"}}},
			"tag_selectors":   []any{map[string]any{"kind": "doublestar", "decoration": "matches", "pattern": "**"}}}},
			"trigger": map[string]any{"kind": "Schedule", "settings": map[string]any{"cron": "0 0 0 * * *"}}})
	}
	created(w, fmt.Sprintf("/api/v2.0/projects/%d", p.ID))
}

// listProjects lists what the caller may see: robots of all projects see all, as
// administrators do, other robots theirs and the public ones, nobody the public ones.
func (h *Harbor) listProjects(w http.ResponseWriter, r *http.Request) {
	if h.faults.component(r, "db-down") {
		unknown(w)
		return
	}
	who := h.caller(r)
	part, name := r.URL.Query().Get("name"), filters(r)["name"]
	h.db.mu.Lock()
	views := []map[string]any{}
	for _, p := range h.db.projects {
		if matches(name, p.Name) && strings.Contains(p.Name, part) && (p.Public || who.sees(p)) {
			views = append(views, p.view())
		}
	}
	h.db.mu.Unlock()
	slices.SortFunc(views, func(a, b map[string]any) int {
		order := strings.Compare(a["name"].(string), b["name"].(string))
		if r.URL.Query().Get("sort") == "-name" {
			return -order
		}
		return order
	})
	writePage(w, r, views)
}

func (who identity) sees(p *project) bool {
	if who.admin || who.robot == nil {
		return who.admin
	}
	return slices.ContainsFunc(who.robot.Permissions, func(perm permission) bool {
		return perm.Kind == "project" && (perm.Namespace == "*" || perm.Namespace == p.Name)
	})
}

func (h *Harbor) headProject(w http.ResponseWriter, r *http.Request) {
	if name := r.URL.Query().Get("project_name"); h.db.project(name) == nil {
		missing(w, "project %s not found", name)
	}
}

func (h *Harbor) getProject(w http.ResponseWriter, r *http.Request) {
	if p := h.projectOf(w, r); p != nil {
		h.db.mu.Lock()
		view := p.view()
		h.db.mu.Unlock()
		writeJSON(w, http.StatusOK, apiJSON, view)
	}
}

// projectOf is the project that the path names, by its id or its name: a number is
// an id unless X-Is-Resource-Name says that it is a name.
func (h *Harbor) projectOf(w http.ResponseWriter, r *http.Request) *project {
	name := r.PathValue("name")
	id, err := strconv.Atoi(name)
	h.db.mu.Lock()
	defer h.db.mu.Unlock()
	for _, p := range h.db.projects {
		if byID := err == nil && r.Header.Get("X-Is-Resource-Name") != "true"; byID && p.ID == id || !byID && p.Name == name {
			return p
		}
	}
	missing(w, "project %s not found", name)
	return nil
}

func (h *Harbor) putProject(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Metadata map[string]string `json:"metadata"`
	}
	p := h.projectOf(w, r)
	if p == nil || !readBody(w, r, &body) {
		return
	}
	h.db.mu.Lock()
	defer h.db.mu.Unlock()
	p.keep(body.Metadata)
}

func (h *Harbor) deleteProject(w http.ResponseWriter, r *http.Request) {
	p := h.projectOf(w, r)
	if p == nil {
		return
	}
	h.db.mu.Lock()
	defer h.db.mu.Unlock()
	if len(p.repos) > 0 {
		precondition(w, "the project %d is not deletable: the project contains repositories, can not be deleted", p.ID)
		return
	}
	h.db.projects = slices.DeleteFunc(h.db.projects, func(q *project) bool { return q == p })
	h.db.robots = slices.DeleteFunc(h.db.robots, func(rb *robot) bool { return rb.project == p.Name })
	if id, err := strconv.Atoi(p.metadata["retention_id"]); err == nil {
		delete(h.db.retentions, id)
	}
}

func (h *Harbor) deleteMetadata(w http.ResponseWriter, r *http.Request) {
	if p := h.projectOf(w, r); p != nil {
		h.db.mu.Lock()
		defer h.db.mu.Unlock()
		delete(p.metadata, r.PathValue("key"))
	}
}

func (p *project) quotaView(updated string) map[string]any {
	var used int64
	for _, repo := range p.repos {
		for _, a := range repo.artifacts {
			used += a.Size
		}
	}
	return map[string]any{"id": p.ID, "creation_time": stamp(p.Created), "update_time": updated, "hard": map[string]int64{"storage": p.quota},
		"used": map[string]int64{"storage": used}, "ref": map[string]any{"id": p.ID, "name": p.Name, "owner_name": ""}}
}

func (h *Harbor) listQuotas(w http.ResponseWriter, r *http.Request) {
	kind, id := cmp.Or(r.URL.Query().Get("reference"), "project"), r.URL.Query().Get("reference_id")
	h.db.mu.Lock()
	views := []map[string]any{}
	for _, p := range h.db.projects {
		if kind == "project" && (id == "" || id == strconv.Itoa(p.ID)) {
			views = append(views, p.quotaView(stamp(p.Created)))
		}
	}
	h.db.mu.Unlock()
	writePage(w, r, views)
}

func (h *Harbor) withQuota(w http.ResponseWriter, r *http.Request, do func(*project)) {
	id := pathID(r, "id")
	h.db.mu.Lock()
	defer h.db.mu.Unlock()
	for _, p := range h.db.projects {
		if p.ID == id {
			do(p)
			return
		}
	}
	missing(w, "quota %s not found", r.PathValue("id"))
}

func (h *Harbor) getQuota(w http.ResponseWriter, r *http.Request) {
	h.withQuota(w, r, func(p *project) { writeJSON(w, http.StatusOK, apiJSON, p.quotaView(stamp(time.Time{}))) })
}

const maxQuota = 1 << 50

func (h *Harbor) putQuota(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Hard map[string]int64 `json:"hard"`
	}
	if !readBody(w, r, &body) {
		return
	}
	if body.Hard == nil {
		badRequest(w, "hard required in body")
		return
	}
	for resource, limit := range body.Hard {
		switch {
		case resource != "storage":
			badRequest(w, "resource %s not support", resource)
			return
		case limit == 0 || limit < -1:
			badRequest(w, "invalid non-positive value for quota limit, value=%d", limit)
			return
		case limit > maxQuota:
			badRequest(w, "exceeded 1024TB, which is 1125899906842624 Bytes, value=%d", limit)
			return
		}
	}
	h.withQuota(w, r, func(p *project) { p.quota = body.Hard["storage"] })
}
