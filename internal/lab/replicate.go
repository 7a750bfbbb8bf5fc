package lab

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"
)

// execution is one run of a replication policy.
type execution struct {
	ID, Policy int
	Trigger    string // manual, scheduled, event_based
	operator   string // who started it, or did what it follows
	failure    string // why it failed before there were tasks
	stopped    bool
	ended      bool
	start, end time.Time
	tasks      []*transferTask
	cancel     context.CancelFunc
}

// transferTask is the part of an execution that is about one repo.
type transferTask struct {
	ID                           int
	job, operation, status, kind string
	source, destination          string
	references                   []string
	start, end                   time.Time
	log                          strings.Builder
}

const (
	inProgress = "InProgress"
	succeeded  = "Succeed"
	failed     = "Failed"
	stopped    = "Stopped"
)

// replication is a policy as it was when the execution began, and its two sides.
type replication struct {
	h         *Harbor
	policy    policy
	execution *execution
	from, to  *endpoint
	event     *event
}

// Replicate starts an execution of the policy, as its schedule would. To whom Harbor
// ascribes those was not recorded.
func (h *Harbor) Replicate(policy string) error {
	h.db.mu.Lock()
	defer h.db.mu.Unlock()
	for _, p := range h.db.policies {
		if p.Name == policy {
			h.startExecution(p, "scheduled", "admin", 0, nil)
			return nil
		}
	}
	return fmt.Errorf("there is no policy %s", policy)
}

// replicateEvent starts what is to follow the event, the database locked. A
// deletion is followed by those policies only that say so.
func (h *Harbor) replicateEvent(e event) {
	for _, p := range h.db.policies {
		removes := e.kind == deleted || e.kind == untagged
		if !p.Enabled || p.Trigger != "event_based" || p.Destination == 0 || removes && !p.Deletion || !p.takesRepo(e.repo) {
			continue
		}
		names := e.tags
		if len(names) == 0 {
			names = []string{""}
		}
		if slices.ContainsFunc(names, p.takesTag) {
			h.startExecution(p, "event_based", e.operator, h.cfg.ReplicationDelay, &e)
		}
	}
}

// startExecution starts one after the delay, the database locked.
func (h *Harbor) startExecution(p *policy, trigger, operator string, delay time.Duration, e *event) *execution {
	run := &execution{Policy: p.ID, Trigger: trigger, operator: operator}
	ctx, cancel := context.WithCancel(h.jobs.context())
	run.cancel = cancel
	r := &replication{h: h, policy: *p, execution: run, event: e}
	begin := func() { // with the registries as they are then, not at the event
		if id := p.Source + p.Destination; h.db.registry(id) == nil {
			run.failure = fmt.Sprintf("registry %d not found", id)
		}
		r.from, r.to = h.endpoint(p.Source), h.endpoint(p.Destination)
		run.ID, run.start = h.db.id("executions"), h.db.now()
		h.db.executions = append(h.db.executions, run)
	}
	if p.Single && h.running(p.ID) {
		begin()
		run.failure, run.ended, run.end = "Execution skipped: active replication still in progress.", true, run.start
		cancel()
		return run
	}
	if delay <= 0 {
		begin()
	}
	h.jobs.after(delay, func(context.Context) {
		defer cancel()
		if delay > 0 {
			h.db.mu.Lock()
			begin()
			h.db.mu.Unlock()
		}
		var err error
		if run.failure == "" {
			err = r.queue(ctx)
		}
		h.db.mu.Lock()
		defer h.db.mu.Unlock()
		if err != nil {
			run.failure = err.Error()
		}
		run.ended = true
		if !run.stopped || run.end.IsZero() {
			run.end = h.db.now()
		}
	})
	return run
}

// takesRepo reports whether the name filters, if any, take the repo.
func (p *policy) takesRepo(repo string) bool {
	return !slices.ContainsFunc(p.Filters, func(f policyFilter) bool {
		pattern, _ := f.Value.(string)
		return f.Type == "name" && pattern != "" && !globMatches(pattern, repo)
	})
}

// takesTag reports whether the tag filters, if any, take the tag. An artifact without
// tags is taken by filters that take "" (Harbor's src/pkg/reg/filter): one that excludes
// "?*" takes such artifacts alone.
func (p *policy) takesTag(tag string) bool {
	return !slices.ContainsFunc(p.Filters, func(f policyFilter) bool {
		pattern, _ := f.Value.(string)
		return f.Type == "tag" && pattern != "" && globMatches(pattern, tag) == (f.Decoration == "excludes")
	})
}

func globMatches(pattern, s string) bool {
	ok, err := doublestar.Match(pattern, s)
	return err == nil && ok
}

// destination is where a repo goes: so many elements of its path replaced by the
// policy's namespace; -1 keeps the last element only.
func (p *policy) destination(repo string) (string, error) {
	parts := strings.Split(repo, "/")
	switch n := p.Replace; {
	case p.Namespace == "":
		return repo, nil
	case n < 0:
		return p.Namespace + "/" + path.Base(repo), nil
	case n > len(parts)-1:
		return "", fmt.Errorf("the source repository %q contains only %d path components %v excepting the last one, but the destination namespace flattening level is %d",
			repo, len(parts)-1, parts[:len(parts)-1], n)
	default:
		return p.Namespace + "/" + strings.Join(parts[n:], "/"), nil
	}
}

// found is what of one repo a policy takes.
type found struct {
	repo       string
	references []string
}

// run does an execution. Its error is about what comes before the tasks.
func (r *replication) run(ctx context.Context) error {
	for side, e := range map[string]*endpoint{"source": r.from, "destination": r.to} {
		if err := e.connect(ctx); err != nil {
			return fmt.Errorf("failed to create adapter for %s registry %s: %w", side, e.address(), err)
		}
	}
	all, err := r.find(ctx)
	if err != nil {
		return fmt.Errorf("failed to fetch artifacts: %w", err)
	}
	type work struct {
		found
		task *transferTask
		to   string
	}
	var works []work
	operation := "copy"
	if r.removes() {
		operation = "deletion"
	}
	for _, f := range all {
		to, err := r.policy.destination(f.repo)
		if err != nil {
			return err
		}
		if operation == "copy" {
			if err := r.to.prepare(ctx, to, r.isPublic(f.repo)); err != nil {
				return fmt.Errorf("failed to do the prepare work for pushing/uploading resources: %w", err)
			}
		}
		works = append(works, work{f, nil, to})
	}
	r.h.db.mu.Lock()
	for i, w := range works {
		suffix := fmt.Sprintf(" [%d item(s) in total]", len(w.references))
		works[i].task = &transferTask{ID: r.h.db.id("tasks"), job: randomHex(12), operation: operation, kind: "artifact", status: inProgress,
			source: w.repo + suffix, destination: w.to + suffix, references: w.references, start: r.h.db.now()}
		r.execution.tasks = append(r.execution.tasks, works[i].task)
	}
	r.h.db.mu.Unlock()
	for _, w := range works {
		r.notify(w.task, w.repo, w.to, "Running")
		err := r.transfer(ctx, w.task, w.repo, w.to)
		r.h.db.mu.Lock()
		w.task.end = r.h.db.now()
		switch {
		case ctx.Err() != nil:
			w.task.status, r.execution.stopped = stopped, true
		case err != nil:
			w.task.status = failed
			w.task.log.WriteString(err.Error() + "\n")
		default:
			w.task.status = succeeded
		}
		status := strings.Replace(w.task.status, succeeded, "Success", 1)
		r.h.db.mu.Unlock()
		r.notify(w.task, w.repo, w.to, status)
	}
	return nil
}

func (r *replication) removes() bool {
	return r.event != nil && (r.event.kind == deleted || r.event.kind == untagged)
}

// isPublic reports whether the repo's project is, as far as this Harbor knows.
func (r *replication) isPublic(repo string) bool {
	name, _, _ := strings.Cut(repo, "/")
	r.h.db.mu.Lock()
	defer r.h.db.mu.Unlock()
	p := r.h.db.projectLocked(name)
	return r.policy.Source == 0 && p != nil && p.public()
}

// find lists what the policy takes: the artifact of the event, or all that there
// is at the source.
func (r *replication) find(ctx context.Context) ([]found, error) {
	if r.event != nil {
		references := slices.DeleteFunc(slices.Clone(r.event.tags), func(tag string) bool { return !r.policy.takesTag(tag) })
		if len(references) == 0 {
			references = []string{r.event.digest}
		}
		return []found{{r.event.repo, references}}, nil
	}
	repos, err := r.from.repos(ctx, &r.policy)
	if err != nil {
		return nil, err
	}
	var all []found
	for _, repo := range repos {
		if !r.policy.takesRepo(repo) {
			continue
		}
		tags, untagged, err := r.from.references(ctx, repo)
		if err != nil {
			return nil, err
		}
		references := slices.DeleteFunc(tags, func(tag string) bool { return !r.policy.takesTag(tag) })
		if r.policy.takesTag("") {
			references = append(references, untagged...)
		}
		if len(references) > 0 {
			all = append(all, found{repo, references})
		}
	}
	return all, nil
}

// transfer copies or deletes what a task is about.
func (r *replication) transfer(ctx context.Context, task *transferTask, from, to string) error {
	for _, reference := range task.references {
		var err error
		if task.operation == "deletion" {
			err = r.to.delete(ctx, to, reference, r.event.kind == untagged)
		} else {
			err = r.copyArtifact(ctx, from, to, reference)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
