package fleet

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// dispersed is a fleet of so many datacenters and projects, of three copies each.
func dispersed(datacenters, projects int) *Fleet {
	f := &Fleet{Datacenters: map[string]*Datacenter{}}
	for i := range datacenters {
		f.Datacenters[fmt.Sprintf("dc%02d", i)] = &Datacenter{}
	}
	f.Projects.MultiDC.Replication, f.Projects.MultiDC.Items = Grouped, map[string]*MultiDC{}
	for i := range projects {
		f.Projects.MultiDC.Items[fmt.Sprintf("team%03d", i)] = &MultiDC{Copies: 3}
	}
	return f
}

// homes are those of all projects.
func homes(f *Fleet) map[string][]string {
	all := map[string][]string{}
	for name := range f.Projects.MultiDC.Items {
		all[name] = f.Homes(name)
	}
	return all
}

// Projects are where every program of every version looks for them: another hash would move all.
func TestHomesAreWhereTheyWere(t *testing.T) {
	f := dispersed(50, 500)
	for project, want := range map[string]string{"team000": "dc23 dc29 dc41", "team001": "dc10 dc18 dc27", "team499": "dc01 dc09 dc38"} {
		if got := strings.Join(f.Homes(project), " "); got != want {
			t.Errorf("%s is in %s, want %s", project, got, want)
		}
	}
}

// Each of 50 datacenters is a home of about 30 of 500 projects.
func TestHomesAreBalanced(t *testing.T) {
	count := map[string]int{}
	for name, in := range homes(dispersed(50, 500)) {
		if len(in) != 3 || !slices.IsSorted(in) {
			t.Errorf("%s is in %v", name, in)
		}
		for _, datacenter := range in {
			count[datacenter]++
		}
	}
	for i := range 50 {
		if n := count[fmt.Sprintf("dc%02d", i)]; n < 14 || n > 46 { // three standard deviations
			t.Errorf("dc%02d is a home of %d projects", i, n)
		}
	}
}

// A datacenter that comes takes the place of one home of some projects, and one that goes gives
// its projects one other home each: nothing else moves. Another copy is another home.
func TestHomesStay(t *testing.T) {
	before, after := homes(dispersed(50, 500)), homes(dispersed(51, 500))
	moved := 0
	for name, was := range before {
		lost := slices.DeleteFunc(slices.Clone(was), func(dc string) bool { return slices.Contains(after[name], dc) })
		came := slices.DeleteFunc(slices.Clone(after[name]), func(dc string) bool { return slices.Contains(was, dc) })
		if len(lost) == 0 {
			continue
		}
		if moved++; len(lost) != 1 || !slices.Equal(came, []string{"dc50"}) {
			t.Errorf("%s goes from %v to %v", name, was, after[name])
		}
	}
	if moved < 15 || moved > 46 { // 500 of 3/51
		t.Errorf("%d projects move", moved)
	}
	f := dispersed(50, 500)
	for name, p := range f.Projects.MultiDC.Items {
		p.Copies = 4
		if in := f.Homes(name); len(in) != 4 || slices.ContainsFunc(before[name], func(dc string) bool { return !slices.Contains(in, dc) }) {
			t.Errorf("%s with four copies is in %v, and was in %v", name, in, before[name])
		}
	}
}

// What is written for how many Harbors hold a project, and what is wrong with it.
func TestCopies(t *testing.T) {
	const grouped = "harbor: { sync_robot: { secret: \"env:SYNC\" } }\nprojects: { multi-dc: { replication: grouped, "
	in := func(text string, more ...string) []string {
		return append([]string{"projects: { multi-dc: { app: {}", grouped + text}, more...)
	}
	noEdge := []string{`, edge: "https://edge.c.example.org"`, ""}
	for _, c := range []struct {
		name    string
		replace []string
		homes   int // of app; 0: all
		fault   string
	}{
		{"nothing", in("app: {}"), 0, ""},
		{"of all projects", in("copies: 2, app: {}"), 2, ""},
		{"of one project", in("app: { copies: 2 }"), 2, ""},
		{"all but one", in("copies: 2, app: { copies: all }"), 0, ""},
		{"as many as datacenters", in("copies: 3, app: {}"), 0, ""},
		{"more than datacenters", in("copies: 50, app: {}"), 0, ""},
		{"a project that is not replicated", []string{"app: {}", "copies: 2, app: {}"}, 0, ""},
		{"per project", []string{"app: {}", "copies: 2, app: { robots: { sync: \"env:SYNC\" } }"}, 2, ""},
		{"another project's", in("app: {}, web: { copies: 2 }"), 0, ""},
		{"one", in("copies: 1, app: {}"), 0, "f:8: projects.multi-dc.copies: 1 would have each project in one Harbor alone, and it would be gone with that; write 2 or more, or all"},
		{"none", in("app: { copies: 0 }"), 0, `f:8: projects.multi-dc.app.copies: "0" is no number of copies; write in how many Harbors a project is to be, 2 or more, or all`},
		{"less than none", in("app: { copies: -2 }"), 0, `f:8: projects.multi-dc.app.copies: "-2" is no number of copies; write in how many Harbors a project is to be, 2 or more, or all`},
		{"a word", in("app: { copies: three }"), 0, `f:8: projects.multi-dc.app.copies: "three" is no number of copies; write in how many Harbors a project is to be, 2 or more, or all`},
		{"a project of that name", in("app: {}, copies: { quota: 1GiB }"), 0, "f:8: projects.multi-dc.copies: want one value here, not a block of fields; quote a value that begins with {"},
		{"in defaults", in("defaults: { copies: 2 }, app: {}"), 0, "f:8: projects.multi-dc.defaults.copies: it stands beside defaults; write projects.multi-dc.copies, or copies for each project"},
		{"in one datacenter", in("app: { datacenters: { a: { copies: 2 } } }"), 0, "f:8: projects.multi-dc.app.datacenters.a.copies: in how many Harbors a project is, is the same in all datacenters; write it for the project"},
		{"tags that cannot be moved", in("copies: 2, app: { immutable_tags: [\"v*\"] }"), 0, "f:8: projects.multi-dc.app.immutable_tags: a Harbor that does not hold a project cannot keep its tags from being moved there; write copies: all for it, or leave immutable_tags out"},
		{"tags that cannot be moved, of all", in("copies: 2, defaults: { immutable_tags: [\"v*\"] }, app: {}, web: { copies: all }"), 0, "f:8: projects.multi-dc.defaults.immutable_tags: a Harbor that does not hold a project cannot keep its tags from being moved there; write copies: all for it, or leave immutable_tags out"},
		{"Harbors own the tags", in("copies: 2, defaults: { replication: { tags: harbor } }, app: {}"), 0, "f:8: projects.multi-dc.copies: where a Harbor does not hold a project edges bring what it lacks, and so they own the tags; write tags: edges for tags: harbor in line 8, or copies: all"},
		{"Harbors own those of the project", in("app: { copies: 2, replication: { tags: harbor } }"), 0, "f:8: projects.multi-dc.app.copies: where a Harbor does not hold a project edges bring what it lacks, and so they own the tags; write tags: edges for tags: harbor in line 8, or copies: all"},
		{"one has no edge", in("copies: 2, app: {}, web: {}", noEdge...), 0, "f:8: projects.multi-dc.copies: where a Harbor does not hold a project edges bring what it lacks, and so they own the tags; write what is missing for that (datacenters.c.edge), or copies: all"},
		{"all, and one has no edge", in("copies: all, app: {}", noEdge...), 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := Load("f", []byte(strings.NewReplacer(c.replace...).Replace(edged)))
			if said := strings.TrimSpace(fmt.Sprint(err)); c.fault != "" && said != c.fault || c.fault == "" && err != nil {
				t.Fatalf("%v, want %s", err, c.fault)
			}
			if err != nil {
				return
			}
			if got := f.Homes("app"); len(got) != c.homes {
				t.Errorf("it is in %v", got)
			}
			if f.Homes("none") != nil {
				t.Error("what is not declared has homes")
			}
		})
	}
}
