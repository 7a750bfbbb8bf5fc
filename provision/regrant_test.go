package provision

import (
	"net/http"
	"slices"
	"testing"

	"example.org/breakwater/internal/lab"
)

// sees reports whether Harbor lists a project to the edge's robot.
func sees(t *testing.T, h *lab.Harbor, robot, project string) bool {
	t.Helper()
	var in []string
	for _, p := range found(t, h, "/robots", robot)["permissions"].([]any) {
		in = append(in, p.(map[string]any)["namespace"].(string))
	}
	return slices.Contains(in, project)
}

// Harbor drops a project that is deleted from the permissions of every robot, and one that is
// made again under its name is not in them. A plan says so, and apply grants the edge's robot
// the new one: whether somebody else has made it again, or the same run does.
func TestAProjectThatWasMadeAgainIsGrantedToTheEdge(t *testing.T) {
	const project = "multi-dc-repo1"
	f := newTestFleet(t)
	f.apply(t, Options{})
	k, name, h := Key{"dc1", kindRobot, "breakwater-edge"}, "robot$breakwater-edge", f.harbors["dc1"]
	if !sees(t, h, name, project) {
		t.Fatal("the edge's robot is not granted the project at first")
	}
	for what, again := range map[string]bool{"somebody makes it again": true, "this run makes it again": false} {
		call(t, h, http.MethodDelete, "/projects/"+project, nil)
		if again {
			call(t, h, http.MethodPost, "/projects", map[string]any{"project_name": project})
		}
		if sees(t, h, name, project) {
			t.Fatalf("%s: it is in the robot's permissions yet", what)
		}
		plan := f.apply(t, Options{})
		if !slices.ContainsFunc(plan.Changes, func(c Change) bool { return c.Key == k && c.Action == Update }) {
			t.Errorf("%s: the plan does not change the edge's robot", what)
		}
		if !sees(t, h, name, project) {
			t.Errorf("%s: it is not granted", what)
		}
		f.settled(t)
	}
}
