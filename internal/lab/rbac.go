package lab

import "slices"

// Harbor's roles in a project.
const (
	roleAdmin      = 1
	roleDeveloper  = 2
	roleGuest      = 3
	roleMaintainer = 4
	roleLimited    = 5
)

var roleNames = map[int]string{roleAdmin: "projectAdmin", roleDeveloper: "developer", roleGuest: "guest", roleMaintainer: "maintainer", roleLimited: "limitedGuest"}

// inSystem reports whether a robot may do this outside of projects. What users
// may, administrators may.
func (who identity) inSystem(resource, action string) bool {
	return who.robot != nil && slices.ContainsFunc(who.robot.Permissions, func(perm permission) bool {
		return perm.Kind == "system" && slices.Contains(perm.Access, robotAccess{Action: action, Resource: resource})
	})
}

// inProject reports whether the identity may do this in the project.
func (who identity) inProject(p *project, resource, action string) bool {
	switch {
	case who.admin:
		return true
	case who.token:
		return false
	case who.robot != nil && who.robot.in(p, robotAccess{Action: action, Resource: resource}):
		return true
	case who.user != 0 && roleMay(p.role(who.user), resource, action):
		return true
	}
	return p.public() && (action == "pull" || action == "read" || action == "list") &&
		slices.Contains([]string{"project", "repository", "artifact", "tag", "accessory", "metadata", "label"}, resource)
}

// in reports whether the robot was given this in the project.
func (rb *robot) in(p *project, access robotAccess) bool {
	return slices.ContainsFunc(rb.Permissions, func(perm permission) bool {
		return perm.Kind == "project" && (perm.Namespace == p.Name || perm.Namespace == "*") && slices.Contains(perm.Access, access)
	})
}

// lose takes away what the robot was given in a project by name; what it was given in all of
// them stays. The list is replaced: views that are being written hold it.
func (rb *robot) lose(project string) {
	rb.Permissions = slices.DeleteFunc(slices.Clone(rb.Permissions), func(perm permission) bool { return perm.Kind == "project" && perm.Namespace == project })
}

// role is that of a user in the project; 0: none.
func (p *project) role(user int) int {
	for _, m := range p.members {
		if m.kind == "u" && m.entity == user {
			return m.role
		}
	}
	return 0
}

// roleMay is Harbor's table of roles, as far as the stand-in has resources for it.
func roleMay(role int, resource, action string) bool {
	reads := action == "read" || action == "list" || action == "pull"
	content := slices.Contains([]string{"repository", "artifact", "tag", "accessory", "artifact-label"}, resource)
	private := slices.Contains([]string{"robot", "notification-policy", "tag-retention", "immutable-tag", "preheat-policy"}, resource)
	switch role {
	case roleAdmin:
		return true
	case roleMaintainer:
		return resource != "preheat-policy" && (reads || content || private && resource != "robot" || resource == "label")
	case roleDeveloper:
		return reads && !private || content && (action == "push" || action == "create")
	case roleGuest, roleLimited:
		return reads && !private
	}
	return false
}

// sees reports whether the project is on the identity's lists.
func (who identity) sees(p *project) bool {
	return p.public() || who.admin || who.user != 0 && p.role(who.user) != 0 ||
		who.robot != nil && slices.ContainsFunc(who.robot.Permissions, func(perm permission) bool {
			return perm.Kind == "project" && (perm.Namespace == "*" || perm.Namespace == p.Name)
		})
}
