package lab

import (
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

func (h *Harbor) projectRoutes() []route {
	return []route{
		{method: "GET", path: "/projects", serve: h.listProjects},
		{method: "HEAD", path: "/projects", check: loggedIn, serve: h.headProject},
		{method: "POST", path: "/projects", check: loggedIn, serve: h.postProject},
		{method: "GET", path: "/projects/{project}", check: h.inProject("project", "read"), serve: h.getProject},
		{method: "PUT", path: "/projects/{project}", check: h.inProject("project", "update"), serve: h.putProject},
		{method: "DELETE", path: "/projects/{project}", check: h.inProject("project", "delete"), serve: h.deleteProject},
		{method: "GET", path: "/projects/{project}/_deletable", check: h.inProject("project", "delete"), serve: h.getDeletable},
		{method: "GET", path: "/projects/{project}/summary", check: h.inProject("project", "read"), serve: h.getSummary},
		{method: "GET", path: "/projects/{project}/metadatas/", check: h.inProject("metadata", "list"), serve: h.listMetadata},
		{method: "POST", path: "/projects/{project}/metadatas/", check: h.inProject("metadata", "create"), serve: h.postMetadata},
		{method: "GET", path: "/projects/{project}/metadatas/{key}", check: h.inProject("metadata", "read"), serve: h.getMetadata},
		{method: "PUT", path: "/projects/{project}/metadatas/{key}", check: h.inProject("metadata", "update"), serve: h.putMetadata},
		{method: "DELETE", path: "/projects/{project}/metadatas/{key}", check: h.inProject("metadata", "delete"), serve: h.deleteMetadata},
		{method: "GET", path: "/quotas", check: inSystem("quota", "list"), serve: h.listQuotas},
		{method: "GET", path: "/quotas/{id}", check: inSystem("quota", "read"), serve: h.getQuota},
		{method: "PUT", path: "/quotas/{id}", check: inSystem("quota", "update"), serve: h.putQuota},
	}
}

var (
	projectName = regexp.MustCompile(`^[a-z0-9]+(?:[._-][a-z0-9]+)*$`)
	severities  = []string{"none", "low", "medium", "high", "critical"}
)

// metadataKeys are what a project may be told; the value says what it must be.
var metadataKeys = map[string]string{"public": "bool", "enable_content_trust": "bool", "enable_content_trust_cosign": "bool", "prevent_vul": "bool",
	"auto_scan": "bool", "auto_sbom_generation": "bool", "reuse_sys_cve_allowlist": "bool", "severity": "severity", "retention_id": "number",
	"proxy_speed_kb": "number", "proxy_cache_local_on_not_found": "bool"}

// view is the project as one who may see it sees it.
func (p *project) view(who identity) map[string]any {
	v := map[string]any{"project_id": p.ID, "name": p.Name, "owner_id": 1, "owner_name": p.Owner, "creation_time": stamp(p.Created), "update_time": stamp(p.Updated),
		"repo_count": len(p.repos), "metadata": p.Metadata, "current_user_role_ids": nil,
		"cve_allowlist": map[string]any{"creation_time": stamp(time.Time{}), "id": p.ID, "items": []string{}, "project_id": p.ID, "update_time": stamp(time.Time{})}}
	role := p.role(who.user)
	if who.admin {
		role = roleAdmin
	}
	if role != 0 {
		v["current_user_role_id"], v["current_user_role_ids"] = role, []int{role}
	}
	if p.Registry != 0 {
		v["registry_id"] = p.Registry
	}
	return v
}

// listProjects lists what the caller may see: robots of all projects see all, as
// administrators do, other robots theirs and the public ones, nobody the public ones.
func (h *Harbor) listProjects(c *apiCall) error {
	query := c.r.URL.Query()
	rows := []row{}
	for _, p := range h.db.projects {
		if !c.who.sees(p) || !strings.Contains(p.Name, query.Get("name")) || query.Has("public") && query.Get("public") != strconv.FormatBool(p.public()) ||
			query.Has("owner") && query.Get("owner") != p.Owner {
			continue
		}
		rows = append(rows, row{p.view(c.who), map[string]any{"name": p.Name, "project_id": p.ID, "creation_time": p.Created, "update_time": p.Updated,
			"public": p.public(), "owner": p.Owner, "repo_count": len(p.repos)}})
	}
	return c.list(rows, "name")
}

func (h *Harbor) headProject(c *apiCall) error {
	name := c.r.URL.Query().Get("project_name")
	if h.db.projectLocked(name) == nil {
		return missing("project %s not found", name)
	}
	return nil
}

// projectBody is what POST and PUT take.
type projectBody struct {
	Name     string            `json:"project_name"`
	Public   *bool             `json:"public"`
	Registry *int              `json:"registry_id"`
	Limit    *int64            `json:"storage_limit"`
	Metadata map[string]string `json:"-"`
}

// readProject reads a project's body. Unknown keys of its metadata are dropped.
func (c *apiCall) readProject() (body projectBody, err error) {
	type ProjectMetadata struct {
		Public                    *string `json:"public"`
		EnableContentTrust        *string `json:"enable_content_trust"`
		EnableContentTrustCosign  *string `json:"enable_content_trust_cosign"`
		PreventVul                *string `json:"prevent_vul"`
		Severity                  *string `json:"severity"`
		AutoScan                  *string `json:"auto_scan"`
		AutoSbomGeneration        *string `json:"auto_sbom_generation"`
		ReuseSysCveAllowlist      *string `json:"reuse_sys_cve_allowlist"`
		RetentionID               *string `json:"retention_id"`
		ProxySpeedKb              *string `json:"proxy_speed_kb"`
		ProxyCacheLocalOnNotFound *string `json:"proxy_cache_local_on_not_found"`
	}
	var read struct {
		projectBody
		Metadata ProjectMetadata `json:"metadata"`
	}
	if err := c.read("project", &read); err != nil {
		return body, err
	}
	if len(read.Name) > 255 {
		return body, invalid("validation failure list:\nproject_name in body should be at most 255 chars long")
	}
	body, m := read.projectBody, read.Metadata
	body.Metadata = map[string]string{}
	for key, value := range map[string]*string{"public": m.Public, "enable_content_trust": m.EnableContentTrust, "enable_content_trust_cosign": m.EnableContentTrustCosign,
		"prevent_vul": m.PreventVul, "severity": m.Severity, "auto_scan": m.AutoScan, "auto_sbom_generation": m.AutoSbomGeneration,
		"reuse_sys_cve_allowlist": m.ReuseSysCveAllowlist, "proxy_speed_kb": m.ProxySpeedKb, "proxy_cache_local_on_not_found": m.ProxyCacheLocalOnNotFound} {
		if value != nil {
			body.Metadata[key] = *value
		}
	}
	if s, ok := body.Metadata["severity"]; ok && !slices.Contains(severities, s) {
		body.Metadata["severity"] = "unknown"
	}
	return body, nil
}

func (h *Harbor) postProject(c *apiCall) error {
	if c.who.robot != nil && c.who.robot.Level != "system" {
		return refusal(http.StatusForbidden, "Only system level robot can create project")
	}
	body, err := c.readProject()
	if err != nil {
		return err
	}
	// Where everybody may, a robot of the system may whatever it was given.
	if !c.who.admin && h.db.config["project_creation_restriction"] == "adminonly" && !c.who.inSystem("project", "create") {
		return refusal(http.StatusForbidden, "Only system admin can create project")
	}
	if len(body.Name) == 0 {
		return badRequest("Project name %s is illegal in length. (greater than 255 or less than 1)", body.Name)
	}
	if !projectName.MatchString(body.Name) {
		return badRequest("project name is not in lower case or contains illegal characters")
	}
	limit, _ := h.db.config["storage_per_project"].(int64)
	if body.Limit != nil && *body.Limit != 0 && c.who.user <= 1 {
		if err := checkLimit(*body.Limit); err != nil {
			return badRequest("bad request: %v", err)
		}
		limit = *body.Limit
	}
	var upstream *registryRecord
	if body.Registry != nil && *body.Registry != 0 {
		if upstream = h.db.registry(*body.Registry); upstream == nil {
			return broken()
		}
		if !slices.Contains(proxyTypes, upstream.Type) {
			return badRequest("bad request: unsupported registry type %s", upstream.Type)
		}
	} else {
		delete(body.Metadata, "proxy_speed_kb")
	}
	if h.db.projectLocked(body.Name) != nil {
		return conflict("The project named %s already exists", body.Name)
	}
	if body.Public != nil && body.Metadata["public"] == "" {
		body.Metadata["public"] = strconv.FormatBool(*body.Public)
	}
	p := h.addProject(body.Name, body.Metadata, upstream, limit, c.who)
	if c.r.Header.Get("X-Resource-Name-In-Location") == "true" {
		return c.created("/projects/%s", p.Name)
	}
	return c.created("/projects/%d", p.ID)
}

// addProject adds a project that is not there yet, the database locked.
func (h *Harbor) addProject(name string, metadata map[string]string, upstream *registryRecord, limit int64, owner identity) *project {
	now := h.db.now()
	p := &project{ID: h.db.id("projects"), Name: name, Metadata: metadata, Created: now, Updated: now, Owner: owner.name,
		repos: map[string]*repoRecord{}, blobs: map[string]int64{}, pending: map[string]*pendingPull{}}
	if p.Metadata["public"] == "" {
		p.Metadata["public"] = "false"
	}
	p.quota = quota{ID: h.db.id("quotas"), Hard: limit, updated: now}
	if owner.user == 0 {
		p.Owner = "admin"
	}
	p.members = []*member{{ID: h.db.id("members"), kind: "u", entity: max(owner.user, 1), name: p.Owner, role: roleAdmin}}
	if upstream != nil {
		p.Registry, p.hub = upstream.ID, upstream.Type == "docker-hub"
		p.upstream = h.source(upstream)
		h.db.addRetention(p, weekOfPulls(p.ID))
	}
	h.db.projects = append(h.db.projects, p)
	return p
}

func (h *Harbor) getProject(c *apiCall) error { return c.reply(c.project.view(c.who)) }

func (h *Harbor) putProject(c *apiCall) error {
	body, err := c.readProject()
	if err != nil {
		return err
	}
	if c.project.Registry == 0 {
		delete(body.Metadata, "proxy_speed_kb")
	}
	c.project.set(body.Metadata)
	return nil
}

// set changes metadata. The map is replaced: views that are being written hold it.
func (p *project) set(changes map[string]string) {
	all := map[string]string{}
	for _, m := range []map[string]string{p.Metadata, changes} {
		for k, v := range m {
			all[k] = v
		}
	}
	for k, v := range all {
		if v == "" {
			delete(all, k)
		}
	}
	p.Metadata = all
}

const notEmpty = "the project contains repositories, can not be deleted"

func (h *Harbor) deleteProject(c *apiCall) error {
	p := c.project
	if len(p.repos) > 0 {
		return precondition("precondition failed: " + notEmpty)
	}
	h.db.projects = slices.DeleteFunc(h.db.projects, func(q *project) bool { return q == p })
	h.db.robots = slices.DeleteFunc(h.db.robots, func(rb *robot) bool { return rb.project == p.ID })
	for _, rb := range h.db.robots { // one that is made again under the name is another project
		rb.lose(p.Name)
	}
	h.db.retentions = slices.DeleteFunc(h.db.retentions, func(t *retention) bool { return t.Scope.Ref == p.ID })
	return nil
}

func (h *Harbor) getDeletable(c *apiCall) error {
	if len(c.project.repos) > 0 {
		return c.reply(map[string]string{"message": notEmpty})
	}
	return c.reply(map[string]bool{"deletable": true})
}

func (h *Harbor) getSummary(c *apiCall) error {
	admins := 0
	for _, m := range c.project.members {
		if m.role == roleAdmin {
			admins++
		}
	}
	return c.reply(map[string]any{"project_admin_count": admins, "repo_count": len(c.project.repos), "quota": map[string]any{
		"hard": map[string]int64{"storage": c.project.quota.Hard}, "used": map[string]int64{"storage": c.project.used()}}})
}

func (h *Harbor) listMetadata(c *apiCall) error { return c.reply(c.project.Metadata) }

func (h *Harbor) getMetadata(c *apiCall) error {
	found := map[string]string{}
	if v, ok := c.project.Metadata[c.r.PathValue("key")]; ok {
		found[c.r.PathValue("key")] = v
	}
	return c.reply(found)
}

// readMetadata reads one key and its value.
func (c *apiCall) readMetadata() (key, value string, err error) {
	var body map[string]string
	if err := c.read("metadata", &body); err != nil {
		return "", "", err
	}
	if len(body) != 1 {
		return "", "", badRequest("only allow one key/value pair")
	}
	for key, value = range body {
	}
	kind, known := metadataKeys[key]
	if !known {
		return "", "", badRequest("invalid key: %s", key)
	}
	_, notBool := strconv.ParseBool(value)
	_, notNumber := strconv.Atoi(value)
	if kind == "bool" && notBool != nil || kind == "number" && notNumber != nil || kind == "severity" && !slices.Contains(severities, value) {
		return "", "", badRequest("invalid value: %s", value)
	}
	return key, value, nil
}

func (h *Harbor) postMetadata(c *apiCall) error {
	key, value, err := c.readMetadata()
	if err != nil {
		return err
	}
	if _, there := c.project.Metadata[key]; there {
		return conflict("metadata %s already exists for project %d", key, c.project.ID)
	}
	c.project.set(map[string]string{key: value})
	c.status = http.StatusOK
	return nil
}

func (h *Harbor) putMetadata(c *apiCall) error {
	key, value, err := c.readMetadata()
	if err == nil {
		c.project.set(map[string]string{key: value})
	}
	return err
}

func (h *Harbor) deleteMetadata(c *apiCall) error {
	c.project.set(map[string]string{c.r.PathValue("key"): ""})
	return nil
}
