package lab

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"time"
)

func (h *Harbor) systemRoutes() []route {
	return []route{
		{method: "GET", path: "/health", serve: h.getHealth},
		{method: "GET", path: "/ping", serve: func(c *apiCall) error { return c.text("text/plain", "Pong") }},
		{method: "GET", path: "/systeminfo", serve: h.getSystemInfo},
		{method: "GET", path: "/systeminfo/volumes", check: inSystem("system-volumes", "read"), serve: func(c *apiCall) error {
			return c.reply(map[string]any{"storage": []map[string]int64{{"free": 55036559360, "total": 270553174016}}})
		}},
		{method: "GET", path: "/statistics", check: loggedIn, serve: h.getStatistics},
		{method: "GET", path: "/configurations", check: inSystem("configuration", "read"), serve: h.getConfig},
		{method: "PUT", path: "/configurations", check: inSystem("configuration", "update"), serve: h.putConfig},
		{method: "GET", path: "/internalconfig", serve: func(*apiCall) error {
			return refusal(http.StatusUnauthorized, "only internal service is allowed to call this API")
		}},
		{method: "POST", path: "/system/oidc/ping", check: inSystem("configuration", "read"), serve: h.pingOIDC, unlocked: true},
		{method: "GET", path: "/system/gc/schedule", check: inSystem("garbage-collection", "read"), serve: h.getGCSchedule},
		{method: "POST", path: "/system/gc/schedule", check: inSystem("garbage-collection", "create"), serve: h.postGCSchedule},
		{method: "PUT", path: "/system/gc/schedule", check: inSystem("garbage-collection", "update"), serve: h.putGCSchedule},
		{method: "GET", path: "/system/purgeaudit/schedule", check: inSystem("purge-audit", "read"), serve: func(c *apiCall) error { return c.text(apiJSON, "") }},
		{method: "GET", path: "/labels", check: loggedIn, serve: h.listLabels},
		{method: "POST", path: "/labels", check: inSystem("label", "create"), serve: h.postLabel},
		{method: "GET", path: "/labels/{id}", check: loggedIn, serve: h.getLabel},
		{method: "PUT", path: "/labels/{id}", check: inSystem("label", "update"), serve: h.putLabel},
		{method: "DELETE", path: "/labels/{id}", check: inSystem("label", "delete"), serve: h.deleteLabel},
	}
}

// healthLag is how far Harbor's health is behind the truth.
const healthLag = 10 * time.Second

// getHealth is 200 whatever it says.
func (h *Harbor) getHealth(c *apiCall) error {
	type component struct {
		Error  string `json:"error,omitempty"`
		Name   string `json:"name"`
		Status string `json:"status"`
	}
	const redisGone = "dial tcp 127.0.0.1:56379: connect: connection refused"
	down := func(fault string) bool { return h.faults.lasting(c.r, fault, healthLag) }
	all := []component{}
	status := "healthy"
	for _, name := range []string{"core", "database", "jobservice", "portal", "redis", "registry", "registryctl"} {
		part := component{Name: name, Status: "healthy"}
		switch {
		case name == "database" && down("db-down"):
			part.Error = "failed to run SQL \"SELECT 1\": " + databaseGone
		case name == "redis" && down("redis-down"):
			part.Error = redisGone
		case name == "jobservice" && down("redis-down"):
			part.Error = `received unexpected status code: 500 {"code":10004,"message":"check stats of server failed with error","details":"` + redisGone + `"}`
		case name == "registry" && down("registry-down"):
			part.Error = "dial tcp 127.0.0.1:5000: connect: connection refused"
		}
		if part.Error != "" {
			part.Status, status = "unhealthy", "unhealthy"
		}
		all = append(all, part)
	}
	return c.reply(map[string]any{"components": all, "status": status})
}

func (h *Harbor) getSystemInfo(c *apiCall) error {
	config := h.db.config
	info := map[string]any{"auth_mode": config["auth_mode"], "banner_message": config["banner_message"], "oidc_provider_name": "",
		"primary_auth_mode": config["primary_auth_mode"], "self_registration": config["self_registration"]}
	if config["auth_mode"] == "oidc_auth" {
		info["oidc_provider_name"] = config["oidc_name"]
	}
	if loggedIn(c) == nil {
		more := map[string]any{
			"current_time": stamp(h.db.now()), "external_url": h.scheme(c.r) + "://" + cmp.Or(h.cfg.ExternalHost, c.r.Host), "harbor_version": "v2.15.2-080b0220",
			"has_ca_root": false, "notification_enable": config["notification_enable"], "project_creation_restriction": config["project_creation_restriction"],
			"read_only": config["read_only"], "registry_storage_provider_name": "filesystem", "registry_url": c.r.Host,
		}
		for k, v := range more {
			info[k] = v
		}
	}
	return c.reply(info)
}

// getStatistics counts what is there; storage only for administrators.
func (h *Harbor) getStatistics(c *apiCall) error {
	count := map[string]int64{}
	for _, name := range []string{"private_project_count", "private_repo_count", "public_project_count", "public_repo_count", "total_project_count", "total_repo_count"} {
		count[name] = 0
	}
	if c.who.admin {
		count["total_storage_consumption"] = 0
	}
	for _, p := range h.db.projects {
		if !c.who.sees(p) {
			continue
		}
		kind := "private"
		if p.public() {
			kind = "public"
		}
		for _, kind := range []string{kind, "total"} {
			count[kind+"_project_count"]++
			count[kind+"_repo_count"] += int64(len(p.repos))
		}
		if c.who.admin {
			count["total_storage_consumption"] += p.used()
		}
	}
	return c.reply(count)
}

// pingOIDC asks the provider for its configuration, as discovery has it.
func (h *Harbor) pingOIDC(c *apiCall) error {
	var body struct {
		URL string `json:"url"`
	}
	if err := c.read("endpoint", &body); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), 10*time.Second)
	defer cancel()
	var found struct{ Issuer string }
	err := getJSON(ctx, strings.TrimRight(body.URL, "/")+"/.well-known/openid-configuration", &found)
	if err != nil || found.Issuer != body.URL {
		return badRequest("failed to verify connection")
	}
	return nil
}

// gcSchedule is when garbage is to be collected. It never is: the stand-in has none.
type gcSchedule struct {
	ID         int
	Type, Cron string
	Parameters string
	set        time.Time
}

func (h *Harbor) getGCSchedule(c *apiCall) error {
	s := h.db.gc
	if s == nil {
		return c.text(apiJSON, "")
	}
	schedule := map[string]any{"type": s.Type, "cron": s.Cron}
	if spec, err := parseCron(s.Cron); err == nil {
		schedule["next_scheduled_time"] = stamp(spec.next(h.db.now()))
	}
	return c.reply(map[string]any{"id": s.ID, "job_kind": s.Cron, "job_parameters": s.Parameters, "job_status": "Running", "schedule": schedule,
		"creation_time": stamp(s.set), "update_time": stamp(s.set)})
}

func (h *Harbor) postGCSchedule(c *apiCall) error {
	id, err := h.setGCSchedule(c)
	if err != nil {
		return err
	}
	return c.created("/system/gc/%d", id)
}

func (h *Harbor) putGCSchedule(c *apiCall) error {
	_, err := h.setGCSchedule(c)
	return err
}

// setGCSchedule reads a schedule; a manual one is an execution, whose number it returns.
func (h *Harbor) setGCSchedule(c *apiCall) (execution int, err error) {
	var body struct {
		Schedule struct {
			Type string `json:"type"`
			Cron string `json:"cron"`
		} `json:"schedule"`
		Parameters map[string]any `json:"parameters"`
	}
	if err := c.read("schedule", &body); err != nil {
		return 0, err
	}
	switch body.Schedule.Type {
	case "Manual":
		return h.db.id("gc"), nil
	case "None", "":
		h.db.gc = nil
		return 0, nil
	}
	if _, err := parseCron(body.Schedule.Cron); err != nil {
		return 0, badRequest("invalid cron string for scheduled gc: %s, error: %v", body.Schedule.Cron, err)
	}
	parameters := map[string]any{"delete_tag": false, "delete_untagged": false, "workers": 1}
	for name := range parameters {
		if v, ok := body.Parameters[name]; ok {
			parameters[name] = v
		}
	}
	h.db.gc = &gcSchedule{ID: h.db.id("gc"), Type: body.Schedule.Type, Cron: body.Schedule.Cron, Parameters: text(parameters), set: h.db.now()}
	return 0, nil
}

// label is one of the labels that all projects share.
type label struct {
	ID          int    `json:"id"`
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	Color       string `json:"color"`
	Scope       string `json:"scope"`
	Project     int    `json:"project_id,omitempty"`
	Created     string `json:"creation_time"`
	Updated     string `json:"update_time"`
}

func (h *Harbor) listLabels(c *apiCall) error {
	query := c.r.URL.Query()
	rows := []row{}
	for _, l := range h.db.labels {
		if strings.Contains(l.Name, query.Get("name")) && l.Scope == query.Get("scope") {
			rows = append(rows, row{*l, map[string]any{"id": l.ID, "name": l.Name}})
		}
	}
	return c.list(rows, "id")
}

func (h *Harbor) postLabel(c *apiCall) error {
	var l label
	if err := c.read("label", &l); err != nil {
		return err
	}
	if slices.ContainsFunc(h.db.labels, func(o *label) bool { return o.Name == l.Name && o.Scope == l.Scope && o.Project == l.Project }) {
		return conflict("label %s already exists", l.Name)
	}
	l.ID, l.Created = h.db.id("labels"), stamp(h.db.now())
	l.Updated = l.Created
	h.db.labels = append(h.db.labels, &l)
	return c.created("/labels/%d", l.ID)
}

func (h *Harbor) labelOf(c *apiCall) (*label, error) {
	for _, l := range h.db.labels {
		if l.ID == c.id("id") {
			return l, nil
		}
	}
	return nil, missing("label %s not found", c.r.PathValue("id"))
}

func (h *Harbor) getLabel(c *apiCall) error {
	l, err := h.labelOf(c)
	if err != nil {
		return err
	}
	return c.reply(*l)
}

// putLabel changes what a label is called and says; its scope stays.
func (h *Harbor) putLabel(c *apiCall) error {
	l, err := h.labelOf(c)
	if err != nil {
		return err
	}
	var body label
	if err := c.read("label", &body); err != nil {
		return err
	}
	l.Name, l.Description, l.Color, l.Updated = body.Name, body.Description, body.Color, stamp(h.db.now())
	return nil
}

func (h *Harbor) deleteLabel(c *apiCall) error {
	l, err := h.labelOf(c)
	if err != nil {
		return err
	}
	h.db.labels = slices.DeleteFunc(h.db.labels, func(o *label) bool { return o == l })
	return nil
}
