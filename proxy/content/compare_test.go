package content

import (
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/version"
)

// Which datacenter is behind, and by how much, is told by versions; without any, nobody is: they
// differ.
func TestCellsAreCompared(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	at := func(ago time.Duration, datacenter string) *Version {
		made := now.Add(-ago)
		return &Version{Order: version.Version{Time: made.UnixMilli() << 16, Datacenter: datacenter}, At: made, Datacenter: datacenter}
	}
	a, b := digest.FromString("a"), digest.FromString("b")
	for name, c := range map[string]struct {
		cells  map[string]Cell
		states map[string]string
		want   digest.Digest
		differ bool
	}{
		"all alike":       {map[string]Cell{"par1": {Tag: Tag{Digest: a}}, "mad1": {Tag: Tag{Digest: a}}}, map[string]string{"par1": Same, "mad1": Same}, a, false},
		"no version":      {map[string]Cell{"par1": {Tag: Tag{Digest: a}}, "mad1": {Tag: Tag{Digest: b}}}, map[string]string{"par1": Other, "mad1": Other}, "", true},
		"one is behind":   {map[string]Cell{"par1": {Tag: Tag{Digest: b, Version: at(time.Minute, "par1")}}, "mad1": {Tag: Tag{Digest: a, Version: at(time.Hour, "mad1")}}}, map[string]string{"par1": Same, "mad1": Behind}, b, true},
		"one never heard": {map[string]Cell{"par1": {Tag: Tag{Digest: b, Version: at(time.Minute, "par1")}}, "mad1": {Tag: Tag{Digest: b}}}, map[string]string{"par1": Same, "mad1": Behind}, b, false},
		"it was deleted":  {map[string]Cell{"par1": {Tag: Tag{Version: at(time.Minute, "par1")}}, "mad1": {Tag: Tag{Version: at(time.Minute, "par1")}}}, map[string]string{"par1": Deleted, "mad1": Deleted}, "", false},
	} {
		row := compare("v1", c.cells, now)
		if row.Digest != c.want || row.Differ != c.differ {
			t.Errorf("%s: %+v", name, row)
		}
		for datacenter, state := range c.states {
			got := row.In[datacenter]
			if got.State != state || (state == Behind) != (got.Behind == 60) {
				t.Errorf("%s: %s is %s, %v s", name, datacenter, got.State, got.Behind)
			}
		}
	}
}
