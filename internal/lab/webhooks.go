package lab

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// cloudEvents are the names that CloudEvents have for what happens.
var cloudEvents = map[string]string{"PUSH_ARTIFACT": "harbor.artifact.pushed", "PULL_ARTIFACT": "harbor.artifact.pulled", "DELETE_ARTIFACT": "harbor.artifact.deleted",
	"QUOTA_EXCEED": "harbor.quota.exceeded", "QUOTA_WARNING": "harbor.quota.warned", "REPLICATION": "harbor.replication.status.changed",
	"TAG_RETENTION": "harbor.tag_retention.finished"}

// webhookAttempts is how often Harbor tries, webhookTimeout how long it waits.
const (
	webhookAttempts = 3
	webhookTimeout  = 3 * time.Second
)

// notify sends the webhooks of an event, the database locked.
func (h *Harbor) notify(e event) {
	if e.kind != pushed && e.kind != pulled && e.kind != deleted {
		return
	}
	host := strings.TrimPrefix(h.URL(), "http://")
	name := e.digest
	if len(e.tags) > 0 {
		name = e.tags[0] // of an artifact with two tags, one is named
	}
	resources := []map[string]string{{"digest": e.digest, "tag": name, "resource_url": host + "/" + artifactName(e.repo, name)}}
	h.send(e.project, WebhookDelivery{Kind: e.kind, Operator: e.operator, Repo: e.repo, Tag: name, Digest: e.digest},
		map[string]any{"resources": resources, "repository": e.project.webhookRepo(e.repo)})
}

// webhookRepo is a repo as webhooks show it.
func (p *project) webhookRepo(repo string) map[string]any {
	_, name, _ := strings.Cut(repo, "/")
	v := map[string]any{"name": name, "namespace": p.Name, "repo_full_name": repo, "repo_type": "private"}
	if p.public() {
		v["repo_type"] = "public"
	}
	if rec := p.repos[repo]; rec != nil {
		v["date_created"] = rec.created.Unix()
	}
	return v
}

// send delivers to every target that wants the kind, the database locked.
func (h *Harbor) send(p *project, d WebhookDelivery, data map[string]any) {
	if h.db.config["notification_enable"] != true {
		return
	}
	at := h.db.now()
	for _, w := range p.webhooks {
		if !w.Enabled || !slices.Contains(w.Types, d.Kind) {
			continue
		}
		w.triggered[d.Kind] = at
		for _, target := range w.Targets {
			contentType, body := apiJSON, text(map[string]any{"type": d.Kind, "occur_at": at.Unix(), "operator": d.Operator, "event_data": data})
			if target.Format == "CloudEvents" {
				contentType = "application/cloudevents+json"
				body = text(map[string]any{"specversion": "1.0", "id": requestID(), "source": fmt.Sprintf("/projects/%d/webhook/policies/%d", p.ID, w.ID),
					"type": cloudEvents[d.Kind], "datacontenttype": apiJSON, "time": at.UTC().Format(time.RFC3339), "data": data, "operator": d.Operator, "requestid": requestID()})
			}
			d.Address = target.Address
			delivery := d
			h.jobs.after(0, func(ctx context.Context) { h.deliver(ctx, delivery, target, contentType, body) })
		}
	}
}

// deliver tries three times, and never again.
func (h *Harbor) deliver(ctx context.Context, d WebhookDelivery, target webhookTarget, contentType, body string) {
	client := &http.Client{Timeout: webhookTimeout, Transport: &http.Transport{DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: target.SkipVerify}}, //nolint:gosec // as the target says
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for d.Attempt = 1; d.Attempt <= webhookAttempts; d.Attempt++ {
		if d.Attempt > 1 && !pause(ctx, h.cfg.WebhookRetry) {
			return
		}
		if h.cfg.Delivering != nil && h.cfg.Delivering(ctx, d) != nil || h.down.Load() {
			continue
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, target.Address, bytes.NewReader([]byte(body)))
		if err != nil {
			return
		}
		req.Header.Set("Content-Type", contentType)
		if target.Auth != "" {
			req.Header.Set("Authorization", target.Auth)
		}
		resp, err := client.Do(req)
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode < 300 {
			return
		}
	}
}

func (h *Harbor) hostname() string {
	u, err := url.Parse(h.URL())
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// notify tells of a task of a replication: that it runs, and how it ended.
func (r *replication) notify(task *transferTask, from, to, status string) {
	repo := from
	if r.policy.Source != 0 {
		repo = to
	}
	h := r.h
	h.db.mu.Lock()
	defer h.db.mu.Unlock()
	name, _, _ := strings.Cut(repo, "/")
	p := h.db.projectLocked(name)
	if p == nil {
		return
	}
	trigger := map[string]string{"manual": "MANUAL", "scheduled": "SCHEDULE", "event_based": "EVENT"}[r.execution.Trigger]
	side := func(e *endpoint) map[string]any {
		v := map[string]any{"registry_type": "harbor", "endpoint": e.address()}
		if e.registry != nil {
			v["registry_name"], v["registry_type"] = e.registry.Name, e.registry.Type
		}
		return v
	}
	source, destination := side(r.from), side(r.to)
	fromProject, _, _ := strings.Cut(from, "/")
	source["namespace"], destination["namespace"] = r.policy.Namespace, fromProject // as Harbor has them: the wrong way round
	v := map[string]any{"harbor_hostname": h.hostname(), "job_status": status, "artifact_type": "artifact", "authentication_type": "basic", "override_mode": r.policy.Override,
		"trigger_type": trigger, "policy_creator": "admin", "execution_timestamp": r.execution.start.Unix(), "src_resource": source, "dest_resource": destination,
		"execution_id": r.execution.ID, "task_id": task.ID}
	_, short, _ := strings.Cut(from, "/")
	entry := []map[string]any{{"type": "artifact", "status": status, "name_tag": fmt.Sprintf("%s [%d item(s) in total]", short, len(task.references)), "references": task.references}}
	switch status {
	case "Success":
		v["successful_artifact"] = entry
	case failed:
		v["failed_artifact"] = entry
	}
	h.send(p, WebhookDelivery{Kind: "REPLICATION", Operator: r.execution.operator}, map[string]any{"replication": v})
}
