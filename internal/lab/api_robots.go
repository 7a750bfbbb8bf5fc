package lab

import (
	"crypto/rand"
	_ "embed" // the static answers
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// robot is a robot account; its name is kept without the prefix, as proj+ci.
type robot struct {
	ID          int
	Name        string
	Level       string
	Duration    int
	Disable     bool
	Description string
	Permissions []permission
	project     int // of a robot of the project level
	secret      string
	created     time.Time
	updated     time.Time
}

type permission struct {
	Access    []robotAccess `json:"access"`
	Kind      string        `json:"kind"`
	Namespace string        `json:"namespace"`
}

type robotAccess struct {
	Action   string `json:"action"`
	Effect   string `json:"effect,omitempty"`
	Resource string `json:"resource"`
}

//go:embed static/permissions.json
var permissionsJSON []byte

// knownPermissions are those that robots may have, by level.
var knownPermissions = func() (known map[string][]robotAccess) {
	if err := json.Unmarshal(permissionsJSON, &known); err != nil {
		panic(err)
	}
	return known
}()

func (h *Harbor) robotRoutes() []route {
	return []route{
		{method: "GET", path: "/permissions", check: loggedIn, serve: func(c *apiCall) error { return c.reply(json.RawMessage(permissionsJSON)) }},
		{method: "GET", path: "/robots", check: loggedIn, serve: h.listRobots},
		{method: "POST", path: "/robots", check: loggedIn, serve: h.postRobot},
		{method: "GET", path: "/robots/{id}", check: loggedIn, serve: h.getRobot},
		{method: "PUT", path: "/robots/{id}", check: loggedIn, serve: h.putRobot},
		{method: "PATCH", path: "/robots/{id}", check: loggedIn, serve: h.patchRobot},
		{method: "DELETE", path: "/robots/{id}", check: loggedIn, serve: h.deleteRobot},
	}
}

// fullName is the name that a robot logs in with.
func (d *database) fullName(rb *robot) string {
	prefix, _ := d.config["robot_name_prefix"].(string)
	return prefix + rb.Name
}

// expires is when the robot can no longer log in, in seconds since 1970; -1: never.
func (rb *robot) expires() int64 {
	if rb.Duration == -1 {
		return -1
	}
	return rb.created.AddDate(0, 0, rb.Duration).Unix()
}

func (rb *robot) expired(now time.Time) bool { return rb.Duration != -1 && rb.expires() <= now.Unix() }

func (d *database) robotView(rb *robot) map[string]any {
	v := map[string]any{"creation_time": stamp(rb.created), "creator_ref": 1, "creator_type": "local", "disable": rb.Disable, "duration": rb.Duration, "editable": true,
		"expires_at": rb.expires(), "id": rb.ID, "level": rb.Level, "name": d.fullName(rb), "permissions": rb.Permissions, "update_time": stamp(rb.updated)}
	if rb.Description != "" {
		v["description"] = rb.Description
	}
	return v
}

// mayRobot checks that the caller may do this with robots of the level.
func (h *Harbor) mayRobot(c *apiCall, level string, project int, action string) error {
	if c.who.admin || level == "system" && c.who.inSystem("robot", action) {
		return nil
	}
	for _, p := range h.db.projects {
		if level == "project" && p.ID == project && c.who.inProject(p, "robot", action) {
			return nil
		}
	}
	return refusal(403, "forbidden")
}

func (h *Harbor) listRobots(c *apiCall) error {
	filters, err := parseQ(c.r.URL.Query().Get("q"))
	if err != nil {
		return err
	}
	level, project := "system", 0
	for _, f := range filters {
		switch f.key {
		case "level":
			level = f.values[0]
		case "projectid":
			project, _ = strconv.Atoi(f.values[0])
		}
	}
	if level == "project" && project == 0 {
		return badRequest("must with project ID when to query project robots")
	}
	if err := h.mayRobot(c, level, project, "list"); err != nil {
		return err
	}
	rows := []row{}
	for _, rb := range h.db.robots {
		if rb.Level == level && rb.project == project {
			rows = append(rows, row{h.db.robotView(rb), map[string]any{"id": rb.ID, "name": rb.Name, "creation_time": rb.created, "disable": rb.Disable}})
		}
	}
	return c.list(rows, "id")
}

// robotBody is what POST and PUT take. A secret in it is ignored.
type robotBody struct {
	Name        string
	Level       string
	Duration    *int
	Disable     bool
	Description string
	Permissions []permission
}

func (b *robotBody) validate() error {
	if b.Duration != nil && *b.Duration != -1 && *b.Duration <= 0 {
		return badRequest("bad request error duration input: %d, duration must be either -1(Never) or a positive integer", *b.Duration)
	}
	if b.Level != "system" && b.Level != "project" {
		return badRequest("bad request error level input: %s", b.Level)
	}
	if len(b.Permissions) == 0 {
		return badRequest("bad request empty permission")
	}
	for _, perm := range b.Permissions {
		if len(perm.Access) == 0 {
			return badRequest("bad request empty access")
		}
	}
	if b.Level == "project" && len(b.Permissions) > 1 {
		return badRequest("bad request permission")
	}
	for _, perm := range b.Permissions {
		known, ok := knownPermissions[perm.Kind]
		if !ok {
			return badRequest("bad request permission level: %s", perm.Kind)
		}
		for _, a := range perm.Access {
			if !slices.Contains(known, robotAccess{Action: a.Action, Resource: a.Resource}) {
				return badRequest("bad request permission: %s:%s", a.Resource, a.Action)
			}
		}
	}
	return nil
}

// postRobot ignores a secret and a disable in the body, as Harbor does: it answers
// with a secret of its own.
func (h *Harbor) postRobot(c *apiCall) error {
	var body robotBody
	if err := c.read("robot", &body); err != nil {
		return err
	}
	if !projectName.MatchString(body.Name) {
		return badRequest("robot name is not in lower case or contains illegal characters")
	}
	if err := body.validate(); err != nil {
		return err
	}
	rb := &robot{Name: body.Name, Level: body.Level, Duration: -1, Description: body.Description, Permissions: body.Permissions}
	if body.Duration != nil {
		rb.Duration = *body.Duration
	}
	if rb.Level == "project" {
		namespace := rb.Permissions[0].Namespace
		p := h.db.projectLocked(namespace)
		if p == nil {
			return missing("project %s not found", namespace)
		}
		rb.project, rb.Name = p.ID, p.Name+"+"+body.Name
	}
	if err := h.mayRobot(c, rb.Level, rb.project, "create"); err != nil {
		return err
	}
	if len(rb.Name) > 255 {
		return broken()
	}
	if slices.ContainsFunc(h.db.robots, func(o *robot) bool { return o.Name == rb.Name }) {
		return conflict("robot account %d:%s already exists", rb.project, rb.Name)
	}
	h.db.addRobot(rb, randomSecret())
	c.created("/robots/%d", rb.ID) //nolint:errcheck // never fails
	return c.reply(map[string]any{"creation_time": stamp(rb.created), "expires_at": rb.expires(), "id": rb.ID, "name": h.db.fullName(rb), "secret": rb.secret})
}

func (d *database) addRobot(rb *robot, secret string) {
	rb.ID, rb.secret, rb.created = d.id("robots"), secret, d.now()
	rb.updated = rb.created
	d.robots = append(d.robots, rb)
}

func randomSecret() string { return rand.Text() + "xYz789" }

// withRobot runs do on the robot that the path names.
func (h *Harbor) withRobot(c *apiCall, action string, do func(*robot) error) error {
	for _, rb := range h.db.robots {
		if rb.ID != c.id("id") {
			continue
		}
		if err := h.mayRobot(c, rb.Level, rb.project, action); err != nil {
			return err
		}
		return do(rb)
	}
	return missing("robot %s not found", c.r.PathValue("id"))
}

func (h *Harbor) getRobot(c *apiCall) error {
	return h.withRobot(c, "read", func(rb *robot) error { return c.reply(h.db.robotView(rb)) })
}

func (h *Harbor) deleteRobot(c *apiCall) error {
	return h.withRobot(c, "delete", func(rb *robot) error {
		h.db.robots = slices.DeleteFunc(h.db.robots, func(o *robot) bool { return o == rb })
		return nil
	})
}

// putRobot changes everything but the name, which must be the full one, the level
// and the secret.
func (h *Harbor) putRobot(c *apiCall) error {
	var body robotBody
	if err := c.read("robot", &body); err != nil {
		return err
	}
	return h.withRobot(c, "update", func(rb *robot) error {
		if err := body.validate(); err != nil {
			return err
		}
		if body.Level != rb.Level || body.Name != h.db.fullName(rb) {
			return badRequest("cannot update the level or name of robot")
		}
		if rb.Level == "project" && h.db.projectLocked(body.Permissions[0].Namespace) == nil {
			return missing("project %s not found", body.Permissions[0].Namespace)
		}
		if body.Duration != nil {
			rb.Duration = *body.Duration
		}
		rb.Disable, rb.Description, rb.Permissions, rb.updated = body.Disable, body.Description, body.Permissions, h.db.now()
		return nil
	})
}

// patchRobot sets the secret; without one it makes one up and says it.
func (h *Harbor) patchRobot(c *apiCall) error {
	var body struct{ Secret string }
	if err := c.read("robotSec", &body); err != nil {
		return err
	}
	return h.withRobot(c, "update", func(rb *robot) error {
		answer := map[string]string{}
		if body.Secret == "" {
			body.Secret = randomSecret()
			answer["secret"] = body.Secret
		} else if !strongSecret(body.Secret) {
			return badRequest("the secret must be 8-128, inclusively, characters long with at least 1 uppercase letter, 1 lowercase letter and 1 number")
		}
		rb.secret, rb.updated = body.Secret, h.db.now()
		return c.reply(answer)
	})
}

func strongSecret(s string) bool {
	return len(s) >= 8 && len(s) <= 128 && strings.ContainsFunc(s, unicode.IsUpper) && strings.ContainsFunc(s, unicode.IsLower) && strings.ContainsFunc(s, unicode.IsDigit)
}
