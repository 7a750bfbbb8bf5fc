package lab

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"example.org/breakwater/internal/trial"
)

func replicationSetup(w *world) {
	w.user("18081", 3, "dev1", "Devel0per1")
	w.project("18081", 31, "qp", false, 0)
	w.project("18081", 38, "multi-dc-repo2", false, 0)
	w.project("18082", 5, "multi-dc-repo2", false, 0)
	peer := w.harbors["18082"]
	peer.CreateRobot("multi-dc-repo2", "sync", "09IPoChAaQZN0QnT2O1Y8m2Ne9wBfiXF", "pull", "push", "list")
	peer.db.robots[0].Permissions[0].Access = append(peer.db.robots[0].Permissions[0].Access, robotAccess{Action: "list", Resource: "artifact"})
	w.registry("18081", 12, "dc2-admin", "harbor", "http://127.0.0.1:18082", credential{"admin", "Harbor12345", "basic"})
	w.registry("18081", 14, "hub-stand-in", "docker-registry", "http://127.0.0.1:15000", credential{})
	for id := 1; id <= 2; id++ {
		db := w.harbors["18081"].db
		db.policies = append(db.policies, &policy{ID: id, Name: strings.Repeat("old", id), Destination: 12})
	}
}

// settle waits for what was set off, and for its status.
func (w *world) settle() {
	for _, port := range []string{"18081", "18082", "18081"} {
		w.harbors[port].Idle()
	}
	w.clock.Add(int64(5 * time.Second))
}

var release func()

var replicationSteps = map[string]func(*world){
	"replication-30-executions-of-event-policy": func(w *world) {
		w.sequence("18081", "executions", 128)
		for table, next := range map[string]int{"artifacts": 8, "tags": 6, "repositories": 6} {
			w.sequence("18082", table, next)
		}
		w.image("18081", "multi-dc-repo2/team/app", "v1", "001f1b", numbers{})
		w.harbors["18081"].Idle()
	},
	"replication-31-start-execution": func(w *world) {
		w.sequence("18081", "tasks", 130)
		release = w.harbors["18081"].Hold()
	},
	"replication-33-execution-get-done": func(w *world) {
		release()
		w.settle()
	},
	"replication-42-start-disabled-policy": func(w *world) {
		w.harbors["18081"].db.policy(7).Enabled = false
	},
	"replication-44-no-match-done": func(w *world) { w.settle() },
	"replication-59-event-delete-propagation-off": func(w *world) {
		w.sequence("18081", "executions", 139)
		w.image("18081", "multi-dc-repo2/team/app", "v2", "2", numbers{})
		w.settle()
	},
	"replication-62-executions-burst": func(w *world) {
		for i, id := range []int{150, 151, 152, 155, 156} {
			w.sequence("18081", "executions", id)
			w.image("18081", "multi-dc-repo2/burst", "b"+text(i), text(i), numbers{})
			w.harbors["18081"].Idle()
		}
	},
	"replication-47-slow-start": func(w *world) {
		h := w.harbors["18081"]
		h.pushImage(w.t, "qp/slow", "v1", "{}", strings.Repeat("slow", 1<<18))
		w.sequence("18081", "tasks", 187)
	},
	"replication-48-slow-running": func(w *world) {
		h := w.harbors["18081"]
		trial.Until(w.t, func() error {
			h.db.mu.Lock()
			defer h.db.mu.Unlock()
			if n := len(h.db.executions[len(h.db.executions)-1].tasks); n != 1 {
				return fmt.Errorf("%d tasks", n)
			}
			return nil
		})
	},
	"replication-56-delete-policy": func(w *world) {
		w.harbors["18081"].call(w.t, http.StatusOK, http.MethodPut, "/api/v2.0/replication/executions/185", "", nil)
	},
	"replication-64-policy-delete-propagation-get": func(w *world) {
		w.sequence("18081", "policies", 23)
		w.harbors["18081"].call(w.t, http.StatusCreated, http.MethodPost, "/api/v2.0/replication/policies", `{"name":"wh-push-out","dest_registry":{"id":12},"dest_namespace":"whdst",
			"dest_namespace_replace_count":1,"trigger":{"type":"event_based"},"enabled":true,"override":true,"deletion":true,
			"filters":[{"type":"name","value":"wh/app"},{"type":"tag","value":"v*"}],"speed":-1}`, nil)
	},
	"replication-71-robot-without-rights-execution": func(w *world) {
		w.sequence("18081", "executions", 231)
		w.harbors["18081"].call(w.t, http.StatusCreated, http.MethodPost, "/api/v2.0/replication/executions", `{"policy_id":27}`, nil)
		w.settle()
	},
}
