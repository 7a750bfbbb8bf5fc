package fleet

import (
	"fmt"
	"strings"
)

// source is where the values of a fleet come from.
type source struct {
	file  string
	lines map[string]int // by path, of what is written
}

// Written reports whether a field stands in the file, as projects.multi-dc.app.quota: what
// does not has its default.
func (f *Fleet) Written(path string) bool {
	return f.source != nil && f.source.lines[path] > 0
}

// Where is the place of a value as faults have it, as "fleet.yaml:17: harbor.gc.every": that
// of the first of the paths that is written, or else of what the first one would be in.
func (f *Fleet) Where(paths ...string) string {
	if len(paths) == 0 || f.source == nil {
		return strings.Join(paths[:min(1, len(paths))], "")
	}
	for _, path := range paths {
		if line := f.source.lines[path]; line > 0 {
			return fmt.Sprintf("%s:%d: %s", f.source.file, line, path)
		}
	}
	for at := paths[0]; at != ""; at = at[:max(0, strings.LastIndexAny(at, ".["))] {
		if line := f.source.lines[at]; line > 0 {
			return fmt.Sprintf("%s:%d: %s", f.source.file, line, paths[0])
		}
	}
	return f.source.file + ": " + paths[0]
}
