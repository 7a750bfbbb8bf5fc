// Package breakwater_test holds what is true of the project as a whole.
package breakwater_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
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
	"internal/ecr":         {"registry"}, // a kind of keys
	"internal/ports":       {},
	"internal/trial":       {"internal/keyring", "internal/ports"}, // for tests
	"internal/keyring":     {},
	"internal/signed":      {"internal/keyring"},
	"gslb":                 {"registry", "internal/daemon", "internal/keyring"},
	"gslb/parent":          {},                              // records and updates, whatever answers
	"deploy":               {},                              // a test of files, no package
	"deploy/observability": {},                              // the rules, for the lab
	"deploy/helm":          {},                              // the same, of a module of its own
	"internal/fleet":       {"registry", "internal/naming"}, // addresses are compared and read as edges do
	"internal/secret":      {"registry", "internal/fleet", "internal/keyring"},
	"provision":            {"registry", "internal/fleet", "internal/keyring", "internal/secret", "internal/naming"}, // the desired state is the fleet
	"internal/lab":         {"registry"},
	"internal/lab/content": {}, // images and charts are made, whoever serves them
	"proxy/share":          {}, // what there is only so much of
	"proxy/writer":         {},
	"proxy/disk":           {}, // what store and state wait for
	"proxy/queue":          {}, // what touch and follow have yet to do
	"proxy/store":          {"registry", "proxy/disk"},
	"proxy/access":         {"registry", "internal/keyring", "proxy/outcome"},
	"proxy/namespace":      {"registry", "internal/naming"},
	"proxy/outcome":        {"registry"}, // the words in which rooms tell each other what is known
	"proxy/peer":           {"registry", "internal/keyring"},
	"proxy/hello":          {"proxy/peer"}, // how edges and their peers stand
	"proxy/source":         {"registry", "proxy/namespace", "proxy/outcome"},
	"proxy/tags":           {"proxy/outcome"}, // neither HTTP nor who is asked
	"proxy/version":        {},                // which state of a reference is newer
	"proxy/state":          {"registry", "proxy/disk", "proxy/version"},
	"proxy/touch":          {"registry", "proxy/namespace", "proxy/outcome", "proxy/queue", "proxy/source"}, // pulls that Harbor has not seen
	"proxy/announce":       {"proxy/outcome", "proxy/peer", "proxy/source", "proxy/touch", "proxy/version"},
	"proxy/carry":          {"registry"}, // content to a Harbor, for push and follow
	"proxy/follow":         {"registry", "proxy/carry", "proxy/outcome", "proxy/queue", "proxy/source", "proxy/version"},
	"proxy/pass":           {"registry", "proxy/outcome", "proxy/peer"}, // the portal's, the token service's and the pushes' way to a Harbor
	"proxy/fetch":          {"registry", "proxy/access", "proxy/namespace", "proxy/outcome", "proxy/peer", "proxy/share", "proxy/source", "proxy/store", "proxy/tags", "proxy/version"},
	"proxy/lists":          {"registry", "proxy/fetch", "proxy/namespace", "proxy/outcome", "proxy/share", "proxy/source"},
	"proxy/explain":        {"registry", "internal/naming", "proxy/namespace", "proxy/source", "proxy/tags", "proxy/touch", "proxy/version"},
	"proxy/token":          {"registry", "proxy/access", "proxy/outcome", "proxy/pass", "proxy/peer", "proxy/source"},
	"proxy/operator":       {"registry", "internal/daemon", "internal/keyring", "internal/signed", "proxy/announce", "proxy/follow", "proxy/hello", "proxy/peer", "proxy/share", "proxy/source", "proxy/store", "proxy/tags", "proxy/token", "proxy/touch"},
	"proxy/traffic":        {"registry", "proxy/source", "proxy/store"},                                                                 // what goes through, and what has
	"proxy/content":        {"registry", "proxy/namespace", "proxy/peer", "proxy/source", "proxy/state", "proxy/tags", "proxy/version"}, // what edges know of tags, side by side
	"proxy/preheat":        {"registry"},
	"proxy/webhook":        {"registry", "proxy/version"},
	"proxy/warm":           {"registry", "internal/naming", "proxy/explain", "proxy/fetch", "proxy/lists", "proxy/namespace", "proxy/outcome", "proxy/peer", "proxy/queue", "proxy/source", "proxy/store", "proxy/tags"}, // what is to be there before it is asked for
	"proxy/push":           {"registry", "proxy/access", "proxy/carry", "proxy/fetch", "proxy/namespace", "proxy/outcome", "proxy/pass", "proxy/peer", "proxy/share", "proxy/source", "proxy/store", "proxy/version"},
	// The rim: it alone knows a whole request, and no room of proxy/ may import it.
	"proxy": {"registry", "internal/keyring", "proxy/access", "proxy/announce", "proxy/carry", "proxy/content", "proxy/explain", "proxy/fetch", "proxy/follow", "proxy/hello", "proxy/lists", "proxy/namespace", "proxy/operator", "proxy/outcome", "proxy/pass", "proxy/peer", "proxy/preheat", "proxy/push", "proxy/share", "proxy/source", "proxy/state", "proxy/store", "proxy/tags", "proxy/token", "proxy/touch", "proxy/traffic", "proxy/version", "proxy/warm", "proxy/webhook", "proxy/writer"},
	// Both programs start edges, and neither can import the other's main.
	"cmd/internal/wire": {"cmd/internal/console", "cmd/internal/login", "cmd/internal/status", "provision", "proxy", "proxy/access", "proxy/content", "proxy/namespace", "proxy/operator", "proxy/peer", "proxy/state", "proxy/store", "proxy/warm", "registry", "internal/fleet", "internal/secret", "internal/naming", "internal/daemon", "internal/ecr", "internal/keyring", "internal/signed", "gslb", "cmd/internal/steer"},
	// Who steers asks all name servers, and so does one of them for who has no key.
	"cmd/internal/steer": {"internal/fleet", "internal/keyring", "internal/signed", "gslb"},
	// What a machine lacks is found by asking as its daemons ask.
	"cmd/internal/preflight": {"cmd/internal/login", "cmd/internal/wire", "gslb", "internal/daemon", "internal/fleet", "internal/keyring", "internal/naming", "internal/secret", "internal/signed", "proxy", "proxy/hello", "proxy/peer", "registry"},
	// What is asked of a whole fleet is a package of its own: the program has many commands.
	"cmd/internal/status": {"registry", "cmd/internal/steer", "internal/daemon", "gslb", "proxy", "proxy/hello", "proxy/operator", "internal/fleet", "internal/keyring", "internal/secret", "internal/signed"},
	// Who is let in to what is shown in a browser.
	"cmd/internal/login": {"internal/daemon"},
	// What is shown in a browser is what the commands print.
	"cmd/internal/console": {"cmd/internal/asjson", "cmd/internal/status", "internal/daemon", "gslb", "provision", "proxy/content", "proxy/explain", "proxy/hello", "proxy/operator", "proxy/traffic"},
	// Both programs show how far they are.
	"cmd/internal/progress": {},

	// What a program prints for machines is in one format.
	"cmd/internal/asjson": {},
	"bench": {"registry", "internal/lab", "internal/ports", "gslb", // a year of name servers is played through by their own code
		"proxy", "proxy/access", "proxy/namespace", "proxy/peer", "proxy/state", "proxy/store", "internal/keyring", // so are a fleet's edges,
		"proxy/announce", "proxy/version", // what is told to one of them,
		"provision", "internal/fleet"}, // and the plan for its Harbors
	"bench/mutate":   {}, // it reads programs, and knows none
	"cmd/breakwater": {"gslb", "gslb/parent", "provision", "proxy/content", "proxy/explain", "proxy/traffic", "proxy/warm", "cmd/internal/asjson", "cmd/internal/preflight", "cmd/internal/progress", "cmd/internal/status", "cmd/internal/wire", "cmd/internal/steer", "internal/keyring", "internal/fleet", "internal/secret", "internal/daemon", "internal/naming"},
	"cmd/lab":        {"deploy/observability", "cmd/internal/asjson", "cmd/internal/progress", "cmd/internal/wire", "internal/fleet", "internal/daemon", "internal/naming", "internal/ports", "internal/lab", "internal/lab/content", "registry", "proxy"},
}

type listed struct {
	ImportPath string
	Imports    []string
	Deps       []string
	Module     *struct{ Path, Version string }
}

// list asks in the workspace that go.work makes of both modules, or with "off" in
// the programs' module alone.
func list(t *testing.T, workspace string, args ...string) []listed {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports,Deps,Module"}, args...)...)
	cmd.Env = append(os.Environ(), "GOWORK="+workspace)
	out, err := cmd.Output()
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
	for _, p := range list(t, "", "work") {
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
	for _, p := range list(t, "", "./cmd/breakwater") {
		for _, dep := range p.Deps {
			if strings.HasPrefix(dep, module+"internal/lab") || strings.HasPrefix(dep, "github.com/distribution/distribution/") {
				t.Errorf("cmd/breakwater depends on %s", dep)
			}
		}
	}
}

// Tests run in the workspace, and a release is made without: the programs are built of
// the same versions in both, also where what judges the charts wants a newer one.
func TestTheWorkspaceChangesNoVersion(t *testing.T) {
	versions := func(workspace string) map[string]string {
		all := map[string]string{}
		for _, p := range list(t, workspace, "-deps", "./cmd/...") {
			if p.Module != nil {
				all[p.Module.Path] = p.Module.Version
			}
		}
		return all
	}
	released, tested := versions("off"), versions("")
	for path, version := range tested {
		if released[path] != version {
			t.Errorf("%s is tested at %q and released at %q: go work sync", path, version, released[path])
		}
	}
}
