package provision

import (
	"strings"
	"testing"
)

// A Harbor that was rebuilt has all again that another one has, with tags, though replications
// bring content alone; a tag that is there already stays, and nothing of the refill is left.
func TestARebuiltHarborIsRefilled(t *testing.T) {
	f := newTestFleet(t)
	f.apply(t, Options{})
	for _, image := range []string{"multi-dc-repo1/app:v1", "multi-dc-repo1/a/b/c:v2", "multi-dc-repo2/app:v1"} {
		pushAndPull(t, f.harbors["dc1"], image)
	}
	f.quiet(t)
	for _, to := range []string{"dc2", "drp"} { // as it is where Harbors moved tags before edges did
		if err := f.open(t, Options{}).Refill(t.Context(), RefillOptions{Datacenter: to, From: "dc1"}); err != nil {
			t.Fatal(err)
		}
	}
	f.lags(t, 0)
	if err := f.harbors["dc2"].Wipe(); err != nil {
		t.Fatal(err)
	}
	refill := func(projects ...string) error {
		return f.open(t, Options{}).Refill(t.Context(), RefillOptions{Datacenter: "dc2", From: "dc1", Projects: projects})
	}
	if err := refill(); err == nil || !strings.Contains(err.Error(), "apply") {
		t.Errorf("before apply: %v", err)
	}
	f.apply(t, Options{})
	pushAndPull(t, f.harbors["dc2"], "multi-dc-repo1/app:v1") // another image under that tag
	own := digestOf(t, f, "dc2", "multi-dc-repo1", "app", "v1")
	if err := refill("repo1"); err != nil {
		t.Fatal(err)
	}
	if got := digestOf(t, f, "dc2", "multi-dc-repo1", "app", "v1"); got != own {
		t.Errorf("a tag that was there is %s, and was %s", got, own)
	}
	if got := digestOf(t, f, "dc2", "multi-dc-repo1", "a/b/c", "v2"); got != digestOf(t, f, "dc1", "multi-dc-repo1", "a/b/c", "v2") {
		t.Errorf("the Harbor has %q", got)
	}
	if got := digestOf(t, f, "dc2", "multi-dc-repo2", "app", "v1"); got != "" {
		t.Errorf("a project that was not named has %s", got)
	}
	if all := string(call(t, f.harbors["dc2"], "GET", "/replication/policies?page_size=100", nil)); strings.Contains(all, refillName) {
		t.Error("a policy of the refill is left")
	}
	for says, o := range map[string]RefillOptions{
		"from another one":                            {Datacenter: "dc1", From: "dc1"},
		`no datacenter "dc9"`:                         {Datacenter: "dc9", From: "dc1"},
		`the fleet file has no multi-dc project "no"`: {Datacenter: "dc1", From: "dc2", Projects: []string{"no"}},
	} {
		if err := f.open(t, Options{}).Refill(t.Context(), o); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("want %q, got %v", says, err)
		}
	}
}

// lags holds how many tags are missing at any Harbor.
func (f *testFleet) lags(t *testing.T, want int) {
	t.Helper()
	all, faults, err := f.open(t, Options{}).Lag(t.Context(), nil)
	if err != nil || len(faults) > 0 {
		t.Fatal(err, faults)
	}
	missing := 0
	for _, l := range all {
		missing += l.Missing
	}
	if missing != want {
		t.Errorf("%d tags are missing, want %d: %+v", missing, want, all)
	}
}

// digestOf is what a Harbor has under a tag, "" for nothing.
func digestOf(t *testing.T, f *testFleet, datacenter, project, repo, tag string) string {
	t.Helper()
	all, err := f.open(t, Options{}).harbors[datacenter].tags(t.Context(), project)
	if err != nil {
		t.Fatal(err)
	}
	return all[project+"/"+repo+":"+tag].digest
}
