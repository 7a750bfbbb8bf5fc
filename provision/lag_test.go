package provision

import (
	"slices"
	"testing"
	"time"

	"example.org/breakwater/internal/lab"
)

// Of each two Harbors it is said what the one has and the other lacks: tags, in nested repos too,
// and which of two digests under one tag came later.
func TestLag(t *testing.T) {
	f := newTestFleet(t)
	for _, h := range f.harbors {
		h.CreateProject("multi-dc-repo1", false) // nothing is replicated: apply has not run
		for name, actions := range map[string][]string{"readwrite": {"pull", "push"}, "readonly": {"pull"}} {
			h.CreateRobot("multi-dc-repo1", name, testSecrets["robot-password/"+name+"/repo1"], actions...)
		}
	}
	pushAndPull(t, f.harbors["dc1"], "multi-dc-repo1/a/b/c:v1")
	pushAndPull(t, f.harbors["dc1"], "multi-dc-repo1/a/b/c:v2")
	pushAndPull(t, f.harbors["dc2"], "multi-dc-repo1/only:v1")
	if err := f.harbors["drp"].SetFaults(lab.Fault{Name: "down"}); err != nil {
		t.Fatal(err)
	}
	all, faults, err := f.open(t, Options{}).Lag(t.Context(), []string{"repo1"})
	if err != nil || len(faults) != 1 || faults[0].Datacenter != "drp" {
		t.Fatalf("%v %v", faults, err)
	}
	want := map[string]Lag{
		"dc1 dc2": {Tags: 2, Missing: 2, Examples: []string{"multi-dc-repo1/a/b/c:v1", "multi-dc-repo1/a/b/c:v2"}},
		"dc2 dc1": {Tags: 1, Missing: 1, Examples: []string{"multi-dc-repo1/only:v1"}},
	}
	for _, got := range all {
		w, ok := want[got.From+" "+got.To]
		if !ok || got.Project != "multi-dc-repo1" || got.Tags != w.Tags || got.Missing != w.Missing || got.Differ != w.Differ || !slices.Equal(got.Examples, w.Examples) || got.Oldest <= 0 || got.Oldest > 120 {
			t.Errorf("%+v, want %+v", got, w)
		}
		delete(want, got.From+" "+got.To)
	}
	if len(want) > 0 {
		t.Errorf("nothing is said of %v", want)
	}
	if _, _, err := f.open(t, Options{}).Lag(t.Context(), []string{"repo9"}); err == nil {
		t.Error("a project that there is not")
	}
}

// A tag that is another digest lags where it was put earlier.
func TestATagThatIsAnotherDigestLags(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	old, late := tagged{"sha256:1", now.Add(-time.Hour)}, tagged{"sha256:2", now.Add(-time.Minute)}
	from, to := map[string]tagged{"r:v": late, "r:same": old}, map[string]tagged{"r:v": old, "r:same": {old.digest, now}, "r:more": old}
	if l := lagOf(Lag{}, from, to, now); l.Differ != 1 || l.Missing != 0 || l.Oldest != 60 || !slices.Equal(l.Examples, []string{"r:v"}) {
		t.Errorf("ahead: %+v", l)
	}
	if l := lagOf(Lag{}, to, from, now); l.Differ != 0 || l.Missing != 1 || l.Oldest != 3600 || !slices.Equal(l.Examples, []string{"r:more"}) {
		t.Errorf("behind: %+v", l)
	}
}
