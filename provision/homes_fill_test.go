package provision

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// Where projects are in some Harbors alone, those are compared, canaries come to them, and a
// Harbor that was rebuilt is filled with what it is a home of, from those that are homes too.
func TestHomesAreComparedAndFilled(t *testing.T) {
	for name, replace := range map[string][]string{
		"per project": {"  multi-dc:\n", "  multi-dc:" + inSome},
		"in groups":   slices.Concat([]string{"  multi-dc:\n", "  multi-dc:\n    replication: grouped" + inSome}, articleInGroups[2:]),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newTestFleet(t) // repo1 is at home in dc1 and drp, repo2 in dc1 and dc2
			f.apply(t, Options{}, replace...)
			f.settled(t, replace...)
			for dc, image := range map[string]string{"dc1": "multi-dc-repo1/app:v1", "drp": "multi-dc-repo1/late:v1", "dc2": "multi-dc-repo1/own:v1"} {
				pushAndPull(t, f.harbors[dc], image)
			}
			pushAndPull(t, f.harbors["dc1"], "multi-dc-repo2/app:v1")
			lags := func(want ...string) {
				t.Helper()
				if got := f.lagRows(t, replace...); !slices.Equal(got, want) {
					t.Errorf("%q, want %q", got, want)
				}
			}
			lags("multi-dc-repo1 dc1 drp 1", "multi-dc-repo1 drp dc1 1", "multi-dc-repo2 dc1 dc2 1", "multi-dc-repo2 dc2 dc1 0")

			refill := func(datacenter, from string, projects ...string) (said string) {
				t.Helper()
				err := f.open(t, Options{}, replace...).Refill(t.Context(), RefillOptions{Datacenter: datacenter, From: from, Projects: projects, Progress: func(s string) { said += s + "\n" }})
				return fmt.Sprintf("%s%v", said, err)
			}
			for _, c := range []struct{ datacenter, from, projects, want string }{
				{"drp", "dc2", "", "dc2 does not hold all projects of drp; the others come with --from dc1 (repo1)"},
				{"drp", "dc1", "repo2", "drp's Harbor is to hold no copy of repo2: those at dc1, dc2 do"},
				{"dc1", "drp", "", "ran: all that drp has is at dc1\n"},
				{"dc1", "drp", "", "drp does not hold all projects of dc1; the others come with --from dc2 (repo2)\n<nil>"},
				{"drp", "dc1", "", "ran: all that dc1 has is at drp\n"},
				{"dc2", "dc1", "repo2", "ran: all that dc1 has is at dc2\n"},
			} {
				if said := refill(c.datacenter, c.from, strings.Fields(c.projects)...); !strings.Contains(said, c.want) {
					t.Errorf("%s from %s: %s", c.datacenter, c.from, said)
				}
			}
			lags("multi-dc-repo1 dc1 drp 0", "multi-dc-repo1 drp dc1 0", "multi-dc-repo2 dc1 dc2 0", "multi-dc-repo2 dc2 dc1 0")
			if got := digestOf(t, f, "dc1", "multi-dc-repo1", "own", "v1"); got != "" {
				t.Errorf("what is at no home is at dc1: %s", got)
			}

			checks, err := f.open(t, Options{}, replace...).Verify(t.Context(), VerifyOptions{Patience: time.Minute})
			if err != nil || len(failures(checks)) != 0 {
				t.Errorf("%v %v", err, failures(checks))
			}
			var crossed []string
			for _, c := range checks {
				if strings.Contains(c.What, " comes to ") {
					crossed = append(crossed, c.Datacenter+": "+c.What)
				}
			}
			if want := []string{
				"dc1: multi-dc-repo1 comes to drp", "dc1: multi-dc-repo2 comes to dc2", "dc2: multi-dc-repo1 comes to dc1", "dc2: multi-dc-repo1 comes to drp",
				"dc2: multi-dc-repo2 comes to dc1", "drp: multi-dc-repo1 comes to dc1", "drp: multi-dc-repo2 comes to dc1", "drp: multi-dc-repo2 comes to dc2",
			}; !slices.Equal(crossed, want) {
				t.Errorf("%q, want %q", crossed, want)
			}
		})
	}
}

// lagRows are which projects are compared from where to where, and how many tags are missing there.
func (f *testFleet) lagRows(t *testing.T, replace ...string) (rows []string) {
	t.Helper()
	all, faults, err := f.open(t, Options{}, replace...).Lag(t.Context(), nil)
	if err != nil || len(faults) > 0 {
		t.Fatal(err, faults)
	}
	for _, l := range all {
		rows = append(rows, fmt.Sprintf("%s %s %s %d", l.Project, l.From, l.To, l.Missing))
	}
	return rows
}
