package provision

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/breakwater/internal/fleet"
)

// many is a fleet of so many datacenters and projects.
func many(t testing.TB, datacenters, projects int, replication string) *wanting {
	t.Helper()
	var text strings.Builder
	text.WriteString("domain: h.example.org\nharbor: { username: admin, password: \"env:X\", sync_robot: { secret: \"env:X\" } }\ndatacenters:\n")
	for i := range datacenters {
		fmt.Fprintf(&text, "  dc%02d: { harbor: \"https://harbor.dc%02d.example.org\" }\n", i, i)
	}
	fmt.Fprintf(&text, "projects:\n  multi-dc:\n    replication: %s\n    defaults: { robots: { sync: \"env:X\" }, replication: { push: event } }\n", replication)
	for i := range projects {
		fmt.Fprintf(&text, "    team%03d: {}\n", i)
	}
	f, err := fleet.Load("fleet.yaml", []byte(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	return &wanting{fleet: f, secret: func(fleet.Ref, string) string { return "Secret1Secret" }, prefixes: map[string]string{}}
}

// at is what is wanted at the first datacenter alone.
func (w *wanting) at(datacenter string) *wanted {
	d := &wanted{objects: map[Key]object{}, secrets: map[Key]string{}, needs: map[Key][]Key{}, fleet: w.fleet}
	w.wantAt(d, datacenter, nil)
	return d
}

// What replication takes of each Harbor, both ways, and how long it takes to plan it.
func TestFiguresOfGroups(t *testing.T) {
	for _, c := range []struct {
		datacenters, projects           int
		replication                     string
		registries, policies, perPolicy int // perPolicy: the most projects of one
	}{
		{5, 30, fleet.PerProject, 120, 240, 1},
		{5, 30, fleet.Grouped, 4, 8, 30},
		{50, 500, fleet.PerProject, 24500, 49000, 1},
		{50, 500, fleet.Grouped, 49, 49 * 2 * 7, 115},
	} {
		w := many(t, c.datacenters, c.projects, c.replication)
		began := time.Now()
		d := w.at("dc00")
		took := time.Since(began)
		count, pulls, most := map[string]int{}, 0.0, 0
		for k, o := range d.objects {
			count[k.Kind]++
			if p, ok := o.(*policy); ok {
				most = max(most, len(p.projects()))
				if every := interval(p.cron); every > 0 {
					pulls += float64(time.Hour / every)
				}
			}
		}
		t.Logf("%d datacenters, %d projects, %s: a Harbor has %d registries, %d replications, %d robots that replicate; the fleet pulls %.0f times an hour at each; planned in %v", c.datacenters, c.projects, c.replication, count[kindRegistry], count[kindPolicy], count[kindRobot], pulls, took.Round(time.Millisecond))
		if count[kindRegistry] != c.registries || count[kindPolicy] != c.policies || most > c.perPolicy {
			t.Errorf("%d registries, %d replications of up to %d projects, want %d, %d, %d", count[kindRegistry], count[kindPolicy], most, c.registries, c.policies, c.perPolicy)
		}
		if len(d.errs()) > 0 {
			t.Error(d.errs())
		}
	}
}

// One more project changes one replication in each direction, or parts it in two, and what
// a Harbor keeps of filters is never longer than it takes.
func TestAnotherProjectChangesOneReplication(t *testing.T) {
	filters := func(projects int) map[string]string {
		all := map[string]string{}
		for k, o := range many(t, 2, projects, fleet.Grouped).at("dc00").objects {
			if p, ok := o.(*policy); ok && strings.HasPrefix(k.Name, "multi-dc from ") {
				all[k.Name] = p.filters[0].String()
				if n := lengthOf(p.filters); n > maxFilters {
					t.Errorf("%d projects: the filters of %s have %d characters", projects, k.Name, n)
				}
			}
		}
		return all
	}
	before := filters(400)
	for projects := 401; projects <= 480; projects++ {
		now := filters(projects)
		var changed, gone, made []string
		for name, text := range before {
			if now[name] == "" {
				gone = append(gone, name)
			} else if now[name] != text {
				changed = append(changed, name)
			}
		}
		for name := range now {
			if before[name] == "" {
				made = append(made, name)
			}
		}
		if slices.Sort(made); len(changed) != 1 && (len(gone) != 1 || len(made) < 2 || len(changed) > 0) {
			t.Errorf("%d projects: %v changed, %v went, %v came", projects, changed, gone, made)
		}
		before = now
	}
}

// Projects that are replicated in their own way have replications of their own, called by
// what is different.
func TestGroupsByWay(t *testing.T) {
	const text = `domain: h.example.org
datacenters: { a: { harbor: "https://a.example.org" }, b: { harbor: "https://b.example.org" } }
harbor: { username: admin, password: "env:X", sync_robot: { secret: "env:X" } }
projects:
  multi-dc:
    replication: grouped
    defaults: { replication: { pull: 15m, push: event } }
    one: {}
    two: { description: not of replication }
    hourly: { replication: { pull: 1h } }
    silent: { replication: { push: none } }
    here: { datacenters: { a: { replication: { pull: 30m, copy_by_chunk: true } } } }
`
	f, err := fleet.Load("fleet.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	w := &wanting{fleet: f, secret: func(fleet.Ref, string) string { return "Secret1Secret" }, prefixes: map[string]string{}}
	for datacenter, want := range map[string]map[string]string{
		"a": {
			"multi-dc from b":                                  "name multi-dc-{one,two}/**",
			"multi-dc from b (every 1h)":                       "name multi-dc-hourly/**",
			"multi-dc from b (override: false)":                "name multi-dc-silent/**",
			"multi-dc from b (every 30m, copy_by_chunk: true)": "name multi-dc-here/**",
			"multi-dc to b":                                    "name multi-dc-{hourly,one,two}/**",
			"multi-dc to b (copy_by_chunk: true)":              "name multi-dc-here/**",
		},
		"b": {
			"multi-dc from a":                   "name multi-dc-{here,one,two}/**",
			"multi-dc from a (every 1h)":        "name multi-dc-hourly/**",
			"multi-dc from a (override: false)": "name multi-dc-silent/**",
			"multi-dc to a":                     "name multi-dc-{here,hourly,one,two}/**",
		},
	} {
		got := map[string]string{}
		for k, o := range w.at(datacenter).objects {
			if p, ok := o.(*policy); ok {
				got[k.Name] = p.filters[0].String()
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v, want %v", datacenter, got, want)
		}
	}
}

// complete are Harbors as a plan finds them that have all that is wanted.
func complete(d *wanted, datacenters []string) map[string]*having {
	have := map[string]*having{}
	for _, name := range datacenters {
		have[name] = &having{datacenter: name, entries: map[Key]*entry{}}
	}
	for k, o := range d.objects {
		have[k.Datacenter].entries[k] = &entry{object: o}
	}
	return have
}

// A move is planned in a moment: all that goes has what takes its place before it, and
// nothing of it is a prune.
func TestPlanOfAMove(t *testing.T) {
	old, next := many(t, 10, 100, fleet.PerProject), many(t, 10, 100, fleet.Grouped)
	for name, way := range map[string][2]*wanting{"to groups": {old, next}, "back": {next, old}} {
		began := time.Now()
		have := complete(way[0].wants(), sortedKeys(old.fleet.Datacenters))
		plan := compareAll(way[1].wants(), have, false, false)
		t.Logf("%s: %d objects come and %d go, planned in %v", name, plan.Count(Create), plan.Count(Delete), time.Since(began).Round(time.Millisecond))
		per, grouped := 10*(9*100+2*9*100+100), 10*(9+2*9+1)
		if name == "back" {
			per, grouped = grouped, per
		}
		if plan.Count(Delete) != per || plan.Count(Create) != grouped || plan.pruned() != 0 || len(plan.ShortNotes()) == 0 {
			t.Errorf("%s: %d go, want %d; %d come, want %d; %v", name, plan.Count(Delete), per, plan.Count(Create), grouped, plan.ShortNotes())
		}
		t.Log(plan.ShortNotes())
	}
}

// A person reads of what goes in a line what took its place, and a machine all of it.
func TestAMoveIsShort(t *testing.T) {
	plan := compareAll(many(t, 3, 20, fleet.Grouped).wants(), complete(many(t, 3, 20, fleet.PerProject).wants(), []string{"dc00", "dc01", "dc02"}), false, false)
	var lines []string
	for _, c := range plan.ShortChanges() {
		if c.Datacenter == "dc00" && c.Action == Delete {
			lines = append(lines, c.Kind+" "+c.Name+": "+c.Why)
		}
	}
	want := []string{
		"replication multi-dc-team000 from dc01, multi-dc-team001 from dc01, multi-dc-team002 from dc01 and 17 more: multi-dc from dc01 takes its place",
		"replication multi-dc-team000 from dc02, multi-dc-team001 from dc02, multi-dc-team002 from dc02 and 17 more: multi-dc from dc02 takes its place",
		"replication multi-dc-team000 to dc01, multi-dc-team001 to dc01, multi-dc-team002 to dc01 and 17 more: multi-dc to dc01 takes its place",
		"replication multi-dc-team000 to dc02, multi-dc-team001 to dc02, multi-dc-team002 to dc02 and 17 more: multi-dc to dc02 takes its place",
		"registry multi-dc-team000-dc01, multi-dc-team000-dc02, multi-dc-team001-dc01 and 37 more: no replication needs it any more",
		"robot multi-dc-team000+sync, multi-dc-team001+sync, multi-dc-team002+sync and 17 more: nobody replicates as it any more",
	}
	if !slices.Equal(lines, want) {
		t.Errorf("%s", strings.Join(lines, "\n"))
	}
}

// On the way back a project without a robot is replicated no more, as the file says, and
// keeps nobody: what the others have takes the group's place.
func TestAProjectStaysBehind(t *testing.T) {
	back := many(t, 2, 2, fleet.PerProject)
	back.fleet.Projects.MultiDC.Items["team001"].Robots.Sync = fleet.Ref{}
	plan := compareAll(back.wants(), complete(many(t, 2, 2, fleet.Grouped).wants(), []string{"dc00", "dc01"}), false, true)
	for _, c := range plan.Changes {
		if c.Action == Delete && (!c.replaced || len(c.needs) == 0) {
			t.Errorf("%s is deleted before anything: %s", c.Key, c.Why)
		}
	}
	if n := plan.Count(Delete); n != 2*(2+1+1) {
		t.Errorf("%d are deleted", n)
	}
}
