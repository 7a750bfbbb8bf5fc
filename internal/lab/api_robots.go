package lab

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

func (h *Harbor) routeRobots(admin apiRoute) {
	admin("POST /api/v2.0/robots", h.postRobot)
	admin("GET /api/v2.0/robots", h.listRobots)
	admin("GET /api/v2.0/robots/{id}", h.getRobot)
	admin("PUT /api/v2.0/robots/{id}", h.putRobot)
	admin("PATCH /api/v2.0/robots/{id}", h.patchRobot)
	admin("DELETE /api/v2.0/robots/{id}", h.deleteRobot)
}

// postRobot ignores a secret and disable in the body, as Harbor does: it answers with
// a secret of its own.
func (h *Harbor) postRobot(w http.ResponseWriter, r *http.Request) {
	var rb robot
	if !readBody(w, r, &rb) {
		return
	}
	h.db.mu.Lock()
	defer h.db.mu.Unlock()
	bare, owner := rb.Name, 0
	if rb.Level == "project" {
		if len(rb.Permissions) != 1 {
			badRequest(w, "bad request: permission must be only one when its level is project")
			return
		}
		rb.project = rb.Permissions[0].Namespace
		p := h.db.projectLocked(rb.project)
		if p == nil {
			missing(w, "project %s not found", rb.project)
			return
		}
		bare, owner = rb.project+"+"+rb.Name, p.ID
	}
	rb.Name, rb.Disable, rb.secret = h.db.text("robot_name_prefix", "robot$")+bare, false, rand.Text()+"aA1"
	rb.created = time.Now()
	rb.updated = rb.created
	if slices.ContainsFunc(h.db.robots, func(o *robot) bool { return o.Name == rb.Name }) {
		conflict(w, "robot account %d:%s already exists", owner, bare)
		return
	}
	rb.ID = h.db.id("robot")
	h.db.robots = append(h.db.robots, &rb)
	w.Header().Set("Location", fmt.Sprintf("/api/v2.0/robots/%d", rb.ID))
	writeJSON(w, http.StatusCreated, apiJSON, map[string]any{"creation_time": stamp(rb.created), "expires_at": -1, "id": rb.ID, "name": rb.Name, "secret": rb.secret})
}

func (rb *robot) view() map[string]any {
	v := map[string]any{"creation_time": stamp(rb.created), "creator_ref": 1, "creator_type": "local", "disable": rb.Disable, "duration": rb.Duration, "editable": true,
		"expires_at": -1, "id": rb.ID, "level": rb.Level, "name": rb.Name, "permissions": rb.Permissions, "update_time": stamp(rb.updated)}
	if rb.Description != "" {
		v["description"] = rb.Description
	}
	return v
}

// listRobots lists the system's robots, or those of the project that q names.
func (h *Harbor) listRobots(w http.ResponseWriter, r *http.Request) {
	q := filters(r)
	if q["level"] == "project" && q["projectid"] == "" {
		badRequest(w, "must with project ID when to query project robots")
		return
	}
	h.db.mu.Lock()
	views := []map[string]any{}
	for _, rb := range h.db.robots {
		bare := strings.TrimPrefix(rb.Name, h.db.text("robot_name_prefix", "robot$"))
		ofProject := false
		if p := h.db.projectLocked(rb.project); p != nil {
			ofProject = q["projectid"] == strconv.Itoa(p.ID)
		}
		if (q["level"] == "project" && ofProject || q["level"] != "project" && rb.project == "") && matches(q["name"], bare) {
			views = append(views, rb.view())
		}
	}
	h.db.mu.Unlock()
	writePage(w, r, views)
}

// withRobot runs do on the robot that the path names, the database locked.
func (h *Harbor) withRobot(w http.ResponseWriter, r *http.Request, do func(*robot)) {
	id := pathID(r, "id")
	h.db.mu.Lock()
	defer h.db.mu.Unlock()
	for _, rb := range h.db.robots {
		if rb.ID == id {
			do(rb)
			return
		}
	}
	missing(w, "robot %d not found", id)
}

func (h *Harbor) getRobot(w http.ResponseWriter, r *http.Request) {
	h.withRobot(w, r, func(rb *robot) { writeJSON(w, http.StatusOK, apiJSON, rb.view()) })
}

// putRobot wants the full name and all permissions.
func (h *Harbor) putRobot(w http.ResponseWriter, r *http.Request) {
	var body robot
	if !readBody(w, r, &body) {
		return
	}
	h.withRobot(w, r, func(rb *robot) {
		if body.Name != rb.Name || body.Level != rb.Level {
			badRequest(w, "cannot update the level or name of robot")
			return
		}
		rb.Description, rb.Disable, rb.Permissions, rb.Duration, rb.updated = body.Description, body.Disable, body.Permissions, body.Duration, time.Now()
	})
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
		badRequest(w, "the secret must be 8-128, inclusively, characters long with at least 1 uppercase letter, 1 lowercase letter and 1 number")
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
