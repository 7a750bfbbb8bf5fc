package status_test

import (
	"flag"
	"maps"
	"os"
	"slices"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name, got string) {
	t.Helper()
	name = "testdata/" + name
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(name); err != nil || string(want) != got {
		t.Errorf("%s differs (%v); go test -update writes it:\n%s", name, err, got)
	}
}

// walk lists the names of an object and of what is in it, each once.
func walk(value any, at string, names *[]string) {
	switch v := value.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			path := at + "." + name
			if !slices.Contains(*names, path) {
				*names = append(*names, path)
			}
			walk(v[name], path, names)
		}
	case []any:
		for _, x := range v {
			walk(x, at+"[]", names)
		}
	}
}
