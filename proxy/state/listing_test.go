package state_test

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// A look that passes more repos than it may says how far it got, and goes on from there.
func TestALookAtRepos(t *testing.T) {
	const passed = 100_000
	path := t.TempDir() + "/state.db"
	s := open(t, path)
	name := func(i int) string { return fmt.Sprintf("multi-dc-a/r%06d", i) }
	for i := range passed + 2 {
		s.PutTag(name(i), "v1", a, "type", "harbor", time.Now())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path)
	t.Cleanup(func() { s.Close() })
	is := func(all ...string) func(string) bool {
		return func(repo string) bool { return slices.Contains(all, repo) }
	}
	for what, c := range map[string]struct {
		after string
		match func(string) bool
		most  int
		repos []string
		until string
	}{
		"the last ones":     {"", is(name(passed), name(passed+1)), 5, nil, name(passed - 1)},
		"from there on":     {name(passed - 1), is(name(passed), name(passed+1)), 5, []string{name(passed), name(passed + 1)}, ""},
		"as many as wanted": {"", is(name(0), name(7), name(passed+1)), 2, []string{name(0), name(7)}, name(7)},
		"all of them":       {name(5), is(name(7)), 2, []string{name(7)}, ""},
	} {
		repos, until, ok := s.Repos("multi-dc-a/", c.after, c.match, c.most)
		if !ok || !slices.Equal(repos, c.repos) || until != c.until {
			t.Errorf("%s: %v until %q, want %v until %q", what, repos, until, c.repos, c.until)
		}
	}
	if _, until, _ := s.Repos("multi-dc-b/", "", is(), 5); until != "" {
		t.Errorf("of a project without repos: until %q", until)
	}
}
