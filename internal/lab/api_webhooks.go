package lab

import (
	"net/url"
	"slices"
	"strings"
	"time"
)

// webhook is a notification policy of a project.
type webhook struct {
	ID          int
	Name        string
	Description string
	Enabled     bool
	Types       []string
	Targets     []webhookTarget
	created     time.Time
	updated     time.Time
	triggered   map[string]time.Time
}

type webhookTarget struct {
	Address    string `json:"address"`
	Auth       string `json:"auth_header,omitempty"`
	Format     string `json:"payload_format,omitempty"`
	SkipVerify bool   `json:"skip_cert_verify,omitempty"`
	Type       string `json:"type"`
}

var (
	eventTypes = []string{"PUSH_ARTIFACT", "PULL_ARTIFACT", "DELETE_ARTIFACT", "QUOTA_EXCEED", "QUOTA_WARNING", "SCANNING_FAILED", "SCANNING_STOPPED",
		"SCANNING_COMPLETED", "REPLICATION", "TAG_RETENTION"}
	payloadFormats = []string{"Default", "CloudEvents"}
)

func (h *Harbor) webhookRoutes() []route {
	const path = "/projects/{project}/webhook"
	may := func(action string) apiHandler { return h.inProject("notification-policy", action) }
	return []route{
		{method: "GET", path: path + "/events", check: may("read"), serve: func(c *apiCall) error {
			return c.reply(map[string]any{"event_type": eventTypes, "notify_type": []string{"http", "slack"},
				"payload_formats": []any{map[string]any{"notify_type": "http", "formats": payloadFormats}}})
		}},
		{method: "GET", path: path + "/lasttrigger", check: may("list"), serve: h.listLastTriggers},
		{method: "GET", path: path + "/policies", check: may("list"), serve: h.listWebhooks},
		{method: "POST", path: path + "/policies", check: may("create"), serve: h.postWebhook},
		{method: "GET", path: path + "/policies/{id}", check: may("read"), serve: h.getWebhook},
		{method: "PUT", path: path + "/policies/{id}", check: may("update"), serve: h.putWebhook},
		{method: "DELETE", path: path + "/policies/{id}", check: may("delete"), serve: h.deleteWebhook},
	}
}

func (p *project) webhookView(w *webhook) map[string]any {
	v := map[string]any{"id": w.ID, "name": w.Name, "project_id": p.ID, "enabled": w.Enabled, "event_types": w.Types, "targets": w.Targets,
		"creation_time": stamp(w.created), "update_time": stamp(w.updated)}
	if w.Description != "" {
		v["description"] = w.Description
	}
	return v
}

func (h *Harbor) listWebhooks(c *apiCall) error {
	rows := []row{}
	for _, w := range c.project.webhooks {
		rows = append(rows, row{c.project.webhookView(w), map[string]any{"id": w.ID, "name": w.Name, "enabled": w.Enabled}})
	}
	return c.list(rows, "-id")
}

func (h *Harbor) listLastTriggers(c *apiCall) error {
	views := []map[string]any{}
	for _, w := range slices.Backward(c.project.webhooks) {
		for _, kind := range w.Types {
			v := map[string]any{"policy_name": w.Name, "event_type": kind, "creation_time": stamp(w.created), "last_trigger_time": stamp(w.triggered[kind])}
			if w.Enabled {
				v["enabled"] = true
			}
			views = append(views, v)
		}
	}
	return c.reply(views)
}

func (c *apiCall) readWebhook() (*webhook, error) {
	var body struct {
		Name        string          `json:"name"`
		Description string          `json:"description"`
		Enabled     bool            `json:"enabled"`
		Types       []string        `json:"event_types"`
		Targets     []webhookTarget `json:"targets"`
	}
	if err := c.read("policy", &body); err != nil {
		return nil, err
	}
	w := &webhook{Name: body.Name, Description: body.Description, Enabled: body.Enabled, Types: body.Types, Targets: body.Targets, triggered: map[string]time.Time{}}
	return w, w.check()
}

func (w *webhook) check() error {
	if len(w.Types) == 0 {
		return badRequest("empty event type")
	}
	for _, kind := range w.Types {
		if !slices.Contains(eventTypes, kind) {
			return badRequest("unsupported event type %s", kind)
		}
	}
	if len(w.Targets) == 0 {
		return badRequest("empty notification target with policy %s", w.Name)
	}
	for i, t := range w.Targets {
		address := t.Address
		if !strings.Contains(address, "://") {
			address = "http://" + address
		}
		if _, err := url.Parse(address); err != nil {
			return badRequest("%v", err)
		}
		if t.Type != "http" && t.Type != "slack" {
			return badRequest("unsupported target type %s with policy %s", t.Type, w.Name)
		}
		if t.Format == "" {
			w.Targets[i].Format = "Default"
		} else if !slices.Contains(payloadFormats, t.Format) {
			return badRequest("unsupported payload format type: %s", t.Format)
		}
		w.Targets[i].Address = address
	}
	return nil
}

func (p *project) freeWebhookName(w *webhook) error {
	if slices.ContainsFunc(p.webhooks, func(o *webhook) bool { return o.Name == w.Name && o.ID != w.ID }) {
		return conflict("notification policy named %s already exists", w.Name)
	}
	return nil
}

func (h *Harbor) postWebhook(c *apiCall) error {
	w, err := c.readWebhook()
	if err != nil {
		return err
	}
	if err := c.project.freeWebhookName(w); err != nil {
		return err
	}
	w.ID, w.created = h.db.id("webhooks"), h.db.now()
	w.updated = w.created
	c.project.webhooks = append(c.project.webhooks, w)
	return c.created("/projects/%s/webhook/policies/%d", c.r.PathValue("project"), w.ID)
}

func (c *apiCall) withWebhook(do func(i int, w *webhook) error) error {
	for i, w := range c.project.webhooks {
		if w.ID == c.id("id") {
			return do(i, w)
		}
	}
	return missing("notificationPolicy %s not found", c.r.PathValue("id"))
}

func (h *Harbor) getWebhook(c *apiCall) error {
	return c.withWebhook(func(_ int, w *webhook) error { return c.reply(c.project.webhookView(w)) })
}

// putWebhook loses the time of the creation, as Harbor does.
func (h *Harbor) putWebhook(c *apiCall) error {
	w, err := c.readWebhook()
	if err != nil {
		return err
	}
	return c.withWebhook(func(i int, old *webhook) error {
		w.ID, w.updated, w.triggered = old.ID, h.db.now(), old.triggered
		if err := c.project.freeWebhookName(w); err != nil {
			return err
		}
		c.project.webhooks[i] = w
		return nil
	})
}

func (h *Harbor) deleteWebhook(c *apiCall) error {
	return c.withWebhook(func(i int, _ *webhook) error {
		c.project.webhooks = slices.Delete(c.project.webhooks, i, i+1)
		return nil
	})
}
