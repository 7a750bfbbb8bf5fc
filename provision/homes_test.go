package provision

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/naming"
)

// four is a fleet of four datacenters, whose projects are as the text says, in two Harbors each.
func four(t *testing.T, replication, projects string) *wanting {
	t.Helper()
	return apart(t, []string{"a", "b", "c", "d"}, replication, 2, projects)
}

// apart is a fleet whose projects are in so many Harbors each.
func apart(t *testing.T, datacenters []string, replication string, copies int, projects string) *wanting {
	t.Helper()
	var text strings.Builder
	text.WriteString("domain: h.example.org\nharbor: { username: admin, password: \"env:X\", sync_robot: { secret: \"env:X\" } }\ndatacenters:\n")
	for _, dc := range datacenters {
		fmt.Fprintf(&text, "  %[1]s: { harbor: \"https://harbor.%[1]s.example.org\", edge: \"https://edge.%[1]s.example.org\" }\n", dc)
	}
	fmt.Fprintf(&text, "edge: { plain_http: true, robot: { secret: \"env:X\" }, peers: { key: \"env:X\" } }\nprojects:\n  multi-dc:\n    replication: %s\n    copies: %d\n    defaults: { webhooks: false, robots: { sync: \"env:X\" } }\n%s", replication, copies, projects)
	f, err := fleet.Load("fleet.yaml", []byte(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	return &wanting{fleet: f, secret: func(fleet.Ref, string) string { return "Secret1Secret" }, prefixes: map[string]string{}}
}

// Homes pull from everybody and are pushed to by everybody; others have neither. All have the
// projects and what belongs to them, and no registry leads to where nothing goes.
func TestWhatHomesReplicate(t *testing.T) {
	const projects = "    app: {}\n    web: {}\n    silent: { replication: { push: none } }\n    wide: { copies: all }\n"
	want := map[string]string{ // app is at home in a and b, web and silent in b and c
		"a app": "from b, from c, from d, to b", "b app": "from a, from c, from d, to a", "c app": "to a, to b", "d app": "to a, to b",
		"a web": "to b, to c", "b web": "from a, from c, from d, to c", "c web": "from a, from b, from d, to b", "d web": "to b, to c",
		"b silent": "from a, from c, from d", "c silent": "from a, from b, from d",
		"a wide": "from b, from c, from d, to b, to c, to d", "b wide": "from a, from c, from d, to a, to c, to d",
		"c wide": "from a, from b, from d, to a, to b, to d", "d wide": "from a, from b, from c, to a, to b, to c",
	}
	for _, replication := range []string{fleet.PerProject, fleet.Grouped} {
		d := four(t, replication, projects).wants()
		if len(d.errs()) > 0 {
			t.Error(d.errs())
		}
		ways, got := map[string][]string{}, map[string]string{}
		for of, all := range d.successors() {
			for project := range all {
				at := of.datacenter + " " + strings.TrimPrefix(project, naming.MultiDC)
				ways[at] = append(ways[at], of.word+" "+of.peer)
			}
		}
		for at, all := range ways {
			slices.Sort(all)
			got[at] = strings.Join(all, ", ")
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s: %v, want %v", replication, got, want)
		}
		for _, dc := range []string{"a", "b", "c", "d"} {
			for _, project := range []string{"app", "web", "silent", "wide"} {
				if d.objects[Key{dc, kindProject, naming.MultiDC + project}] == nil || d.objects[Key{dc, kindRetention, naming.MultiDC + project}] == nil {
					t.Errorf("%s: %s has no project %s", replication, dc, project)
				}
			}
		}
		idleRegistries(t, d)
	}
	idleRegistries(t, four(t, fleet.Grouped, "    app: {}\n").wants())
}

// idleRegistries reports registries that no replication has, and robots as which nobody logs in.
func idleRegistries(t *testing.T, d *wanted) {
	t.Helper()
	used := map[Key]bool{}
	for k, o := range d.objects {
		if p, ok := o.(*policy); ok {
			used[Key{k.Datacenter, kindRegistry, p.from + p.to}] = true
		}
	}
	for k, o := range d.objects {
		if _, ok := o.(*registry); !ok {
			continue
		}
		if !used[k] {
			t.Errorf("no replication has %s", k)
		}
		for _, need := range d.needs[k] {
			used[need] = true
		}
	}
	for k, o := range d.objects {
		if rb, ok := o.(*robot); ok && !used[k] && (rb.name == syncRobot || rb.description == marked(groupsOwn)) {
			t.Errorf("nobody logs in as %s", k)
		}
	}
}

// What replication takes of a Harbor where each of 500 projects is in 3 of 50 Harbors.
func TestFiguresOfCopies(t *testing.T) {
	var datacenters []string
	var projects strings.Builder
	for i := range 50 {
		datacenters = append(datacenters, fmt.Sprintf("dc%02d", i))
	}
	for i := range 500 {
		fmt.Fprintf(&projects, "    team%03d: {}\n", i)
	}
	for replication, most := range map[string]int{fleet.PerProject: 4000, fleet.Grouped: 2 * 49} {
		w, count, pulls := apart(t, datacenters, replication, 3, projects.String()), map[string]int{}, 0.0
		for k, o := range w.at("dc00").objects {
			count[k.Kind]++
			if p, ok := o.(*policy); ok && p.cron != "" {
				pulls += float64(time.Hour / interval(p.cron))
			}
		}
		t.Logf("%s: a Harbor has %d registries and %d replications, and pulls %.0f times an hour", replication, count[kindRegistry], count[kindPolicy], pulls)
		if count[kindPolicy] > most || count[kindProject] != 500 {
			t.Errorf("%d replications, want %d at most; %d projects", count[kindPolicy], most, count[kindProject])
		}
	}
}

// From projects to groups everything goes that groups take the place of, where homes are some alone.
func TestHomesGoOverToGroups(t *testing.T) {
	const projects = "    app: {}\n    web: {}\n"
	per, grouped := four(t, fleet.PerProject, projects), four(t, fleet.Grouped, projects)
	for name, way := range map[string][2]*wanting{"to groups": {per, grouped}, "back": {grouped, per}} {
		want := way[1].wants()
		plan := compareAll(want, complete(way[0].wants(), []string{"a", "b", "c", "d"}), false, true)
		if n := plan.pruned(); n != 0 || plan.Count(Delete) == 0 {
			t.Errorf("%s: %d are deleted, %d of them without a successor", name, plan.Count(Delete), n)
		}
	}
}

// What is not wanted any more as projects have homes elsewhere is said to be that, and not that the
// file does not have it; robots stay, as all Harbors are pulled from.
func TestPlanOfCopiesSaysWhatIsTooMuch(t *testing.T) {
	const projects = "    app: {}\n" // at home in a and b
	for replication, want := range map[string][]string{
		fleet.PerProject: {"c: registry multi-dc-app-d: what it replicates has other homes (copies); --prune deletes it", "c: replication multi-dc-app from a, multi-dc-app from b, multi-dc-app from d and 1 more: what it replicates has other homes (copies); --prune deletes it"},
		fleet.Grouped:    {"c: registry multi-dc.d: what it replicates has other homes (copies); --prune deletes it", "c: replication multi-dc from a, multi-dc from b, multi-dc from d and 1 more: what it replicates has other homes (copies); --prune deletes it"},
	} {
		w := four(t, replication, projects)
		w.fleet.Projects.MultiDC.Items["app"].Copies = fleet.Everywhere
		have := map[string]*having{"c": complete(w.wants(), []string{"a", "b", "c", "d"})["c"]}
		w.fleet.Projects.MultiDC.Items["app"].Copies = 2
		plan := compareAll(w.wants(), have, false, false)
		if got := plan.ShortNotes(); !slices.Equal(got, want) || len(plan.Changes) > 0 {
			t.Errorf("%s: %q, %v", replication, got, plan.Changes)
		}
	}
}

// inSome has projects in two Harbors each: app in dc1 and dc4, web in dc1 and dc2.
const inSome = "\n    copies: 2\n"

// A fleet goes over to copies and back while all of its datacenters push: everything that was
// pushed comes to the homes, nobody is refused, and after no write does a home replicate less
// than it is to. What is pushed in between comes to the homes, and nowhere else.
func TestCopiesAndBackUnderLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("pushes go on through two moves")
	}
	for name, replication := range map[string]string{"per project": "per-project", "in groups": "grouped"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, j := newGroupable(t, []string{"dc1", "dc2", "dc3", "dc4"}, "app: {}", "web: {}")
			f.text = strings.Replace(f.text, "replication: per-project", "replication: "+replication, 1)
			toSome := []string{"replication: " + replication + "\n", "replication: " + replication + inSome}
			all := &pushed{homes: homesOf(f, t, toSome...)}
			f.apply(t, Options{})
			j.expect(2 * 12 * 2) // both directions of twelve pairs, of two projects
			maps.DeleteFunc(j.must, func(way string, _ bool) bool { return !all.keep(way) })
			if len(j.must) != 2*(2*3+3+3) {
				t.Errorf("%d ways are to be kept", len(j.must))
			}
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			var load sync.WaitGroup
			for dc := range f.harbors {
				load.Go(func() { all.push(ctx, t, f, dc, "app", "web") })
			}
			if plan := move(t, f, toSome...); plan.pruned() > 0 {
				t.Errorf("%d are pruned", plan.pruned())
			}
			f.apply(t, Options{Prune: true, PruneMax: 1000}, toSome...)
			if got := j.replicated(); !maps.Equal(got, j.must) {
				t.Errorf("in some Harbors: %v", slices.Sorted(maps.Keys(got)))
			}
			stop()
			load.Wait()
			all.everywhere(t, f)
			f.quiet(t)
			all.nowhereElse(t, f)
			move(t, f)
			if got := j.replicated(); len(got) != 2*12*2 {
				t.Errorf("in all again: %v", slices.Sorted(maps.Keys(got)))
			}
			for _, wrong := range j.verdict() {
				t.Error(wrong)
			}
			all.everywhere(t, f)
			t.Logf("%d artifacts and %d writes", len(all.all), j.writes)
		})
	}
}

// homesOf are those of app and web, by the names that they have in Harbor.
func homesOf(f *testFleet, t *testing.T, replace ...string) map[string][]string {
	t.Helper()
	loaded, err := fleet.Load("fleet.yaml", []byte(strings.NewReplacer(replace...).Replace(f.text)))
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]string{"multi-dc-app": loaded.Homes("app"), "multi-dc-web": loaded.Homes("web")}
}

// keep reports whether a way, as "dc1 from dc2: multi-dc-app", leads to a home.
func (p *pushed) keep(way string) bool {
	direction, project, _ := strings.Cut(way, ": ")
	words := strings.Fields(direction)
	if words[1] == wordFrom {
		return holds(p.homes[project], words[0])
	}
	return holds(p.homes[project], words[2])
}

// nowhereElse pushes at each Harbor once more, and holds who has it when all is done.
func (p *pushed) nowhereElse(t *testing.T, f *testFleet) {
	t.Helper()
	for _, project := range []string{"app", "web"} {
		for _, dc := range sortedKeys(f.harbors) {
			one := &pushed{homes: p.homes}
			if _, ok := one.one(t, f, dc, "multi-dc-"+project); !ok {
				return
			}
			one.everywhere(t, f)
			f.quiet(t)
			for other, h := range f.harbors {
				if want := other == dc || holds(p.homes["multi-dc-"+project], other); isThere(t, h, one.all[0]) != want {
					t.Errorf("%s, pushed at %s, is at %s: %t", one.all[0], dc, other, !want)
				}
			}
		}
	}
}

// A project that groups replicate from now on is said where its Harbor is a home, and not again
// wherever there is nothing to begin.
func TestWhatHomesBeginToReplicate(t *testing.T) {
	const projects = "    silent: { replication: { push: none } }\n" // at home in b and c
	w := four(t, fleet.Grouped, projects)
	w.fleet.Projects.MultiDC.Items["silent"].Robots.Sync = fleet.Ref{}
	for name, c := range map[string]struct {
		without string // kind of what is not there yet
		want    int
	}{"before": {kindPolicy, 2}, "after": {"", 0}} {
		have := complete(w.wants(), []string{"a", "b", "c", "d"})
		for _, h := range have {
			maps.DeleteFunc(h.entries, func(k Key, _ *entry) bool { return k.Kind == c.without })
		}
		plan := compareAll(w.wants(), have, false, false)
		w.starts(plan)
		said := 0
		for _, note := range plan.Notes {
			if strings.Contains(note, "is replicated from now on") {
				said++
			}
		}
		if said != c.want {
			t.Errorf("%s: it is said %d times, want %d: %q", name, said, c.want, plan.Notes)
		}
	}
}
