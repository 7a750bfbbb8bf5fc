// Package breakwater_test holds what is true of the module as a whole.
package breakwater_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "example.org/breakwater/"

// imports is the table of who may import whom. Imports go one way: the wire and
// the rim know nothing of the parts, the parts know nothing of each other, and
// only the programs know all. A package that is not in the table fails the test.
var imports = map[string][]string{
	"registry":             {},
	"internal/naming":      {},
	"internal/daemon":      {},
	"internal/trial":       {}, // for tests
	"gslb":                 {},
	"deploy":               {}, // a test of files, no package
	"internal/fleet":       {"internal/naming"},
	"internal/secret":      {"internal/fleet"},
	"provision":            {"internal/fleet", "internal/secret", "internal/naming"}, // the desired state is the fleet
	"internal/lab":         {"registry"},
	"internal/lab/content": {}, // images and charts are made, whoever serves them
	"proxy/store":          {"registry"},
	"proxy/access":         {"registry"},
	"proxy":                {"proxy/store", "proxy/access", "registry", "internal/naming"},
	// Both programs start edges, and neither can import the other's main.
	"cmd/internal/wire": {"proxy", "proxy/store", "proxy/access", "registry", "internal/fleet", "internal/secret", "internal/naming", "internal/daemon", "gslb"},
	"bench":             {"registry", "internal/lab"},
	"cmd/breakwater":    {"gslb", "provision", "cmd/internal/wire", "internal/fleet", "internal/secret", "internal/daemon", "internal/naming"},
	"cmd/lab":           {"cmd/internal/wire", "internal/fleet", "internal/daemon", "internal/naming", "internal/lab", "internal/lab/content", "registry", "proxy"},
}

type listed struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

func list(t *testing.T, args ...string) []listed {
	t.Helper()
	out, err := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports,Deps"}, args...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func TestImportsGoOneWay(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range list(t, "./...") {
		name := strings.TrimPrefix(p.ImportPath, module)
		if name+"/" == module {
			continue // this test
		}
		seen[name] = true
		allowed, known := imports[name]
		if !known {
			t.Errorf("%s is not in the table of imports: say there what it may know, and why it is needed", name)
		}
		for _, imported := range p.Imports {
			ours, ok := strings.CutPrefix(imported, module)
			if ok && !slices.Contains(allowed, ours) {
				t.Errorf("%s may not import %s", name, ours)
			}
		}
	}
	for name := range imports {
		if !seen[name] {
			t.Errorf("%s is in the table of imports, and nowhere else", name)
		}
	}
}

// The lab's stand-ins accept what no Harbor should: they are not to be in the daemon.
func TestTheDaemonHasNoStandIn(t *testing.T) {
	for _, p := range list(t, "./cmd/breakwater") {
		for _, dep := range p.Deps {
			if strings.HasPrefix(dep, module+"internal/lab") || strings.HasPrefix(dep, "github.com/distribution/distribution/") {
				t.Errorf("cmd/breakwater depends on %s", dep)
			}
		}
	}
}
