package provision

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"example.org/breakwater/internal/naming"
)

// RefillOptions say which Harbor is filled, and from which.
type RefillOptions struct {
	Datacenter string       // whose Harbor is filled
	From       string       // from this datacenter's
	Projects   []string     // multi-dc projects, as the fleet file names them; none: all
	Progress   func(string) // called with each step, one at a time
}

// refillName begins the names of the replications that a refill makes and removes.
const refillName = "breakwater refill of "

// Refill has a Harbor take all that it lacks from another one, with its tags, once: after it was
// rebuilt, or restored from a backup. What edges know the versions of they bring back themselves;
// this is for what is older. A tag that is there stays as it is. Harbor's own replication does it,
// by policies beside those of apply, which are removed in the end. Projects that one of the two is
// not to hold are left out, and it is said where what the Harbor lacks of them is to be had.
func (p *Provisioner) Refill(ctx context.Context, o RefillOptions) error {
	for _, name := range []string{o.Datacenter, o.From} {
		if p.harbors[name] == nil {
			return p.options.Fleet.NoDatacenter(name)
		}
	}
	if o.Datacenter == o.From {
		return errors.New("a Harbor is filled from another one: say which with --from")
	}
	for _, name := range o.Projects {
		if p.options.Fleet.Projects.MultiDC.Items[name] == nil {
			return fmt.Errorf("the fleet file has no multi-dc project %q", name)
		}
		if homes := p.options.Fleet.Homes(name); !holds(homes, o.Datacenter) {
			return fmt.Errorf("%s's Harbor is to hold no copy of %s: those at %s do", o.Datacenter, name, strings.Join(homes, ", "))
		}
	}
	o.Progress = oneAtATime(o.Progress)
	release, barred, err := p.hold(ctx, "refill of "+o.Datacenter, []string{o.Datacenter})
	if err != nil {
		return err
	}
	defer release()
	if why := barred[o.Datacenter]; why != nil {
		return why
	}
	have, faults := p.readAll(ctx)
	for _, f := range faults {
		if f.Datacenter == o.Datacenter || f.Datacenter == o.From {
			return fmt.Errorf("%s cannot be read: %s", f.Datacenter, f.Message)
		}
	}
	full := p.wanting.wants()
	want := full.only(nil)
	for _, k := range slices.SortedFunc(maps.Keys(full.objects), Key.compare) {
		for _, filled := range p.refills(full, k, o) {
			if have[o.Datacenter].get(k.Kind, k.Name) == nil {
				return fmt.Errorf("%s is not there: provision apply makes it, and then this goes on", k)
			}
			want.add(Key{k.Datacenter, kindPolicy, filled.name}, filled)
		}
	}
	others := p.elsewhere(o)
	switch {
	case len(want.objects) == 0 && others != "":
		return errors.New(others)
	case len(want.objects) == 0:
		return fmt.Errorf("nothing is replicated from %s to %s: the projects have no sync robot, or other homes", o.From, o.Datacenter)
	}
	plan := &Plan{want: want, have: have}
	keys := slices.SortedFunc(maps.Keys(want.objects), Key.compare)
	for _, k := range keys {
		plan.compare(k, have[k.Datacenter], false)
	}
	if err := p.finished(ctx, o.Progress, plan); err != nil {
		return err
	}
	filled, err := p.harbors[o.Datacenter].read(context.WithoutCancel(ctx), o.Datacenter, nil) // with what was made, which goes also after Ctrl-C
	if err != nil {
		return fmt.Errorf("%s cannot be read again: %w; the next run goes on", o.Datacenter, plain(err))
	}
	have[o.Datacenter] = filled
	err = errors.Join(p.fill(ctx, o, filled, keys), p.removed(context.WithoutCancel(ctx), o.Progress, have, keys))
	if others != "" {
		o.Progress(others)
	}
	return err
}

// refills are what a replication of the fleet file does once, with tags: nothing where it is not
// one of a multi-dc project from that datacenter.
func (p *Provisioner) refills(full *wanted, k Key, o RefillOptions) (all []*policy) {
	of, ok := full.objects[k].(*policy)
	if !ok || k.Datacenter != o.Datacenter || of.from == "" {
		return nil
	}
	at, ok := full.objects[Key{k.Datacenter, kindRegistry, of.from}].(*registry)
	if !ok || at.url != string(p.options.Fleet.Datacenters[o.From].Harbor) {
		return nil
	}
	once := func(suffix string, projects ...string) {
		p := *of
		p.name, p.trigger, p.cron, p.single, p.override = refillName+of.name+suffix, "manual", "", "", false
		p.filters = []filter{{kind: filterName, value: patternOf(projects)}, {kind: filterTag, value: "**"}}
		all = append(all, &p)
	}
	there := slices.DeleteFunc(of.projects(), func(full string) bool {
		name, m := p.options.Fleet.MultiDC(full)
		return m == nil || !holds(p.options.Fleet.Homes(name), o.From)
	})
	if len(o.Projects) == 0 && len(there) > 0 {
		once("", there...)
	}
	for _, name := range o.Projects {
		if full := p.options.Fleet.Project(naming.MultiDC, name); slices.Contains(there, full) {
			once(", "+name, full)
		}
	}
	return all
}

// elsewhere says of which projects a Harbor is a home and the one that it is filled from is not,
// and from where those are to be had; "": of none.
func (p *Provisioner) elsewhere(o RefillOptions) string {
	f, others := p.options.Fleet, map[string][]string{}
	for _, name := range sortedKeys(f.Projects.MultiDC.Items) {
		homes := f.Homes(name)
		if len(o.Projects) > 0 && !slices.Contains(o.Projects, name) || !holds(homes, o.Datacenter) || holds(homes, o.From) {
			continue
		}
		from := homes[slices.IndexFunc(homes, func(home string) bool { return home != o.Datacenter })]
		others[from] = append(others[from], name)
	}
	var all []string
	for _, from := range sortedKeys(others) {
		all = append(all, fmt.Sprintf("--from %s (%s)", from, few(others[from])))
	}
	if len(all) == 0 {
		return ""
	}
	return fmt.Sprintf("%s does not hold all projects of %s; the others come with %s", o.From, o.Datacenter, strings.Join(all, ", "))
}

// fill runs the replications, one after the other.
func (p *Provisioner) fill(ctx context.Context, o RefillOptions, have *having, keys []Key) error {
	var errs []error
	for _, k := range keys {
		e := have.get(k.Kind, k.Name)
		if e == nil {
			errs = append(errs, fmt.Errorf("%s is gone: somebody has removed it", k))
			continue
		}
		err := p.harbors[k.Datacenter].runPolicy(ctx, e.id)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", k, err))
			continue
		}
		o.Progress(fmt.Sprintf("%s ran: all that %s has is at %s", k, o.From, o.Datacenter))
	}
	return errors.Join(errs...)
}
