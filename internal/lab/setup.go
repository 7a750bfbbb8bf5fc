package lab

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// CreateProject makes an empty project; nothing happens when it is there.
func (h *Harbor) CreateProject(name string, public bool) {
	h.db.mu.Lock()
	defer h.db.mu.Unlock()
	if h.db.projectLocked(name) == nil {
		h.addProject(name, map[string]string{"public": strconv.FormatBool(public)}, nil, -1, identity{user: 1, name: "admin"})
	}
}

// CreateCache makes a proxy-cache project of the registry at url, which gets the
// project's name without "cache-". kind is Harbor's registry type: "docker-hub" or
// "docker-registry".
func (h *Harbor) CreateCache(name, kind, url string, public bool) error {
	rec := &registryRecord{Name: strings.TrimPrefix(name, "cache-"), Type: kind, URL: url, Insecure: true}
	if h.source(rec) == nil {
		return fmt.Errorf("create cache %s: %q is no registry's address", name, url)
	}
	h.db.mu.Lock()
	defer h.db.mu.Unlock()
	h.db.addRegistry(rec)
	h.addProject(name, map[string]string{"public": strconv.FormatBool(public)}, rec, -1, identity{user: 1, name: "admin"})
	return nil
}

// CreateRobot makes a robot with a chosen secret that may do the actions (pull,
// push, delete) in the project; project "*" makes it a robot of the system that
// may do them in every project. It returns the name to log in with.
func (h *Harbor) CreateRobot(project, name, secret string, actions ...string) (username string) {
	rb := &robot{Name: project + "+" + name, Level: "project", Duration: -1, Permissions: []permission{permissionIn(project, actions)}}
	h.db.mu.Lock()
	defer h.db.mu.Unlock()
	if project == "*" {
		rb.Name, rb.Level = name, "system"
	} else if p := h.db.projectLocked(project); p != nil {
		rb.project = p.ID
	}
	h.db.addRobot(rb, secret)
	return h.db.fullName(rb)
}

// CreateSystemRobot makes a robot of the system that may nothing yet (Grant). It returns the
// name to log in with.
func (h *Harbor) CreateSystemRobot(name, secret string) (username string) {
	rb := &robot{Name: name, Level: "system", Duration: -1}
	h.db.mu.Lock()
	defer h.db.mu.Unlock()
	h.db.addRobot(rb, secret)
	return h.db.fullName(rb)
}

// Grant lets a robot do the actions in one more project, until that is deleted.
func (h *Harbor) Grant(username, project string, actions ...string) error {
	return h.changeRobot(username, func(rb *robot) {
		rb.Permissions = append(slices.Clone(rb.Permissions), permissionIn(project, actions))
	})
}

// Revoke takes what a robot was granted in a project away.
func (h *Harbor) Revoke(username, project string) error {
	return h.changeRobot(username, func(rb *robot) { rb.lose(project) })
}

// DisableRobot takes a robot's permission to log in away.
func (h *Harbor) DisableRobot(username string) error {
	return h.changeRobot(username, func(rb *robot) { rb.Disable = true })
}

func (h *Harbor) changeRobot(username string, change func(*robot)) error {
	h.db.mu.Lock()
	defer h.db.mu.Unlock()
	for _, rb := range h.db.robots {
		if h.db.fullName(rb) == username {
			change(rb)
			return nil
		}
	}
	return fmt.Errorf("there is no robot %s", username)
}

// permissionIn reads actions, as "pull" of a repository, or "tag:list".
func permissionIn(project string, actions []string) permission {
	perm := permission{Kind: "project", Namespace: project}
	for _, action := range actions {
		resource, of, named := strings.Cut(action, ":")
		if !named {
			resource, of = "repository", action
		}
		perm.Access = append(perm.Access, robotAccess{Action: of, Resource: resource})
	}
	return perm
}
