package provision

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// Outcomes of a change.
const (
	Done     = "done"
	Failed   = "failed"
	Deferred = "deferred" // something that it needs is not there
	Stopped  = "stopped"  // the run ended before it began
)

// Result is what became of a change.
type Result struct {
	Key
	Action  string `json:"action"`
	Outcome string `json:"outcome"` // done, failed, deferred or stopped
	Why     string `json:"why,omitempty"`
}

// run does the changes of a plan, each as soon as what it needs is there, all
// datacenters at once. Nothing begins after ctx ends, what has begun is finished.
type run struct {
	plan     *Plan
	harbors  map[string]*harbor
	progress func(Result)

	artifactory *artifactory
	barred      map[string]error // datacenters where nothing is done, and why

	mu      sync.Mutex
	results map[Key]*Result
	ended   map[Key]chan struct{}
	ids     map[Key]int64
}

func (p *Plan) run(ctx context.Context, harbors map[string]*harbor, at *artifactory, barred map[string]error, progress func(Result)) []Result {
	r := &run{plan: p, harbors: harbors, artifactory: at, barred: barred, progress: progress, results: map[Key]*Result{}, ended: map[Key]chan struct{}{}, ids: map[Key]int64{}}
	for _, h := range p.have {
		for k, e := range h.entries {
			r.ids[k] = e.id
		}
	}
	for _, c := range p.Changes {
		r.ended[c.Key] = make(chan struct{})
	}
	var all sync.WaitGroup
	for _, c := range p.Changes {
		all.Go(func() { r.change(ctx, c) })
	}
	all.Wait()
	out := make([]Result, 0, len(p.Changes))
	for _, c := range p.Changes {
		out = append(out, *r.results[c.Key])
	}
	return out
}

// change waits for what the change needs, and does it.
func (r *run) change(ctx context.Context, c Change) {
	result := Result{Key: c.Key, Action: c.Action}
	defer func() {
		r.mu.Lock()
		r.results[c.Key] = &result
		r.progress(result)
		r.mu.Unlock()
		close(r.ended[c.Key])
	}()
	if err := r.barred[c.Datacenter]; err != nil {
		result.Outcome, result.Why = Failed, plain(err).Error()
		return
	}
	if missing := r.await(c); missing != "" {
		result.Outcome, result.Why = Deferred, missing
		return
	}
	if c.Action == Refuse {
		result.Outcome, result.Why = Failed, c.Why
		return
	}
	if ctx.Err() != nil {
		result.Outcome, result.Why = Stopped, "the run was ended before"
		return
	}
	// What has begun is finished: a robot without its secret would be an orphan.
	if err := r.do(context.WithoutCancel(ctx), c); err != nil {
		result.Outcome, result.Why = Failed, plain(err).Error()
		var d deferral
		if errors.As(err, &d) {
			result.Outcome = Deferred
		}
		return
	}
	result.Outcome = Done
}

// deferral is why something waits for a later run.
type deferral string

func (d deferral) Error() string { return string(d) }

// await waits for what the change needs, and says what is missing.
func (r *run) await(c Change) (missing string) {
	for _, k := range c.needs {
		if ended := r.ended[k]; ended != nil {
			<-ended
			r.mu.Lock()
			outcome := r.results[k].Outcome
			r.mu.Unlock()
			if outcome != Done {
				return fmt.Sprintf("it needs %s, which is not done (%s)", k, outcome)
			}
			continue
		}
		if r.harbors[k.Datacenter] == nil { // it is not of this run: Harbor will say whether it is there
			continue
		}
		if h := r.plan.have[k.Datacenter]; c.Action != Delete && (h == nil || h.get(k.Kind, k.Name) == nil) {
			return fmt.Sprintf("it needs %s, and %s cannot be reached", k, k.Datacenter)
		}
	}
	return ""
}

func (r *run) id(k Key) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ids[k]
}

func (r *run) setID(k Key, id int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ids[k] = id
}

func (r *run) do(ctx context.Context, c Change) error {
	if c.Datacenter == atArtifactory {
		return r.artifactory.write(ctx, c)
	}
	w := &writer{harbor: r.harbors[c.Datacenter], run: r, change: c, prefix: r.plan.have[c.Datacenter].prefix}
	switch c.Action {
	case Create:
		return w.create(ctx)
	case Update:
		return w.update(ctx)
	case Delete:
		return w.delete(ctx)
	}
	return fmt.Errorf("there is no action %q", c.Action)
}

// Partial reports whether something waits for a datacenter that could not be reached.
func Partial(p *Plan, results []Result) bool {
	return len(p.Faults) > 0 || slices.ContainsFunc(results, func(r Result) bool { return r.Outcome == Deferred || r.Outcome == Stopped })
}

// AnyFailed reports whether a change failed.
func AnyFailed(results []Result) bool {
	return slices.ContainsFunc(results, func(r Result) bool { return r.Outcome == Failed })
}
