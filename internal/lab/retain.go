package lab

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// retentionRun is one execution of a retention policy.
type retentionRun struct {
	ID         int
	dry        bool
	start, end time.Time
	tasks      []*retentionTask
}

// retentionTask is the part of a run that is about one repo.
type retentionTask struct {
	ID              int
	job, repo, log  string
	total, retained int
	start, end      time.Time
}

func (h *Harbor) retentionRunRoutes() []route {
	const path = "/retentions/{id}/executions"
	return []route{
		{method: "GET", path: path, check: loggedIn, serve: h.listRuns},
		{method: "POST", path: path, check: loggedIn, serve: h.postRun, unlocked: true},
		{method: "PATCH", path: path + "/{run}", check: loggedIn, serve: func(c *apiCall) error { _, err := h.runOf(c); return err }},
		{method: "GET", path: path + "/{run}/tasks", check: loggedIn, serve: h.listRunTasks},
		{method: "GET", path: path + "/{run}/tasks/{task}", check: loggedIn, serve: h.getRunLog},
	}
}

// doomed is an artifact that a run deletes.
type doomed struct {
	repo     string
	artifact *artifact
}

// postRun runs the policy at once; a dry run deletes nothing.
func (h *Harbor) postRun(c *apiCall) error {
	var body struct {
		Dry bool `json:"dry_run"`
	}
	if err := c.read("body", &body); err != nil {
		return err
	}
	var t *retention
	var p *project
	var run *retentionRun
	var gone []doomed
	err := h.locked(func() (err error) {
		if t, err = h.retentionOf(c, "update"); err != nil {
			return err
		}
		p = h.db.named(strconv.Itoa(t.Scope.Ref), false)
		run, gone = h.retain(t, p, body.Dry)
		return c.created("/retentions/%d/executions/%d", t.ID, run.ID)
	})
	if err != nil || body.Dry {
		return err
	}
	h.remove(t, p, run, gone, c.who.name)
	return nil
}

// Retain runs the project's retention policy and returns when what does not stay is deleted,
// as its schedule would. To whom Harbor ascribes such runs was not recorded.
func (h *Harbor) Retain(project string) error {
	h.db.mu.Lock()
	p := h.db.projectLocked(project)
	var t *retention
	if p != nil {
		id, _ := strconv.Atoi(p.Metadata["retention_id"])
		t = h.db.retention(id)
	}
	if t == nil {
		h.db.mu.Unlock()
		return fmt.Errorf("there is no project %s with a retention policy", project)
	}
	run, gone := h.retain(t, p, false)
	h.db.mu.Unlock()
	h.remove(t, p, run, gone, "admin")
	return nil
}

// remove deletes what does not stay, indexes before what they name, and says that the run
// has ended.
func (h *Harbor) remove(t *retention, p *project, run *retentionRun, gone []doomed, operator string) {
	slices.SortFunc(gone, func(a, b doomed) int { return cmp.Compare(len(b.artifact.children), len(a.artifact.children)) })
	deleted := []map[string]any{}
	for _, d := range gone {
		h.db.mu.Lock()
		name := d.artifact.Digest
		if rec := p.repos[d.repo]; rec != nil {
			name = append(rec.newestFirst(name), name)[0]
		}
		h.db.mu.Unlock()
		if err := h.deleteArtifact(p, d.repo, d.artifact, "harbor-jobservice"); err != nil {
			continue // what must stay, stays
		}
		_, repo, _ := strings.Cut(d.repo, "/")
		deleted = append(deleted, map[string]any{"type": "image", "status": "SUCCESS", "name_tag": artifactName(repo, name), "references": nil})
	}
	h.db.mu.Lock()
	defer h.db.mu.Unlock()
	total, retained := 0, 0
	for _, task := range run.tasks {
		total, retained = total+task.total, retained+task.retained
	}
	rules := []map[string]any{}
	for _, rule := range t.Rules {
		scopes := map[string]any{}
		for of, selectors := range rule.Scopes {
			scopes[of] = told(selectors)
		}
		rules = append(rules, map[string]any{"template": rule.Template, "params": rule.Params, "tag_selectors": told(rule.Selectors), "scope_selectors": scopes})
	}
	h.send(p, WebhookDelivery{Kind: "TAG_RETENTION", Operator: operator}, map[string]any{"retention": map[string]any{"total": total, "retained": retained,
		"harbor_hostname": h.hostname(), "project_name": p.Name, "retention_policy_id": t.ID, "retention_rule": rules, "result": "SUCCESS", "deleted_artifact": deleted}})
}

// told are selectors as webhooks show them: with their extras, though there be none.
func told(selectors []selector) []map[string]string {
	all := []map[string]string{}
	for _, s := range selectors {
		all = append(all, map[string]string{"kind": s.Kind, "decoration": s.Decoration, "pattern": s.Pattern, "extras": s.Extras})
	}
	return all
}

// retain makes a run and returns what does not stay, the database locked.
func (h *Harbor) retain(t *retention, p *project, dry bool) (run *retentionRun, gone []doomed) {
	run = &retentionRun{ID: h.db.id("executions"), dry: dry, start: h.db.now()}
	t.runs = append(t.runs, run)
	var repos []string
	for repo := range p.repos {
		_, name, _ := strings.Cut(repo, "/")
		if slices.ContainsFunc(t.Rules, func(rule retentionRule) bool { return !rule.Disabled && matches(rule.Scopes["repository"], name) }) {
			repos = append(repos, repo)
		}
	}
	slices.Sort(repos)
	for _, repo := range slices.Backward(repos) {
		rec := p.repos[repo]
		candidates := rec.listed()
		stays := map[*artifact]bool{}
		_, name, _ := strings.Cut(repo, "/")
		for _, rule := range t.Rules {
			if !rule.Disabled && matches(rule.Scopes["repository"], name) {
				for _, a := range rule.keeps(rec, candidates, h.db.now()) {
					stays[a] = true
				}
			}
		}
		task := &retentionTask{ID: h.db.id("tasks"), job: randomHex(12), repo: name, total: len(candidates), retained: len(stays), start: run.start, end: h.db.now()}
		task.log = fmt.Sprintf("Run retention process.\n Repository: %s \n Rule Algorithm: %s \n Dry Run: %t\n", repo, t.Algorithm, run.dry)
		for _, a := range candidates {
			word := "RETAIN"
			if !stays[a] {
				word = "DEL"
				gone = append(gone, doomed{repo, a})
			}
			task.log += fmt.Sprintf("| %s | %s | %s |\n", a.Digest, strings.Join(rec.tagsOf(a.Digest), ","), word)
		}
		run.tasks = append(run.tasks, task)
	}
	run.end = h.db.now()
	return run, gone
}

// keeps lists the candidates that the rule retains.
func (rule *retentionRule) keeps(rec *repoRecord, candidates []*artifact, now time.Time) []*artifact {
	selected := slices.DeleteFunc(slices.Clone(candidates), func(a *artifact) bool {
		tags := rec.tagsOf(a.Digest)
		if len(tags) == 0 {
			return !slices.ContainsFunc(rule.Selectors, func(s selector) bool { return strings.Contains(s.Extras, `"untagged":true`) })
		}
		return !slices.ContainsFunc(tags, func(tag string) bool { return matches(rule.Selectors, tag) })
	})
	n, _ := rule.Params[rule.Template].(float64)
	since := now.AddDate(0, 0, -int(n))
	latest := func(when func(a *artifact) time.Time) []*artifact {
		slices.SortFunc(selected, func(a, b *artifact) int { return when(b).Compare(when(a)) })
		return selected[:max(0, min(int(n), len(selected)))]
	}
	within := func(when func(a *artifact) time.Time) []*artifact {
		return slices.DeleteFunc(selected, func(a *artifact) bool { return when(a).Before(since) })
	}
	pushed, pulled := func(a *artifact) time.Time { return a.pushed }, func(a *artifact) time.Time { return a.pulled }
	switch rule.Template {
	case "latestPushedK":
		return latest(pushed)
	case "latestPulledN":
		return latest(pulled)
	case "nDaysSinceLastPush":
		return within(pushed)
	case "nDaysSinceLastPull":
		return within(pulled)
	case "always":
		return selected
	}
	return nil
}

// runView is a run as the API shows it: with other times than elsewhere, and
// running for a while after its end, a dry run for longer.
func (h *Harbor) runView(t *retention, run *retentionRun) map[string]any {
	lag := h.cfg.StatusLag
	if run.dry {
		lag *= 7
	}
	v := map[string]any{"id": run.ID, "policy_id": t.ID, "start_time": run.start.UTC().Format(time.RFC3339Nano), "end_time": time.Time{}.Format(time.RFC3339),
		"status": "Running", "trigger": "MANUAL"}
	if !h.db.now().Before(run.end.Add(lag)) {
		v["status"], v["end_time"] = "Success", run.end.UTC().Format(time.RFC3339)
	}
	if run.dry {
		v["dry_run"] = true
	}
	return v
}

func (h *Harbor) listRuns(c *apiCall) error {
	t, err := h.retentionOf(c, "list")
	if err != nil {
		return err
	}
	rows := []row{}
	for _, run := range t.runs {
		rows = append(rows, row{h.runView(t, run), map[string]any{"id": run.ID}})
	}
	return c.list(rows, "-id")
}

func (h *Harbor) runOf(c *apiCall) (*retentionRun, error) {
	t, err := h.retentionOf(c, "read")
	if err != nil {
		return nil, err
	}
	for _, run := range t.runs {
		if run.ID == c.id("run") {
			return run, nil
		}
	}
	return nil, badRequest("bad request: no such execution with id %s", c.r.PathValue("run"))
}

func (h *Harbor) listRunTasks(c *apiCall) error {
	run, err := h.runOf(c)
	if err != nil {
		return err
	}
	rows := []row{}
	for _, task := range run.tasks {
		rows = append(rows, row{map[string]any{"id": task.ID, "execution_id": run.ID, "job_id": task.job, "repository": task.repo, "total": task.total,
			"retained": task.retained, "status": "Success", "status_code": 3, "start_time": task.start.UTC().Format(time.RFC3339),
			"end_time": task.end.UTC().Format(time.RFC3339)}, map[string]any{"id": task.ID}})
	}
	return c.list(rows, "-id")
}

func (h *Harbor) getRunLog(c *apiCall) error {
	run, err := h.runOf(c)
	if err != nil {
		return err
	}
	for _, task := range run.tasks {
		if task.ID == c.id("task") {
			return c.text("text/plain", task.log)
		}
	}
	return refusal(http.StatusNotFound, "task %s not found", c.r.PathValue("task"))
}
