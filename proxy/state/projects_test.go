package state_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// Tags and lists are of the project that had the name when they were put, also after a
// restart: those of another project, and those of none, are not returned.
func TestWhatIsRememberedIsOfOneProject(t *testing.T) {
	const repo, other = "multi-dc-x/app", "multi-dc-y/app"
	path := t.TempDir() + "/state.db"
	d, made := digest.FromString("a"), time.Now().Add(-time.Hour).Truncate(time.Millisecond)
	s := open(t, path)
	put := func(repo string) {
		s.PutTag(repo, "v1", d, "type", "harbor", time.Now())
		s.PutTagList(repo, []string{"v1"})
		s.PutReferrers(repo, d, []json.RawMessage{[]byte(`{}`)})
	}
	has := func(when, repo string, want bool) {
		t.Helper()
		for _, life := range []string{"", ", after a restart"} {
			_, _, _, tag := s.Tag(repo, "v1")
			if list, referrers := s.TagList(repo) != nil, s.Referrers(repo, d) != nil; tag != want || list != want || referrers != want {
				t.Errorf("%s%s: tag %v, list %v, referrers %v, want %v", when, life, tag, list, referrers, want)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, path)
		}
	}
	put(repo)
	put(other)
	has("no project is known", repo, true)
	s.PutProject("multi-dc-x", 7, made.Add(time.Minute), made, time.Time{})
	has("what was put before", repo, false)
	put(repo)
	has("what was put then", repo, true)
	s.PutProject("multi-dc-x", 9, made.Add(time.Hour), made.Add(time.Second), made.Add(2*time.Second))
	has("another project", repo, false)
	has("a project of another name", other, true)
	id, asked, created, since := s.Project("multi-dc-x")
	if id != 9 || asked.Unix() != made.Add(time.Hour).Unix() || !created.Equal(made.Add(time.Second)) || !since.Equal(made.Add(2*time.Second)) {
		t.Error(id, asked, created, since)
	}
	if id, asked, _, since := s.Project("multi-dc-z"); id != 0 || !asked.IsZero() || !since.IsZero() {
		t.Error("there is a project that nobody has seen:", id, asked, since)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
