package provision

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/naming"
)

// rest says what the file that was written does not: what an apply of it would change, make
// or leave out. It is found as a plan finds it, so nothing is forgotten.
func (x *exporter) rest(f *fleet.Fleet) {
	w := &wanting{fleet: f, secret: func(fleet.Ref, string) string { return "" }, prefixes: map[string]string{}}
	for name, h := range x.have {
		w.prefixes[name] = h.prefix
	}
	want := w.wants()
	want.secrets = map[Key]string{} // they are not known
	makes := map[string][]string{}
	for _, c := range compareAll(want, x.have, false, false).Changes {
		switch {
		case x.unsaid[projectOfKey(c.Key)] || c.Kind == kindPolicy && x.unsaid[x.full(naming.MultiDC, strings.TrimPrefix(projectOfKey(c.Key), naming.MultiDC))]: // it is said already that something is missing
		case c.Action == Create:
			makes[c.Datacenter] = append(makes[c.Datacenter], c.Kind+" "+c.Name)
		default:
			var fields []string
			for _, f := range c.Fields {
				fields = append(fields, f.Name+": "+f.Text())
			}
			x.noteOf(c.Key, "an apply would change it: "+strings.Join(fields, "; "))
		}
	}
	for _, name := range sortedKeys(makes) {
		x.noteOf(Key{Datacenter: name}, "an apply would make what it does not have: "+few(makes[name]))
	}
	for _, name := range x.names {
		for _, k := range slices.SortedFunc(maps.Keys(x.have[name].entries), Key.compare) {
			if text := x.leftOut(want, k, x.have[name].entries[k].object); text != "" {
				x.noteOf(k, text)
			}
		}
	}
	x.notes = append(x.notes, folded(x.found)...)
}

func (x *exporter) note(format string, args ...any) {
	x.notes = append(x.notes, fmt.Sprintf(format, args...))
}

// noteOf is a note of one object; others of which the same is true are named with it.
func (x *exporter) noteOf(k Key, text string) { x.found = append(x.found, note{k, text}) }

// projectOfKey is the project on which an object hangs; "": on none.
func projectOfKey(k Key) string {
	switch k.Kind {
	case kindProject, kindRetention:
		return k.Name
	case kindRobot:
		if project, _, ok := strings.Cut(k.Name, "+"); ok {
			return project
		}
	case kindImmutable, kindMember, kindWebhook, kindPreheat, kindPolicy:
		project, _, _ := strings.Cut(k.Name, " ")
		return project
	}
	return ""
}

// leftOut says that something is not in the file; "" where it is, or is of a project that
// is left out itself.
func (x *exporter) leftOut(want *wanted, k Key, o object) string {
	project := Key{k.Datacenter, kindProject, projectOfKey(k)}
	if p, ok := o.(*policy); ok && x.unsaid[p.namespace] {
		return ""
	}
	switch {
	case want.objects[k] != nil:
		if unsaid := x.have[k.Datacenter].unsaid[k.Name]; k.Kind == kindProject && len(unsaid) > 0 {
			return "it has what the fleet file does not, and apply leaves as it is: " + strings.Join(unsaid, ", ")
		}
		return ""
	case k.Kind == kindConfiguration || k.Kind == kindGC:
		c, ok := o.(configuration)
		if mode := c["auth_mode"]; ok && k.Name == "oidc" && mode != "db_auth" {
			return "people log in by " + mode + ": how is left out"
		}
		return ""
	case k.Kind == kindProject:
		if x.unsaid[k.Name] || k.Name == library {
			return ""
		}
		if x.kindOf(k.Name) == "" {
			return "it is left out, as its name begins with none of " + naming.MultiDC + ", " + naming.Cache + ", " + naming.Repl + ": an entry with project: and its name would have it managed"
		}
		return "it is left out"
	case project.Name != "" && k.Kind != kindPolicy && want.objects[project] == nil:
		return "" // the project is named
	}
	if m, ok := o.(*member); ok && m.person && (m.group == administrator || m.group == x.options.Username) {
		return ""
	}
	return "it is left out"
}

// public leaves multi-dc projects out that are public: those of a fleet file never are, and
// an apply would close them.
func (x *exporter) public(full string) bool {
	for _, name := range x.names {
		if e := x.have[name].get(kindProject, full); e != nil && e.object.(*project).public && x.kindOf(full) == naming.MultiDC {
			x.unsaid[full] = true
			x.noteOf(Key{name, kindProject, full}, "it is left out: it is public, and multi-dc projects of a fleet file are not")
		}
	}
	return x.unsaid[full]
}
