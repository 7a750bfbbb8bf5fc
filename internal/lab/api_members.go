package lab

import (
	"net/http"
	"slices"
	"strconv"
	"time"
)

// user is a user of Harbor's own database, or one that came with OIDC.
type user struct {
	ID                    int
	Name, Email, Realname string
	Comment               string
	created               time.Time
	password              string
}

// userGroup is a group that Harbor has heard of. Kind 1 is LDAP, 2 HTTP, 3 OIDC.
type userGroup struct {
	ID   int    `json:"id"`
	Name string `json:"group_name"`
	Kind int    `json:"group_type"`
	DN   string `json:"ldap_group_dn,omitempty"`
}

// member is a user (kind "u") or a group ("g") with a role in a project.
type member struct {
	ID     int
	kind   string
	entity int
	name   string
	role   int
}

func (h *Harbor) memberRoutes() []route {
	return []route{
		{method: "GET", path: "/projects/{project}/members", check: h.inProject("member", "list"), serve: h.listMembers},
		{method: "POST", path: "/projects/{project}/members", check: h.inProject("member", "create"), serve: h.postMember},
		{method: "GET", path: "/projects/{project}/members/{id}", check: h.inProject("member", "read"), serve: h.getMember},
		{method: "PUT", path: "/projects/{project}/members/{id}", check: h.inProject("member", "update"), serve: h.putMember},
		{method: "DELETE", path: "/projects/{project}/members/{id}", check: h.inProject("member", "delete"), serve: h.deleteMember},
		{method: "GET", path: "/usergroups", check: loggedIn, serve: h.listGroups},
		{method: "POST", path: "/usergroups", check: inSystem("user-group", "create"), serve: h.postGroup},
		{method: "GET", path: "/usergroups/{id}", check: inSystem("user-group", "read"), serve: h.getGroup},
		{method: "DELETE", path: "/usergroups/{id}", check: inSystem("user-group", "delete"), serve: h.deleteGroup},
		{method: "GET", path: "/users", check: inSystem("user", "list"), serve: h.listUsers},
		{method: "POST", path: "/users", check: inSystem("user", "create"), serve: h.postUser},
		{method: "DELETE", path: "/users/{id}", check: inSystem("user", "delete"), serve: h.deleteUser},
		{method: "GET", path: "/users/current", check: loggedIn, serve: h.getCurrentUser},
	}
}

func (p *project) memberView(m *member) map[string]any {
	return map[string]any{"id": m.ID, "project_id": p.ID, "entity_id": m.entity, "entity_name": m.name, "entity_type": m.kind, "role_id": m.role, "role_name": roleNames[m.role]}
}

// listMembers counts everybody, whatever entityname leaves.
func (h *Harbor) listMembers(c *apiCall) error {
	rows := []row{}
	for _, m := range c.project.members {
		if name := c.r.URL.Query().Get("entityname"); name == "" || name == m.name {
			rows = append(rows, row{c.project.memberView(m), map[string]any{"id": m.ID}})
		}
	}
	total := len(c.project.members)
	err := c.list(rows, "id")
	if err == nil {
		c.w.Header().Set("X-Total-Count", strconv.Itoa(total))
	}
	return err
}

func checkRole(role int) error {
	if roleNames[role] == "" {
		return badRequest("Failed to update project member, role is not in 1,2,3")
	}
	return nil
}

func (h *Harbor) postMember(c *apiCall) error {
	var body struct {
		Role int `json:"role_id"`
		User *struct {
			ID   int    `json:"user_id"`
			Name string `json:"username"`
		} `json:"member_user"`
		Group *userGroup `json:"member_group"`
	}
	if err := c.read("projectMember", &body); err != nil {
		return err
	}
	m := &member{kind: "u", role: body.Role}
	switch {
	case body.User != nil:
		for _, u := range append([]*user{{ID: 1, Name: "admin"}}, h.db.users...) {
			if u.ID == body.User.ID || body.User.ID == 0 && u.Name == body.User.Name {
				m.entity, m.name = u.ID, u.Name
			}
		}
		if m.entity == 0 {
			return missing("user %s is not found", body.User.Name)
		}
	case body.Group != nil:
		g, err := h.db.memberGroup(*body.Group)
		if err != nil {
			return err
		}
		m.kind, m.entity, m.name = "g", g.ID, g.Name
	default:
		return badRequest("Failed to create project member, invalid request")
	}
	if err := checkRole(body.Role); err != nil {
		return err
	}
	if slices.ContainsFunc(c.project.members, func(o *member) bool { return o.kind == m.kind && o.entity == m.entity }) {
		return conflict("The project member specified already exist")
	}
	m.ID = h.db.id("members")
	c.project.members = append(c.project.members, m)
	return c.created("/projects/%s/members/%d", c.r.PathValue("project"), m.ID)
}

// memberGroup finds the group, or makes it where the authentication has groups:
// under OIDC, as one of OIDC whatever it was said to be.
func (d *database) memberGroup(asked userGroup) (*userGroup, error) {
	name := asked.Name
	if asked.DN != "" {
		name = asked.DN
	}
	for _, g := range d.groups {
		if asked.ID == g.ID || asked.ID == 0 && g.Name == name {
			return g, nil
		}
	}
	if asked.ID != 0 {
		return nil, missing("user group %d is not found", asked.ID)
	}
	if d.config["auth_mode"] != "oidc_auth" {
		return nil, missing("%s not found: not supported", name)
	}
	g := &userGroup{ID: d.id("usergroups"), Name: name, Kind: 3}
	d.groups = append(d.groups, g)
	return g, nil
}

// withMember runs do on the member that the path names.
func (c *apiCall) withMember(do func(m *member) error) error {
	for _, m := range c.project.members {
		if m.ID == c.id("id") {
			return do(m)
		}
	}
	return missing("the project member is not found, project id %d, member id %s", c.project.ID, c.r.PathValue("id"))
}

func (h *Harbor) getMember(c *apiCall) error {
	return c.withMember(func(m *member) error { return c.reply(c.project.memberView(m)) })
}

func (h *Harbor) putMember(c *apiCall) error {
	var body struct {
		Role int `json:"role_id"`
	}
	if err := c.read("role", &body); err != nil {
		return err
	}
	if err := checkRole(body.Role); err != nil {
		return err
	}
	return c.withMember(func(m *member) error {
		m.role = body.Role
		return nil
	})
}

func (h *Harbor) deleteMember(c *apiCall) error {
	return c.withMember(func(m *member) error {
		c.project.members = slices.DeleteFunc(c.project.members, func(o *member) bool { return o == m })
		return nil
	})
}

func (h *Harbor) listGroups(c *apiCall) error {
	rows := []row{}
	for _, g := range h.db.groups {
		if name := c.r.URL.Query().Get("group_name"); name == "" || name == g.Name {
			rows = append(rows, row{*g, map[string]any{"id": g.ID, "group_name": g.Name, "group_type": g.Kind}})
		}
	}
	return c.list(rows, "id")
}

func (h *Harbor) postGroup(c *apiCall) error {
	var g userGroup
	if err := c.read("usergroup", &g); err != nil {
		return err
	}
	switch {
	case g.Kind == 1:
		return badRequest("LDAP Group DN is not found: DN:%s", g.DN)
	case slices.ContainsFunc(h.db.groups, func(o *userGroup) bool { return o.Name == g.Name }):
		return conflict("duplicate user group, group name:%s, group type: %d, ldap group DN: %s", g.Name, g.Kind, g.DN)
	}
	g.ID = h.db.id("usergroups")
	h.db.groups = append(h.db.groups, &g)
	return c.created("/usergroups/%d", g.ID)
}

// withGroup runs do on the group that the path names.
func (h *Harbor) withGroup(c *apiCall, do func(g *userGroup) error) error {
	for _, g := range h.db.groups {
		if g.ID == c.id("id") {
			return do(g)
		}
	}
	return missing("user group %s not found", c.r.PathValue("id"))
}

func (h *Harbor) getGroup(c *apiCall) error {
	return h.withGroup(c, func(g *userGroup) error { return c.reply(*g) })
}

func (h *Harbor) deleteGroup(c *apiCall) error {
	return h.withGroup(c, func(g *userGroup) error {
		h.db.groups = slices.DeleteFunc(h.db.groups, func(o *userGroup) bool { return o == g })
		return nil
	})
}

func (u *user) view(admin bool) map[string]any {
	v := map[string]any{"user_id": u.ID, "username": u.Name, "realname": u.Realname, "email": u.Email, "comment": u.Comment, "sysadmin_flag": admin,
		"admin_role_in_auth": false, "creation_time": stamp(u.created), "update_time": stamp(u.created)}
	for k, value := range v {
		if value == "" {
			delete(v, k)
		}
	}
	return v
}

func (h *Harbor) administrator() *user {
	return &user{ID: 1, Name: "admin", Realname: "system admin", Comment: "admin user", created: h.started}
}

func (h *Harbor) listUsers(c *apiCall) error {
	admin := h.administrator()
	rows := []row{{admin.view(true), map[string]any{"username": admin.Name, "user_id": 1}}}
	for _, u := range h.db.users {
		rows = append(rows, row{u.view(false), map[string]any{"username": u.Name, "user_id": u.ID, "email": u.Email}})
	}
	return c.list(rows, "user_id")
}

func (h *Harbor) postUser(c *apiCall) error {
	var body struct{ Username, Email, Realname, Password, Comment string }
	if err := c.read("userReq", &body); err != nil {
		return err
	}
	switch mode := h.db.config["auth_mode"]; {
	case mode != "db_auth":
		return refusal(http.StatusForbidden, "creating local user is not allowed under auth mode: %v", mode)
	case !strongSecret(body.Password):
		return badRequest("the password or secret must be longer than 8 chars with at least 1 uppercase letter, 1 lowercase letter and 1 number")
	case slices.ContainsFunc(h.db.users, func(u *user) bool { return u.Name == body.Username || u.Email == body.Email }):
		return conflict("user %s or email %s already exists", body.Username, body.Email)
	}
	u := &user{ID: h.db.id("users"), Name: body.Username, Email: body.Email, Realname: body.Realname, Comment: body.Comment, created: h.db.now(), password: body.Password}
	h.db.users = append(h.db.users, u)
	return c.created("/users/%d", u.ID)
}

func (h *Harbor) deleteUser(c *apiCall) error {
	i := slices.IndexFunc(h.db.users, func(u *user) bool { return u.ID == c.id("id") })
	if i < 0 {
		return missing("user %s not found", c.r.PathValue("id"))
	}
	h.db.users = slices.Delete(h.db.users, i, i+1)
	return nil
}

func (h *Harbor) getCurrentUser(c *apiCall) error {
	if c.who.robot != nil {
		return precondition("get current user not available for security context: robot")
	}
	for _, u := range h.db.users {
		if u.ID == c.who.user {
			return c.reply(u.view(false))
		}
	}
	admin := h.administrator()
	return c.reply(admin.view(true))
}
