package fleet

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Written reports whether a field stands in the file, as projects.multi-dc.app.quota: what
// does not has its default.
func (f *Fleet) Written(path string) bool { return f.lines[path] > 0 }

// Where is the place of a value as faults have it, as "fleet.yaml:17: harbor.gc.every": that
// of the first of the paths that is written, or else of what the last one would be in.
func (f *Fleet) Where(paths ...string) string {
	for _, path := range paths {
		if line := f.lines[path]; line > 0 {
			return fmt.Sprintf("%s:%d: %s", f.file, line, path)
		}
	}
	last := paths[len(paths)-1]
	for at := last; at != ""; at = at[:max(0, strings.LastIndexAny(at, ".["))] {
		if line := f.lines[at]; line > 0 {
			return fmt.Sprintf("%s:%d: %s", f.file, line, last)
		}
	}
	return strings.TrimPrefix(f.file+": ", ": ") + last
}

// References are the fields that hold a reference, by it, as they are written.
func (f *Fleet) References() map[Ref][]string {
	all := map[Ref][]string{}
	walkRefs(reflect.ValueOf(f).Elem(), "", func(path string, r Ref) {
		if f.Written(path) && !r.IsZero() {
			all[r] = append(all[r], path)
		}
	})
	for _, fields := range all {
		slices.SortFunc(fields, func(a, b string) int { return cmp.Or(f.lines[a]-f.lines[b], strings.Compare(a, b)) })
	}
	return all
}

// NoDatacenter is the error of a datacenter that the file does not have.
func (f *Fleet) NoDatacenter(name string) error {
	return fmt.Errorf("there is no datacenter %q in the fleet file; it has %s", name, strings.Join(f.Order, ", "))
}
