package provision

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/replication"
)

// RotateOptions say which robot gets a new secret.
type RotateOptions struct {
	Robot    string        // sync, readonly, readwrite, or the edge's own by its name
	Projects []string      // multi-dc projects, as the fleet file names them; none: all
	Finish   bool          // the old secret of a robot that users have ends
	Patience time.Duration // how long running replications are waited for; 0: 15 minutes
	Progress func(string)  // called with each step, one at a time
}

const (
	nextSuffix  = "-next"        // of the robot that stands in for sync meanwhile
	successorOf = "Successor of" // how the description of a user's second robot begins
	pollEvery   = 500 * time.Millisecond
)

// oneAtATime lets several Harbors' steps be told to who expects one after the other. nil: to
// nobody.
func oneAtATime(progress func(string)) func(string) {
	if progress == nil {
		return func(string) {}
	}
	var mu sync.Mutex
	return func(s string) {
		mu.Lock()
		defer mu.Unlock()
		progress(s)
	}
}

// Rotate gives a robot the secret that the fleet file leads to now, without a gap.
//
// The sync robot is known to peers alone: a second robot gets the new secret, all
// peers log in as that one, sync gets the new secret, the peers come back, the second
// one goes. Before each step that takes a login away the replications that began with
// it end.
//
// Other robots are known to users: beside each a successor with the date in its name
// gets the new secret, and the old one keeps its own until Finish.
func (p *Provisioner) Rotate(ctx context.Context, o RotateOptions) error {
	want := p.wanting.wants()
	robots := p.rotated(want, o)
	if len(robots) == 0 {
		return fmt.Errorf("the fleet file has no robot %q%s", o.Robot, map[bool]string{true: " in " + strings.Join(o.Projects, ", ")}[len(o.Projects) > 0])
	}
	o.Progress = oneAtATime(o.Progress)
	release, barred, err := p.hold(ctx, "rotate "+o.Robot, sortedKeys(p.harbors))
	for name, e := range barred {
		err = fmt.Errorf("nothing is rotated while %s cannot be held: %w", name, e)
	}
	if err != nil {
		return err
	}
	defer release()
	switch {
	case p.isSync(o.Robot):
		return p.rotateSync(ctx, o, robots)
	case o.Finish:
		o.Progress("the old secrets end")
		return p.phase(ctx, o, true, func(full *wanted) *wanted { return full.only(robots) })
	}
	o.Progress("successors are made")
	today := time.Now().UTC().Format("20060102")
	return p.phase(ctx, o, false, func(full *wanted) *wanted {
		out := full.only(nil)
		for _, k := range robots {
			rb := *full.objects[k].(*robot)
			rb.description = marked(successorOf + " " + rb.name)
			rb.name += "-" + today
			next := Key{k.Datacenter, kindRobot, rb.key()}
			out.add(next, &rb)
			out.secrets[next] = full.secrets[k]
		}
		return out
	})
}

// rotated are the keys of the robots that are meant.
func (p *Provisioner) rotated(want *wanted, o RotateOptions) (all []Key) {
	for k, object := range want.objects {
		rb, ok := object.(*robot)
		if ok && rb.project == "" && rb.description == marked(groupsOwn) && p.isSync(o.Robot) && p.harbors[k.Datacenter] != nil {
			all = append(all, k) // it is of all projects
			continue
		}
		if !ok || rb.name != o.Robot || p.harbors[k.Datacenter] == nil {
			continue
		}
		if name, _ := p.options.Fleet.MultiDC(rb.project); len(o.Projects) == 0 || slices.Contains(o.Projects, name) {
			all = append(all, k)
		}
	}
	slices.SortFunc(all, Key.compare)
	return all
}

// isSync reports whether a robot is one as which Harbors replicate: all of one name are, or
// the one of groups by its own.
func (p *Provisioner) isSync(robot string) bool {
	f := p.options.Fleet
	return robot == syncRobot || f.Grouped() && robot == f.Harbor.SyncRobot.Name
}

// only is the part of what is wanted that has these keys, without what it needs.
func (d *wanted) only(keys []Key) *wanted {
	out := &wanted{objects: map[Key]object{}, secrets: map[Key]string{}, needs: map[Key][]Key{}}
	for _, k := range keys {
		out.objects[k] = d.objects[k]
		out.secrets[k] = d.secrets[k]
	}
	return out
}

// phase brings a part of the fleet to what part makes of all that is wanted; every
// change of it must be done.
func (p *Provisioner) phase(ctx context.Context, o RotateOptions, rewrite bool, part func(full *wanted) *wanted) error {
	have, faults := p.readAll(ctx)
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(faults) > 0 {
		return fmt.Errorf("nothing is rotated while %s cannot be read: %s", faults[0].Datacenter, faults[0].Message)
	}
	full := p.wanting.wants()
	p.wanting.keepUnlisted(full, have)
	want := part(full)
	for name, h := range have {
		if err := p.harbors[name].prove(ctx, h, want); err != nil {
			return err
		}
	}
	plan := &Plan{want: want, have: have}
	for _, k := range slices.SortedFunc(maps.Keys(want.objects), Key.compare) {
		plan.compare(k, have[k.Datacenter], rewrite)
	}
	return p.finished(ctx, o.Progress, plan)
}

// removed deletes what is there of these.
func (p *Provisioner) removed(ctx context.Context, progress func(string), have map[string]*having, keys []Key) error {
	plan := &Plan{want: &wanted{}, have: have}
	for _, k := range keys {
		if e := have[k.Datacenter].get(k.Kind, k.Name); e != nil {
			plan.Changes = append(plan.Changes, Change{Key: k, Action: Delete, have: e})
		}
	}
	return p.finished(ctx, progress, plan)
}

// finished applies a plan, every change of which must be done.
func (p *Provisioner) finished(ctx context.Context, progress func(string), plan *Plan) error {
	results := p.Apply(ctx, plan, func(r Result) { progress(fmt.Sprintf("%s %s: %s", r.Action, r.Key, r.Outcome)) })
	for _, r := range results {
		if r.Outcome != Done {
			if r.Place != "" {
				r.Why += " (" + r.Place + ")"
			}
			return fmt.Errorf("%s: %s: %s; what is done stays, both secrets work, and the next run goes on", r.Key, r.Outcome, r.Why)
		}
	}
	return nil
}

// readAll reads all Harbors, and takes their prefixes over.
func (p *Provisioner) readAll(ctx context.Context) (map[string]*having, []Fault) {
	have := map[string]*having{}
	var mu sync.Mutex
	faults := p.each(func(name string, h *harbor) error {
		got, err := h.read(ctx, name, nil)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		have[name] = got
		p.wanting.prefixes[name] = got.prefix
		return nil
	})
	p.spare()
	return have, faults
}

func (p *Provisioner) rotateSync(ctx context.Context, o RotateOptions, robots []Key) error {
	if len(p.harbors) < len(p.options.Fleet.Datacenters) {
		return fmt.Errorf("all datacenters log in as sync at each other: rotate it in all of them")
	}
	o.Progress("peers log in as a second robot")
	if err := p.phase(ctx, o, false, func(full *wanted) *wanted { return p.syncAs(full, robots, nextSuffix) }); err != nil {
		return err
	}
	if err := p.quiet(ctx, o, robots); err != nil {
		return err
	}
	o.Progress("sync has its new secret, and peers log in as it again")
	if err := p.phase(ctx, o, false, func(full *wanted) *wanted { return p.syncAs(full, robots, "") }); err != nil {
		return err
	}
	if err := p.quiet(ctx, o, robots); err != nil {
		return err
	}
	o.Progress("the second robot goes")
	have, faults := p.readAll(ctx)
	if len(faults) > 0 {
		return fmt.Errorf("%s: %s", faults[0].Datacenter, faults[0].Message)
	}
	second := slices.Clone(robots)
	for i := range second {
		second[i].Name += nextSuffix
	}
	return p.removed(ctx, o.Progress, have, second)
}

// syncAs wants the sync robots, with the suffix behind their names, and every peer's
// registry to log in as them.
func (p *Provisioner) syncAs(full *wanted, robots []Key, suffix string) *wanted {
	out := full.only(nil)
	for _, k := range robots {
		rb := *full.objects[k].(*robot)
		rb.name += suffix
		at := Key{k.Datacenter, kindRobot, rb.key()}
		out.add(at, &rb)
		out.secrets[at] = full.secrets[k]
		for peer := range p.harbors {
			registryAt := Key{peer, kindRegistry, full.peersRegistry(&rb, k.Datacenter)}
			if r, ok := full.objects[registryAt].(*registry); ok {
				next := *r
				next.user = p.wanting.prefixes[k.Datacenter] + at.Name
				out.add(registryAt, &next, at)
				out.secrets[registryAt] = full.secrets[k]
			}
		}
	}
	return out
}

// quiet waits for the replications that are running now to end: they have logged in
// as somebody who is about to lose that.
func (p *Provisioner) quiet(ctx context.Context, o RotateOptions, robots []Key) error {
	patience := o.Patience
	if patience == 0 {
		patience = 15 * time.Minute
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	projects := map[string]bool{}
	for _, k := range robots {
		project, _, ofProject := strings.Cut(k.Name, "+")
		if !ofProject { // all replications of groups log in as it
			project = ""
		}
		projects[project] = true
	}
	replicates := func(k Key, rule *policy) bool {
		return projects[rule.namespace] && (rule.namespace != "" || strings.HasPrefix(k.Name, groups+" "))
	}
	have, faults := p.readAll(ctx)
	if len(faults) > 0 {
		return fmt.Errorf("%s: %s", faults[0].Datacenter, faults[0].Message)
	}
	faults = p.each(func(name string, h *harbor) error {
		for k, e := range have[name].entries {
			if rule, ok := e.object.(*policy); ok && replicates(k, rule) {
				waiting := sync.OnceFunc(func() { o.Progress(fmt.Sprintf("%s is running; it is waited for, up to %v", k, patience)) })
				if err := h.idle(ctx, e.id, began, waiting); err != nil {
					return fmt.Errorf("%s still runs: %w", k, err)
				}
			}
		}
		return nil
	})
	if len(faults) > 0 {
		return fmt.Errorf("%s: %s; nothing was taken away: run it again", faults[0].Datacenter, faults[0].Message)
	}
	return nil
}

// idle waits until no execution of the policy runs that began before.
func (h *harbor) idle(ctx context.Context, policy int64, before time.Time, waiting func()) error {
	for {
		got, err := h.api.Replication.ListReplicationExecutions(ctx, replication.NewListReplicationExecutionsParams().WithPolicyID(&policy).WithStatus(ptr("InProgress")).WithPageSize(ptr(int64(pageSize))))
		if err != nil {
			return plain(err)
		}
		running := false
		for _, e := range got.Payload {
			running = running || time.Time(e.StartTime).Before(before)
		}
		if !running {
			return nil
		}
		waiting()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pollEvery):
		}
	}
}
