package provision

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/naming"
)

// inField is an error that is about one field of an object, as the fleet file has it.
type inField struct {
	field string
	error
}

func (i inField) Unwrap() error { return i.error }

// placeOf is where the fleet file says what an object is to be, as "fleet.yaml:17:
// projects.multi-dc.app.quota"; err says of which field it is about, if it knows.
func placeOf(f *fleet.Fleet, k Key, err error) string {
	at, kind, field := objectIn(f, k)
	if at == "" {
		return ""
	}
	var in inField
	if errors.As(err, &in) {
		field = "." + in.field
	}
	return f.Where(at+".datacenters."+k.Datacenter+field, at+field, kind+".defaults"+field, at+field)
}

// objectIn is the part of the fleet file that an object comes of, the part that has the
// defaults of its kind, and the field below both.
func objectIn(f *fleet.Fleet, k Key) (at, kind, field string) {
	switch {
	case k.Kind == kindConfiguration:
		return "harbor." + k.Name, "", ""
	case k.Kind == kindGC:
		return "harbor.gc", "", ""
	case k.Kind == kindUser:
		return "projects.artifactory.username", "", ""
	case k.Kind == kindRobot && k.Name == f.Harbor.SyncRobot.Name && f.Grouped():
		return "harbor.sync_robot", "", ".secret"
	case k.Kind == kindRegistry && strings.HasPrefix(k.Name, groups+"."), k.Kind == kindPolicy && strings.HasPrefix(k.Name, groups+" "):
		return "projects.multi-dc.replication", "", ""
	case k.Kind == kindRobot && projectOfKey(k) == "":
		return "edge.robot", "", ""
	case k.Kind == kindWebhook:
		return "datacenters." + k.Datacenter + ".edge", "", ""
	case k.Kind == kindInstance:
		return "edge.preheat", "", ""
	case k.Kind == kindRegistry:
		for name := range f.Projects.MultiDC.Items {
			if peer, ok := strings.CutPrefix(k.Name, betweenOf(name)+"-"); ok && f.Datacenters[peer] != nil {
				return "projects.multi-dc." + name, "projects.multi-dc", ".robots.sync" // as whom it logs in
			}
		}
		if f.Projects.Cache.Items[k.Name] == nil { // it was discovered
			return "projects.artifactory.domain", "", ""
		}
		return "projects.cache." + k.Name, "projects.cache", ".endpoint"
	case k.Kind == kindPolicy:
		for name, r := range f.Projects.Repl.Items {
			for i, image := range r.Images {
				if strings.HasPrefix(k.Name, policyOf(image, name)) {
					return fmt.Sprintf("projects.repl.%s.images[%d]", name, i), "", ""
				}
			}
		}
	}
	full := projectOfKey(k)
	if name, ok := strings.CutPrefix(full, naming.MultiDC); ok && k.Kind == kindPolicy { // it is called after the project's name in the file
		full = f.Project(naming.MultiDC, name)
	}
	at, kind = projectIn(f, full)
	_, robot, _ := strings.Cut(k.Name, "+")
	field = map[string]string{kindRetention: ".retention", kindMember: ".members", kindImmutable: ".immutable_tags", kindRobot: ".robots." + robot, kindPolicy: ".replication", kindPreheat: ".preheat"}[k.Kind]
	return at, kind, field
}

// projectIn is the part of the fleet file that a project comes of.
func projectIn(f *fleet.Fleet, full string) (at, kind string) {
	prefix, name := f.Entry(full)
	switch {
	case prefix != "":
	case naming.KindOf(full) == "":
		return "", ""
	case naming.KindOf(full) == naming.Cache: // it was discovered
		return "projects.artifactory.defaults", "projects.artifactory"
	default: // it is not in the file any more
		prefix = naming.KindOf(full)
		name = strings.TrimPrefix(full, prefix)
	}
	kind = "projects." + strings.TrimSuffix(prefix, "-")
	return kind + "." + name, kind
}

// policyOf is how the name of the replication of an image begins.
func policyOf(image fleet.Image, project string) string {
	return fmt.Sprintf("%s->%s (%s)", image.From, project, image.Name)
}

// errs is all that is wrong with what is wanted, each with its place in the fleet file and
// once, whatever it is wrong with.
func (d *wanted) errs() []error {
	byPlace := map[string][]note{}
	for _, n := range d.wrong {
		place := placeOf(d.fleet, n.Key, nil)
		byPlace[place] = append(byPlace[place], n)
	}
	all := append([]error{}, d.faults...)
	for _, place := range sortedKeys(byPlace) {
		slices.SortStableFunc(byPlace[place], func(a, b note) int {
			return cmp.Or(strings.Compare(a.Datacenter, b.Datacenter), strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
		})
		for _, line := range folded(byPlace[place]) {
			all = append(all, fmt.Errorf("%s: %s", place, line))
		}
	}
	return all
}
