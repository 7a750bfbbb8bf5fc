package lab

import (
	"fmt"
	"time"
)

// CreateProject makes an empty project; nothing happens when it is there.
func (h *Harbor) CreateProject(name string, public bool) { h.addProject(name, public, nil) }

// CreateCache makes a proxy-cache project of the registry at url. kind is
// Harbor's registry type: "docker-hub" or "docker-registry".
func (h *Harbor) CreateCache(name, kind, url string, public bool) error {
	rec := &registryRecord{Name: name, Type: kind, URL: url, Insecure: true, Created: time.Now()}
	if rec.source() == nil {
		return fmt.Errorf("create cache %s: %q is no registry's address", name, url)
	}
	h.db.mu.Lock()
	rec.ID = h.db.id("registry")
	h.db.registries = append(h.db.registries, rec)
	h.db.mu.Unlock()
	h.addProject(name, public, rec)
	return nil
}

// CreateRobot makes a robot with a chosen secret that may do the actions (pull,
// push, delete) in the project; project "*" makes it a robot of the system that
// may do them in every project. It returns the name to log in with.
func (h *Harbor) CreateRobot(project, name, secret string, actions ...string) (username string) {
	rb := &robot{Name: "robot$" + project + "+" + name, Level: "project", Duration: -1, project: project, secret: secret, created: time.Now()}
	if project == "*" {
		rb.project = ""
		rb.Name, rb.Level = "robot$"+name, "system"
	}
	perm := permission{Kind: "project", Namespace: project}
	for _, action := range actions {
		perm.Access = append(perm.Access, robotAccess{Action: action, Resource: "repository"})
	}
	rb.Permissions, rb.updated = []permission{perm}, rb.created
	h.db.mu.Lock()
	defer h.db.mu.Unlock()
	rb.ID = h.db.id("robot")
	h.db.robots = append(h.db.robots, rb)
	return rb.Name
}

// DisableRobot takes a robot's permission to log in away.
func (h *Harbor) DisableRobot(username string) error {
	h.db.mu.Lock()
	defer h.db.mu.Unlock()
	for _, rb := range h.db.robots {
		if rb.Name == username {
			rb.Disable = true
			return nil
		}
	}
	return fmt.Errorf("there is no robot %s", username)
}
