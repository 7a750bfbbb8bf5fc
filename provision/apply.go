package provision

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Outcomes of a change.
const (
	Done     = "done"
	Failed   = "failed"
	HalfDone = "half done" // Harbor gave no answer: how much of it is done is not known, and the next run sees
	Deferred = "deferred"  // something that it needs is not there
	Stopped  = "stopped"   // the run ended before it began
)

// Result is what became of a change.
type Result struct {
	Key
	Action  string `json:"action"`
	Outcome string `json:"outcome"` // done, failed, half done, deferred or stopped
	Why     string `json:"why,omitempty"`
	Away    bool   `json:"away,omitempty"`  // it waits for a Harbor that cannot be reached
	Place   string `json:"place,omitempty"` // of one that failed: where the fleet file says what it is to be

	root string // of a deferred one, why the first of what it needs is not there
}

// run does the changes of a plan, each as soon as what it needs is there, all
// datacenters at once. Nothing begins after ctx ends, what has begun is finished, unless
// that takes too long.
type run struct {
	*Provisioner
	plan     *Plan
	progress func(Result)
	barred   map[string]error         // datacenters where nothing is done, and why
	begun    map[string]chan struct{} // holds a token for each change that has begun, by datacenter

	mu      sync.Mutex
	results map[Key]*Result
	ended   map[Key]chan struct{}
	ids     map[Key]int64
	covered map[covering]func() error
	last    time.Time // when the last replication went that something took the place of
}

func (p *Provisioner) run(ctx context.Context, plan *Plan, barred map[string]error, progress func(Result)) []Result {
	r := &run{Provisioner: p, plan: plan, barred: barred, progress: progress, begun: map[string]chan struct{}{}, results: map[Key]*Result{}, ended: map[Key]chan struct{}{}, ids: map[Key]int64{}, covered: map[covering]func() error{}}
	for _, h := range plan.have {
		r.begun[h.datacenter] = make(chan struct{}, atOnce)
		for k, e := range h.entries {
			r.ids[k] = e.id
		}
	}
	for _, c := range plan.Changes {
		r.ended[c.Key] = make(chan struct{})
	}
	var all sync.WaitGroup
	for _, c := range plan.Changes {
		all.Go(func() {
			result := r.change(ctx, c)
			r.mu.Lock()
			r.results[c.Key] = &result
			r.progress(result)
			r.mu.Unlock()
			close(r.ended[c.Key])
		})
	}
	all.Wait()
	out := make([]Result, 0, len(plan.Changes))
	for _, c := range plan.Changes {
		out = append(out, *r.results[c.Key])
	}
	return out
}

// change waits for what the change needs, and does it.
func (r *run) change(ctx context.Context, c Change) Result {
	result := Result{Key: c.Key, Action: c.Action, Outcome: Done}
	if err := r.barred[c.Datacenter]; err != nil {
		result.failed(ctx, err)
		return result
	}
	if missing := r.await(c); missing != nil {
		result.Outcome, result.Why, result.Away, result.root = Deferred, missing.why, missing.away, missing.root
		return result
	}
	if c.Action == Refuse {
		result.Outcome, result.Why, result.Place = Failed, c.Why, placeOf(r.options.Fleet, c.Key, nil)
		return result
	}
	select {
	case r.begun[c.Datacenter] <- struct{}{}:
		defer func() { <-r.begun[c.Datacenter] }()
	case <-ctx.Done():
	}
	if ctx.Err() != nil {
		result.Outcome, result.Why = Stopped, "the run was ended before"
		return result
	}
	ending, cancel := r.finishing(ctx)
	defer cancel()
	if err := r.do(ending, c); err != nil {
		result.failed(ctx, err)
		if result.Outcome == Failed || result.Outcome == HalfDone {
			result.Place = placeOf(r.options.Fleet, c.Key, err)
		}
	}
	return result
}

// finishing is for what is finished after ctx ends: a robot without its secret would be an
// orphan. It takes no longer than the grace.
func (p *Provisioner) finishing(ctx context.Context) (context.Context, func()) {
	ending, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		time.AfterFunc(cmp.Or(p.grace, graceOfChanges), func() { cancel(errEnded) })
	})
	return ending, func() {
		stop()
		cancel(nil)
	}
}

const graceOfChanges = 8 * time.Second

var errEnded = errors.New("the run was ended, and this was waited for no longer")

// failed says what the error means for the change.
func (r *Result) failed(ctx context.Context, err error) {
	r.Outcome, r.Why = Failed, plain(err).Error()
	if isCode(err, http.StatusForbidden) {
		r.Why += ": harbor.username may not do that"
	}
	switch {
	case errors.As(err, new(inUse)):
		r.Outcome = Deferred
	case errors.As(err, new(halfDone)):
		r.Outcome, r.Away = HalfDone, errors.As(err, new(silent))
	case errors.As(err, new(unsent)) && ctx.Err() != nil:
		r.Outcome = Stopped
	case errors.As(err, new(deferral)), (errors.As(err, new(unsent)) || errors.As(err, new(unanswered))) && away(err):
		r.Outcome, r.Away = Deferred, true
	}
}

// deferral is why something waits for a peer that cannot be reached.
type deferral string

func (d deferral) Error() string { return string(d) }

// missing is what a change needs and is not there.
type missing struct {
	why, root string
	away      bool // because somebody cannot be reached
}

// await waits for what the change needs, and says what is missing.
func (r *run) await(c Change) *missing {
	for _, k := range c.needs {
		if ended := r.ended[k]; ended != nil {
			<-ended
			r.mu.Lock()
			needed := *r.results[k]
			r.mu.Unlock()
			if needed.Outcome != Done {
				root := cmp.Or(needed.root, map[bool]string{true: needed.Why}[needed.Away], "what it needs is not done")
				return &missing{fmt.Sprintf("it needs %s, which is not done (%s)", k, needed.Outcome), root, needed.Away}
			}
			continue
		}
		if r.harbors[k.Datacenter] == nil { // it is not of this run: Harbor will say whether it is there
			continue
		}
		if h := r.plan.have[k.Datacenter]; c.Action != Delete && (h == nil || h.get(k.Kind, k.Name) == nil) {
			away := slices.ContainsFunc(r.plan.Faults, func(f Fault) bool { return f.Datacenter == k.Datacenter && f.Away })
			root := k.Datacenter + " cannot be read"
			return &missing{fmt.Sprintf("it needs %s, and %s", k, root), root, away}
		}
	}
	return nil
}

// Waiting are the changes that are deferred, for a person to read: of many that wait for
// the same it is said once.
func Waiting(results []Result) []string {
	var all []note
	for _, r := range results {
		if r.Outcome == Deferred {
			all = append(all, note{r.Key, cmp.Or(r.root, r.Why)})
		}
	}
	return folded(all)
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

// Partial reports whether something waits for a Harbor that cannot be reached, or was not
// begun because the run was ended.
func Partial(p *Plan, results []Result) bool {
	return len(Unreached(p, results)) > 0 || slices.ContainsFunc(results, func(r Result) bool { return r.Outcome == Stopped })
}

// Unreached are the changes that wait for a Harbor that cannot be reached, and a fault for
// each of these Harbors that the plan names.
func Unreached(p *Plan, results []Result) (what []string) {
	for _, f := range p.Faults {
		if f.Away {
			what = append(what, f.String())
		}
	}
	for _, r := range results {
		if r.Away {
			what = append(what, r.Key.String()+": "+r.Why)
		}
	}
	return what
}

// AnyFailed reports whether a change failed, or is half done.
func AnyFailed(results []Result) bool {
	return slices.ContainsFunc(results, func(r Result) bool { return r.Outcome == Failed || r.Outcome == HalfDone })
}
