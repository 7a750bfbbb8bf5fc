package provision

import (
	"strings"
	"testing"

	"example.org/breakwater/internal/fleet"
)

// A plan of groups says which projects it begins to replicate that have no robots.sync: not
// those that are replicated already, nor those that are new.
func TestWhatGroupsBeginToReplicate(t *testing.T) {
	load := func(text string) *wanting {
		f, err := fleet.Load("fleet.yaml", []byte(`domain: h.example.org
datacenters: { a: { harbor: "https://a.example.org" }, b: { harbor: "https://b.example.org" } }
harbor: { username: admin, password: "env:X", sync_robot: { secret: "env:X" } }
projects:
  multi-dc:
`+text))
		if err != nil {
			t.Fatal(err)
		}
		return &wanting{fleet: f, secret: func(fleet.Ref, string) string { return "Secret1Secret" }, prefixes: map[string]string{}}
	}
	const projects = "    synced: { robots: { sync: \"env:X\" } }\n    local: {}\n"
	before, next := load(projects), load("    replication: grouped\n"+projects+"    new: {}\n")
	for name, c := range map[string]struct {
		before, next *wanting
		says         bool
	}{"to groups": {before, next, true}, "in groups": {load("    replication: grouped\n" + projects), next, false}, "per project": {before, before, false}} {
		plan := compareAll(c.next.wants(), complete(c.before.wants(), []string{"a", "b"}), false, false)
		c.next.starts(plan)
		var said []string
		for _, note := range plan.ShortNotes() {
			if strings.Contains(note, "is replicated from now on") {
				said = append(said, note)
			}
		}
		all := strings.Join(said, "\n")
		if c.says != strings.Contains(all, "multi-dc-local") || strings.Contains(all, "multi-dc-synced") || strings.Contains(all, "multi-dc-new") {
			t.Errorf("%s: %q", name, said)
		}
	}
}
