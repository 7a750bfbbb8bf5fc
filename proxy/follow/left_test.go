package follow_test

import (
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"example.org/breakwater/proxy/follow"
)

// What Harbor is yet to be brought to can be seen by project, with its age; so can the deletes
// that are remembered.
func TestWhatHarborLacksCanBeSeen(t *testing.T) {
	for name, project := range map[string]string{"multi-dc-demo": "multi-dc-demo", follow.Others: "multi-dc-else"} {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t, func(c *follow.Config) { c.Projects = func() []string { return []string{project} } })
			s.pushed("v1", "one")
			if pass(time.Minute); s.follower.Left().Pending != 0 || s.follower.Left().Oldest != 0 {
				t.Errorf("Harbor has it, and %+v is left", s.follower.Left())
			}
			s.harbor.do(func() { s.harbor.down = true })
			s.source.Suspect()
			s.heard("v2", "two")
			pass(10 * time.Minute)
			s.heard("v2", "three") // what is newer is as late
			s.learn("v1", "", false)
			pass(5 * time.Minute)
			left := s.follower.Left()
			if left.Pending != 2 || left.Oldest < 15*time.Minute || left.Oldest > 16*time.Minute || left.Tombstones != 1 || !maps.Equal(left.Projects, map[string]int{name: 2}) {
				t.Errorf("%+v is left", left)
			}
			if n, age := s.value(t, "breakwater_edge_harbor_pending", name), s.value(t, "breakwater_edge_harbor_pending_oldest_seconds", ""); n != 2 || age != left.Oldest.Seconds() {
				t.Errorf("the metrics say %v for %v s", n, age)
			}
			s.harbor.do(func() { s.harbor.down = false })
			pass(10 * time.Minute)
			if left := s.follower.Left(); left.Pending != 0 || left.Oldest != 0 || left.Tombstones != 1 {
				t.Errorf("Harbor has all, and %+v is left", left)
			}
		})
	}
}
