// Package provision makes every Harbor of a fleet as the fleet file says: one desired
// state, one plan. See README.md for what it wants, and for the rules in their order.
package provision

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/secret"
)

// Options say how to plan. The zero value is what is wanted nearly always.
type Options struct {
	Fleet       *fleet.Fleet
	Datacenters []string // only these are read and changed; none: all
	Rewrite     bool     // secrets are written again, also those that cannot be proven
	Prune       bool     // what carries our mark and is not in the fleet file is deleted
	PruneMax    int      // of all datacenters together: more than these are not deleted; 0: 10

	Waiting func(string) // is told who is waited for, one line at a time; nil: nobody is
}

// Provisioner has read a fleet's secrets and is logged in to its Harbors.
type Provisioner struct {
	options Options
	wanting wanting
	harbors map[string]*harbor
	notes   []string

	artifactory *artifactory // nil: nothing is written there
	leases      leases
	settling    time.Duration // how long robots outlive the replications that went; 0: 5 seconds
	grace       time.Duration // how long what has begun goes on after the run was ended; 0: 8 seconds
}

// Open looks all secrets up, and writes nothing. The error says everything that is
// missing, at once; its lines hold no secrets.
func Open(ctx context.Context, o Options) (*Provisioner, error) {
	f := o.Fleet
	s, err := secret.New(f)
	if err != nil {
		return nil, err
	}
	p := &Provisioner{options: o, harbors: map[string]*harbor{}}
	p.wanting = wanting{fleet: f, prefixes: map[string]string{}}
	p.wanting.secret = func(ref fleet.Ref, project string) string { return s.Gather(ctx, ref, project) }
	var trust *tls.Config
	if trust, err = tlsOf(f.Harbor.CA); err != nil {
		return nil, fmt.Errorf("harbor.ca: %w", err)
	}
	user, password := p.wanting.text(f.Harbor.Username), s.Gather(ctx, f.Harbor.Password, "")
	for name := range f.Datacenters {
		p.wanting.prefixes[name] = f.Harbor.RobotPrefix
	}
	var unset, unlisted error
	if f.Harbor.Username.IsZero() || f.Harbor.Password.IsZero() {
		unset = errors.New("harbor.username and harbor.password are missing: provision logs in with them")
	}
	p.wanting.keys, unlisted = p.discover(ctx, s)
	d := p.wanting.wants() // looks every secret up
	if err := errors.Join(append([]error{s.Err(), unset, unlisted}, d.errs()...)...); err != nil {
		return nil, err
	}
	for name, dc := range f.Datacenters {
		if len(o.Datacenters) > 0 && !slices.Contains(o.Datacenters, name) {
			continue
		}
		if p.harbors[name], err = newHarbor(string(dc.Harbor), user, password, trust); err != nil {
			return nil, err
		}
		p.harbors[name].prefix, p.harbors[name].name, p.harbors[name].waiting = f.Harbor.RobotPrefix, name, o.Waiting
	}
	return p, nil
}

// Close ends the sessions, and what Hold holds.
func (p *Provisioner) Close() {
	p.leases.mu.Lock()
	defer p.leases.mu.Unlock()
	p.leases.give(sortedKeys(p.leases.held))
	for _, h := range p.harbors {
		h.close()
	}
}

// each calls do for all Harbors at once, and gathers what fails by datacenter.
func (p *Provisioner) each(do func(name string, h *harbor) error) []Fault {
	var mu sync.Mutex
	var faults []Fault
	var all sync.WaitGroup
	for name, h := range p.harbors {
		all.Go(func() {
			if err := do(name, h); err != nil {
				mu.Lock()
				defer mu.Unlock()
				faults = append(faults, Fault{name, h.faultOf(err), away(err)})
			}
		})
	}
	all.Wait()
	slices.SortFunc(faults, func(a, b Fault) int { return Key{Datacenter: a.Datacenter}.compare(Key{Datacenter: b.Datacenter}) })
	return faults
}

// Plan reads every Harbor and says what would change. A Harbor that cannot be read is
// a fault of the plan; the others are planned without it.
func (p *Provisioner) Plan(ctx context.Context) (*Plan, error) {
	want := p.wanting.wants()
	have := map[string]*having{}
	var mu sync.Mutex
	faults := p.each(func(name string, h *harbor) error {
		got, err := h.read(ctx, name, want)
		if err == nil {
			err = h.readUsers(ctx, got, want)
		}
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		have[name] = got
		return nil
	})
	p.spare()
	faults = append(faults, p.each(func(name string, h *harbor) error {
		if got := have[name]; got != nil {
			return h.prove(ctx, got, want)
		}
		return nil
	})...)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if p.artifactory != nil {
		got, err := p.artifactory.read(ctx)
		if err != nil {
			faults = append(faults, Fault{atArtifactory, err.Error(), away(err)})
		} else {
			have[atArtifactory] = got
		}
	}
	for name, h := range have {
		p.wanting.prefixes[name] = h.prefix
	}
	want = p.wanting.wants() // again, with the prefixes that the Harbors have
	p.wanting.keepUnlisted(want, have)
	plan := compareAll(want, have, p.options.Rewrite, p.options.Prune)
	p.wanting.starts(plan)
	plan.Faults = faults
	plan.Notes = append(plan.Notes, p.notes...)
	for _, name := range sortedKeys(have) {
		if note := have[name].outside(); note != "" {
			plan.Notes = append(plan.Notes, note)
		}
	}
	for _, h := range p.harbors {
		plan.Calls, plan.Proofs = plan.Calls+h.calls.Load(), plan.Proofs+h.proofs.Load()
	}
	if n := plan.pruned(); n > cmp.Or(p.options.PruneMax, 10) {
		return nil, fmt.Errorf("--prune would delete %s, which is more than --prune-max allows: is the fleet file whole?", Counted(n, "object"))
	}
	return plan, nil
}

// Apply does what the plan says; progress is called for each change as it ends, one
// at a time. Ending ctx stops between changes. It holds the Harbors that it changes,
// unless Hold does already: while another run is at work it does nothing.
func (p *Provisioner) Apply(ctx context.Context, plan *Plan, progress func(Result)) []Result {
	if progress == nil {
		progress = func(Result) {}
	}
	if len(plan.Changes) == 0 {
		return []Result{}
	}
	release, barred, err := p.hold(ctx, "apply", plan.changed())
	if err != nil {
		barred = map[string]error{}
		for _, c := range plan.Changes {
			barred[c.Datacenter] = err
		}
		return p.run(ctx, plan, barred, progress)
	}
	defer release()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if over := p.leases.over; over.Err() != nil {
		cancel(context.Cause(over))
	} else {
		defer context.AfterFunc(over, func() { cancel(context.Cause(over)) })()
	}
	return p.run(ctx, plan, barred, progress)
}

// Calls is how many calls each Harbor's management API has taken until now.
func (p *Provisioner) Calls() map[string]int64 {
	calls := map[string]int64{}
	for name, h := range p.harbors {
		calls[name] = h.calls.Load()
	}
	return calls
}

// discover is the list of Artifactory's local Docker repositories, if there is one.
func (p *Provisioner) discover(ctx context.Context, s *secret.Store) ([]string, error) {
	a := p.options.Fleet.Projects.Artifactory
	if a == nil {
		return nil, nil
	}
	session, err := newArtifactory(a, p.wanting.text(a.Username), s.Gather(ctx, a.Password, ""), s.Gather(ctx, a.AdminToken, ""))
	if err != nil || s.Err() != nil {
		return nil, err // what is missing is said with the rest
	}
	if session.token != "" && session.user != "" {
		p.artifactory = session
	}
	keys, notes, err := session.keys(ctx, a.Exclude, slices.Collect(maps.Keys(p.options.Fleet.Projects.Cache.Items)))
	p.notes = append(p.notes, notes...)
	return keys, err
}
