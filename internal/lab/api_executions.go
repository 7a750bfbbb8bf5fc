package lab

import (
	"net/http"
	"slices"
	"time"
)

func (h *Harbor) executionRoutes() []route {
	const path = "/replication/executions"
	return []route{
		{method: "GET", path: path, check: inSystem("replication", "list"), serve: h.listExecutions},
		{method: "POST", path: path, check: inSystem("replication", "create"), serve: h.postExecution},
		{method: "GET", path: path + "/{id}", check: inSystem("replication", "read"), serve: h.getExecution},
		{method: "PUT", path: path + "/{id}", check: inSystem("replication", "create"), serve: h.stopExecution},
		{method: "GET", path: path + "/{id}/tasks", check: inSystem("replication", "list"), serve: h.listTasks},
		{method: "GET", path: path + "/{id}/tasks/{task}/log", check: inSystem("replication", "read"), serve: h.getTaskLog},
	}
}

// final reports whether the execution says that it has ended: a while after its
// tasks have, unless it failed without any or was stopped.
func (h *Harbor) final(e *execution) bool {
	return e.stopped || e.ended && (e.failure != "" || !h.db.now().Before(e.end.Add(h.cfg.StatusLag)))
}

func (e *execution) count(status string) (n int) {
	for _, t := range e.tasks {
		if t.status == status {
			n++
		}
	}
	return n
}

func (h *Harbor) executionStatus(e *execution) string {
	switch {
	case e.stopped:
		return stopped
	case e.failure != "":
		return failed
	case !h.final(e):
		return inProgress
	case e.count(failed) > 0:
		return failed
	}
	return succeeded
}

func (h *Harbor) executionView(e *execution) map[string]any {
	end := time.Time{}
	if h.final(e) {
		end = e.end
	}
	return map[string]any{"id": e.ID, "policy_id": e.Policy, "trigger": e.Trigger, "status": h.executionStatus(e), "status_text": e.failure,
		"start_time": stamp(e.start), "end_time": stamp(end), "total": len(e.tasks), "in_progress": e.count(inProgress), "succeed": e.count(succeeded),
		"failed": e.count(failed), "stopped": e.count(stopped)}
}

func (h *Harbor) listExecutions(c *apiCall) error {
	query := c.r.URL.Query()
	rows := []row{}
	for _, e := range h.db.executions {
		v := h.executionView(e)
		if (!query.Has("policy_id") || query.Get("policy_id") == text(e.Policy)) && (!query.Has("status") || query.Get("status") == v["status"]) &&
			(!query.Has("trigger") || query.Get("trigger") == e.Trigger) {
			rows = append(rows, row{v, map[string]any{"id": e.ID, "start_time": e.start, "status": v["status"], "trigger": e.Trigger}})
		}
	}
	return c.list(rows, "-start_time,-id")
}

func (h *Harbor) postExecution(c *apiCall) error {
	var body struct {
		Policy int `json:"policy_id"`
	}
	if err := c.read("execution", &body); err != nil {
		return err
	}
	p := h.db.policy(body.Policy)
	switch {
	case p == nil:
		return missing("replication policy %d not found", body.Policy)
	case !p.Enabled:
		return precondition("the policy %d is disabled", p.ID)
	}
	return c.created("/replication/executions/%d", h.startExecution(p, "manual", c.who.name, 0, nil).ID)
}

func (h *Harbor) executionOf(c *apiCall) (*execution, error) {
	for _, e := range h.db.executions {
		if e.ID == c.id("id") {
			return e, nil
		}
	}
	return nil, missing("replication execution %s not found", c.r.PathValue("id"))
}

func (h *Harbor) getExecution(c *apiCall) error {
	e, err := h.executionOf(c)
	if err != nil {
		return err
	}
	return c.reply(h.executionView(e))
}

// stopExecution ends what runs at once; what has ended stays as it is.
func (h *Harbor) stopExecution(c *apiCall) error {
	e, err := h.executionOf(c)
	if err != nil {
		return err
	}
	if !e.ended {
		e.stopped, e.end = true, h.db.now()
		for _, t := range e.tasks {
			if t.status == inProgress {
				t.status, t.end = stopped, e.end
			}
		}
		e.cancel()
	}
	c.status = http.StatusOK
	return c.text(apiJSON, "null\n")
}

func (h *Harbor) listTasks(c *apiCall) error {
	e, err := h.executionOf(c)
	if err != nil {
		return err
	}
	rows := []row{}
	for _, t := range e.tasks {
		rows = append(rows, row{map[string]any{"id": t.ID, "execution_id": e.ID, "job_id": t.job, "operation": t.operation, "resource_type": t.kind, "status": t.status,
			"src_resource": t.source, "dst_resource": t.destination, "start_time": stamp(t.start), "end_time": stamp(t.end)},
			map[string]any{"id": t.ID, "status": t.status, "start_time": t.start}})
	}
	return c.list(rows, "-start_time,-id")
}

func (h *Harbor) getTaskLog(c *apiCall) error {
	e, err := h.executionOf(c)
	if err != nil {
		return err
	}
	for _, t := range e.tasks {
		if t.ID == c.id("task") {
			return c.text("text/plain", t.log.String())
		}
	}
	return missing("replication task %s not found", c.r.PathValue("task"))
}

// running reports whether the policy has executions that have not ended.
func (h *Harbor) running(policy int) bool {
	return slices.ContainsFunc(h.db.executions, func(e *execution) bool { return e.Policy == policy && !h.final(e) })
}
