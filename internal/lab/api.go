package lab

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

const (
	apiJSON  = "application/json"
	coreJSON = "application/json; charset=utf-8"
)

// serveAPI is the management API that the edge, the lab and tests need.
func (h *Harbor) serveAPI(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/api/version" {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		io.WriteString(w, `{"version":"v2.0"}`+"\n") //nolint:errcheck // the client is gone
		return
	}
	mux := http.NewServeMux()
	open := func(pattern string, serve http.HandlerFunc) { mux.HandleFunc(pattern, serve) }
	admin := func(pattern string, serve http.HandlerFunc) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			switch who, _ := h.identify(r); {
			case who.admin:
				serve(w, r)
			case who.name == "" || who.token:
				coreError(w, http.StatusUnauthorized, "UNAUTHORIZED", "unauthorized")
			default:
				coreError(w, http.StatusForbidden, "FORBIDDEN", "forbidden")
			}
		})
	}
	open("GET /api/v2.0/health", h.serveHealth)
	open("GET /api/v2.0/ping", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, "Pong") //nolint:errcheck // the client is gone
	})
	open("GET /api/v2.0/systeminfo", h.serveSystemInfo)
	admin("GET /api/v2.0/users/current", h.serveCurrentUser)
	admin("POST /api/v2.0/projects", h.postProject)
	open("GET /api/v2.0/projects", h.listProjects)
	admin("HEAD /api/v2.0/projects", h.headProject)
	admin("GET /api/v2.0/projects/{name}", h.getProject)
	admin("DELETE /api/v2.0/projects/{name}", h.deleteProject)
	admin("POST /api/v2.0/robots", h.postRobot)
	admin("GET /api/v2.0/robots", h.listRobots)
	admin("GET /api/v2.0/robots/{id}", h.getRobot)
	admin("PATCH /api/v2.0/robots/{id}", h.patchRobot)
	admin("DELETE /api/v2.0/robots/{id}", h.deleteRobot)
	admin("POST /api/v2.0/registries", h.postRegistry)
	admin("GET /api/v2.0/registries", h.listRegistries)
	if strings.HasPrefix(r.URL.Path, "/api/") {
		open("/", func(w http.ResponseWriter, r *http.Request) {
			coreError(w, http.StatusNotFound, "NOT_FOUND", fmt.Sprintf("path %s was not found", r.URL.Path))
		})
	} else {
		open("/", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			io.WriteString(w, "<!doctype html><html><head><title>Harbor</title></head><body>The portal of a stand-in.</body></html>\n") //nolint:errcheck // the client is gone
		})
	}
	mux.ServeHTTP(w, r)
}

func readBody(w http.ResponseWriter, r *http.Request, v any) bool {
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(v); err != nil {
		coreError(w, http.StatusUnprocessableEntity, "UNPROCESSABLE_ENTITY", "parsing body body from \"\" failed, because "+err.Error())
		return false
	}
	return true
}

func created(w http.ResponseWriter, location string) {
	w.Header().Set("Location", location)
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusCreated)
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// healthLag is how far Harbor's health is behind the truth.
const healthLag = 10 * time.Second

// serveHealth is 200 whatever it says.
func (h *Harbor) serveHealth(w http.ResponseWriter, r *http.Request) {
	type component struct {
		Error  string `json:"error,omitempty"`
		Name   string `json:"name"`
		Status string `json:"status"`
	}
	const redisGone = "dial tcp 127.0.0.1:56379: connect: connection refused"
	down := func(fault string) bool { return h.faults.lasting(r, fault, healthLag) }
	all := []component{}
	status := "healthy"
	for _, name := range []string{"core", "database", "jobservice", "portal", "redis", "registry", "registryctl"} {
		c := component{Name: name, Status: "healthy"}
		switch {
		case name == "database" && down("db-down"):
			c.Error = "failed to run SQL \"SELECT 1\": " + databaseGone
		case name == "redis" && down("redis-down"):
			c.Error = redisGone
		case name == "jobservice" && down("redis-down"):
			c.Error = `received unexpected status code: 500 {"code":10004,"message":"check stats of server failed with error","details":"` + redisGone + `"}`
		case name == "registry" && down("registry-down"):
			c.Error = "dial tcp 127.0.0.1:5000: connect: connection refused"
		}
		if c.Error != "" {
			c.Status, status = "unhealthy", "unhealthy"
		}
		all = append(all, c)
	}
	writeJSON(w, http.StatusOK, apiJSON, map[string]any{"components": all, "status": status})
}

func (h *Harbor) serveSystemInfo(w http.ResponseWriter, r *http.Request) {
	info := map[string]any{"auth_mode": "db_auth", "banner_message": "", "oidc_provider_name": "", "primary_auth_mode": false, "self_registration": false}
	if who, _ := h.identify(r); who.admin {
		more := map[string]any{
			"current_time": stamp(time.Now()), "external_url": h.cfg.Scheme + "://" + r.Host, "harbor_version": "v2.15.2-080b0220",
			"has_ca_root": false, "notification_enable": true, "project_creation_restriction": "everyone", "read_only": false,
			"registry_storage_provider_name": "filesystem", "registry_url": r.Host,
		}
		for k, v := range more {
			info[k] = v
		}
	}
	writeJSON(w, http.StatusOK, apiJSON, info)
}

func (h *Harbor) serveCurrentUser(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, apiJSON, map[string]any{"admin_role_in_auth": false, "comment": "admin user", "realname": "system admin",
		"sysadmin_flag": true, "user_id": 1, "username": "admin", "creation_time": stamp(time.Now()), "update_time": stamp(time.Now())})
}

func (p *project) view() map[string]any {
	v := map[string]any{"project_id": p.ID, "name": p.Name, "owner_name": "admin", "creation_time": stamp(p.Created), "update_time": stamp(p.Created),
		"repo_count": len(p.repos), "metadata": map[string]string{"public": strconv.FormatBool(p.Public)}}
	if p.Registry != 0 {
		v["registry_id"] = p.Registry
	}
	return v
}

func (h *Harbor) postProject(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Name     string            `json:"project_name"`
		Registry int               `json:"registry_id"`
		Metadata map[string]string `json:"metadata"`
	}
	if !readBody(w, r, &body) {
		return
	}
	var upstream *registryRecord
	if body.Registry != 0 {
		if upstream = h.db.registry(body.Registry); upstream == nil {
			coreError(w, http.StatusInternalServerError, "UNKNOWN", "internal server error")
			return
		}
	}
	p := h.addProject(body.Name, body.Metadata["public"] == "true", upstream)
	if p == nil {
		coreError(w, http.StatusConflict, "CONFLICT", fmt.Sprintf("The project named %s already exists", body.Name))
		return
	}
	created(w, fmt.Sprintf("/api/v2.0/projects/%d", p.ID))
}

// listProjects lists what the caller may see: robots of all projects see all, as
// administrators do, other robots theirs and the public ones, nobody the public ones.
func (h *Harbor) listProjects(w http.ResponseWriter, r *http.Request) {
	if h.faults.component(r, "db-down") {
		coreError(w, http.StatusInternalServerError, "UNKNOWN", "internal server error")
		return
	}
	who, _ := h.identify(r)
	part, exact := r.URL.Query().Get("name"), ""
	if q, ok := strings.CutPrefix(r.URL.Query().Get("q"), "name="); ok {
		exact = q
		if fuzzy, ok := strings.CutPrefix(q, "~"); ok {
			part, exact = fuzzy, ""
		}
	}
	h.db.mu.Lock()
	views := []map[string]any{}
	for _, p := range h.db.projects {
		if (exact == "" || p.Name == exact) && strings.Contains(p.Name, part) && (p.Public || who.sees(p)) {
			views = append(views, p.view())
		}
	}
	h.db.mu.Unlock()
	w.Header().Set("X-Total-Count", strconv.Itoa(len(views)))
	writeJSON(w, http.StatusOK, apiJSON, views)
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
	name := r.URL.Query().Get("project_name")
	if h.db.project(name) == nil {
		coreError(w, http.StatusNotFound, "NOT_FOUND", fmt.Sprintf("project %s not found", name))
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

func (h *Harbor) projectOf(w http.ResponseWriter, r *http.Request) *project {
	name := r.PathValue("name")
	p := h.db.project(name)
	if p == nil {
		coreError(w, http.StatusNotFound, "NOT_FOUND", fmt.Sprintf("project %s not found", name))
	}
	return p
}

func (h *Harbor) deleteProject(w http.ResponseWriter, r *http.Request) {
	p := h.projectOf(w, r)
	if p == nil {
		return
	}
	h.db.mu.Lock()
	defer h.db.mu.Unlock()
	if len(p.repos) > 0 {
		coreError(w, http.StatusPreconditionFailed, "PRECONDITION", fmt.Sprintf("the project %d is not deletable: the project contains repositories, can not be deleted", p.ID))
		return
	}
	h.db.projects = slices.DeleteFunc(h.db.projects, func(q *project) bool { return q == p })
}

func (d *database) registry(id int) *registryRecord {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.registries {
		if r.ID == id {
			return r
		}
	}
	return nil
}

func (h *Harbor) postRegistry(w http.ResponseWriter, r *http.Request) {
	var rec registryRecord
	if !readBody(w, r, &rec) {
		return
	}
	rec.Created = time.Now()
	if rec.source() == nil {
		coreError(w, http.StatusBadRequest, "BAD_REQUEST", "bad request: invalid registry URL")
		return
	}
	h.db.mu.Lock()
	rec.ID = h.db.id("registry")
	h.db.registries = append(h.db.registries, &rec)
	h.db.mu.Unlock()
	created(w, fmt.Sprintf("/api/v2.0/registries/%d", rec.ID))
}

func (h *Harbor) listRegistries(w http.ResponseWriter, _ *http.Request) {
	h.db.mu.Lock()
	views := []map[string]any{}
	for _, r := range h.db.registries {
		shown := r.Credential
		if shown.AccessSecret != "" {
			shown.AccessSecret = "*****"
		}
		views = append(views, map[string]any{"id": r.ID, "name": r.Name, "type": r.Type, "url": r.URL, "insecure": r.Insecure, "status": "healthy",
			"credential": shown, "creation_time": stamp(r.Created), "update_time": stamp(r.Created)})
	}
	h.db.mu.Unlock()
	w.Header().Set("X-Total-Count", strconv.Itoa(len(views)))
	writeJSON(w, http.StatusOK, apiJSON, views)
}

// postRobot ignores a secret in the body, as Harbor does: it answers with one of its own.
func (h *Harbor) postRobot(w http.ResponseWriter, r *http.Request) {
	var rb robot
	if !readBody(w, r, &rb) {
		return
	}
	name := "robot$" + rb.Name
	if rb.Level == "project" && len(rb.Permissions) > 0 {
		name = "robot$" + rb.Permissions[0].Namespace + "+" + rb.Name
	}
	rb.Name, rb.Disable, rb.secret = name, false, rand.Text()+"aA1"
	rb.created = time.Now()
	rb.updated = rb.created
	h.db.mu.Lock()
	if slices.ContainsFunc(h.db.robots, func(o *robot) bool { return o.Name == name }) {
		h.db.mu.Unlock()
		coreError(w, http.StatusConflict, "CONFLICT", "conflict robot account")
		return
	}
	rb.ID = h.db.id("robot")
	h.db.robots = append(h.db.robots, &rb)
	h.db.mu.Unlock()
	w.Header().Set("Location", fmt.Sprintf("/api/v2.0/robots/%d", rb.ID))
	writeJSON(w, http.StatusCreated, apiJSON, map[string]any{"creation_time": stamp(rb.created), "expires_at": -1, "id": rb.ID, "name": rb.Name, "secret": rb.secret})
}

func (rb *robot) view() map[string]any {
	return map[string]any{"creation_time": stamp(rb.created), "creator_ref": 1, "creator_type": "local", "disable": rb.Disable, "duration": rb.Duration, "editable": true,
		"expires_at": -1, "id": rb.ID, "level": rb.Level, "name": rb.Name, "permissions": rb.Permissions, "update_time": stamp(rb.updated)}
}

func (h *Harbor) listRobots(w http.ResponseWriter, _ *http.Request) {
	h.db.mu.Lock()
	views := []map[string]any{}
	for _, rb := range h.db.robots {
		views = append(views, rb.view())
	}
	h.db.mu.Unlock()
	w.Header().Set("X-Total-Count", strconv.Itoa(len(views)))
	writeJSON(w, http.StatusOK, apiJSON, views)
}

// withRobot runs do on the robot that the path names, the database locked.
func (h *Harbor) withRobot(w http.ResponseWriter, r *http.Request, do func(*robot)) {
	id, _ := strconv.Atoi(r.PathValue("id"))
	h.db.mu.Lock()
	defer h.db.mu.Unlock()
	for _, rb := range h.db.robots {
		if rb.ID == id {
			do(rb)
			return
		}
	}
	coreError(w, http.StatusNotFound, "NOT_FOUND", fmt.Sprintf("robot %d not found", id))
}

func (h *Harbor) getRobot(w http.ResponseWriter, r *http.Request) {
	h.withRobot(w, r, func(rb *robot) { writeJSON(w, http.StatusOK, apiJSON, rb.view()) })
}

func (h *Harbor) deleteRobot(w http.ResponseWriter, r *http.Request) {
	h.withRobot(w, r, func(rb *robot) {
		h.db.robots = slices.DeleteFunc(h.db.robots, func(o *robot) bool { return o == rb })
	})
}

func (h *Harbor) patchRobot(w http.ResponseWriter, r *http.Request) {
	var body struct{ Secret string }
	if !readBody(w, r, &body) {
		return
	}
	answer := map[string]string{}
	if body.Secret == "" {
		body.Secret = rand.Text() + "aA1"
		answer["secret"] = body.Secret
	} else if !strongSecret(body.Secret) {
		coreError(w, http.StatusBadRequest, "BAD_REQUEST", "the secret must be 8-128, inclusively, characters long with at least 1 uppercase letter, 1 lowercase letter and 1 number")
		return
	}
	h.withRobot(w, r, func(rb *robot) {
		rb.secret, rb.updated = body.Secret, time.Now()
		writeJSON(w, http.StatusOK, apiJSON, answer)
	})
}

func strongSecret(s string) bool {
	return len(s) >= 8 && len(s) <= 128 && strings.ContainsFunc(s, unicode.IsUpper) && strings.ContainsFunc(s, unicode.IsLower) && strings.ContainsFunc(s, unicode.IsDigit)
}
