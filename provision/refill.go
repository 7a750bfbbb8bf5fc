package provision

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"example.org/breakwater/internal/naming"
)

// RefillOptions say which Harbor is filled, and from which.
type RefillOptions struct {
	Datacenter string       // whose Harbor is filled
	From       string       // from this datacenter's
	Projects   []string     // multi-dc projects, as the fleet file names them; none: all
	Progress   func(string) // called with each step
}

// refillName begins the names of the replications that a refill makes and removes.
const refillName = "breakwater refill of "

// Refill has a Harbor take all that it lacks from another one, with its tags, once: after it was
// rebuilt, or restored from a backup. What edges know the versions of they bring back themselves;
// this is for what is older. A tag that is there stays as it is. Harbor's own replication does it,
// by policies beside those of apply, which are removed in the end.
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
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
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
	if len(want.objects) == 0 {
		return fmt.Errorf("nothing is replicated from %s to %s: the projects have no sync robot", o.From, o.Datacenter)
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
	return errors.Join(p.fill(ctx, o, filled, keys), p.removed(context.WithoutCancel(ctx), o.Progress, have, keys))
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
	repos := ""
	for _, f := range of.filters {
		if value, ok := f.value.(string); ok && f.kind == filterName && strings.HasPrefix(value, naming.MultiDC) {
			repos = value
		}
	}
	if repos == "" {
		return nil
	}
	once := func(suffix, repos string) {
		p := *of
		p.name, p.trigger, p.cron, p.single, p.override = refillName+of.name+suffix, "manual", "", "", false
		p.filters = []filter{{kind: filterName, value: repos}, {kind: filterTag, value: "**"}}
		all = append(all, &p)
	}
	if len(o.Projects) == 0 {
		once("", repos)
	}
	for _, name := range o.Projects {
		if in, err := doublestar.Match(repos, naming.MultiDC+name+"/x"); err == nil && in {
			once(", "+name, naming.MultiDC+name+"/**")
		}
	}
	return all
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
