package fleet

import (
	"fmt"
	"strings"
)

// Written reports whether a field stands in the file, as projects.multi-dc.app.quota: what
// does not has its default.
func (f *Fleet) Written(path string) bool { return f.lines[path] > 0 }

// Where is the place of a value as faults have it, as "fleet.yaml:17: harbor.gc.every": that
// of the first of the paths that is written, or else of what the first one would be in.
func (f *Fleet) Where(paths ...string) string {
	for _, path := range paths {
		if line := f.lines[path]; line > 0 {
			return fmt.Sprintf("%s:%d: %s", f.file, line, path)
		}
	}
	for at := paths[0]; at != ""; at = at[:max(0, strings.LastIndexAny(at, ".["))] {
		if line := f.lines[at]; line > 0 {
			return fmt.Sprintf("%s:%d: %s", f.file, line, paths[0])
		}
	}
	return strings.TrimPrefix(f.file+": ", ": ") + paths[0]
}
