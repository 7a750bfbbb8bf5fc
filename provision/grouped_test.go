package provision

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/internal/trial"
)

// pushed are the artifacts that were taken by some Harbor.
type pushed struct {
	mu  sync.Mutex
	all []string // repo@digest

	homes map[string][]string // by project, of those that are in some Harbors alone
}

// push pushes into all projects at a Harbor, one after the other, until ctx ends: each once
// the one before has come to the other Harbors that hold it.
func (p *pushed) push(ctx context.Context, t *testing.T, f *testFleet, datacenter string, projects ...string) {
	for n := 0; ctx.Err() == nil; n++ {
		project := "multi-dc-" + projects[n%len(projects)]
		what, ok := p.one(t, f, datacenter, project)
		if !ok {
			return
		}
		beat := time.NewTicker(250 * time.Millisecond)
		for dc, h := range f.harbors {
			for done := !holds(p.homes[project], dc); !done && ctx.Err() == nil; done = isThere(t, h, what) {
				select {
				case <-beat.C:
				case <-ctx.Done():
					t.Logf("%s was not at %s when the last push ended", what, dc)
				}
			}
		}
		beat.Stop()
	}
}

// one pushes an artifact, by its digest.
func (p *pushed) one(t *testing.T, f *testFleet, datacenter, project string) (what string, ok bool) {
	img, err := random.Image(64, 1)
	if err != nil {
		t.Error(err)
		return "", false
	}
	digest, err := img.Digest()
	if err != nil {
		t.Error(err)
		return "", false
	}
	what = project + "/team/app@" + digest.String()
	ref, err := name.NewDigest(strings.TrimPrefix(f.harbors[datacenter].URL(), "http://")+"/"+what, name.Insecure)
	if err == nil {
		err = remote.Write(ref, img, remote.WithAuth(&authn.Basic{Username: "robot$" + project + "+readwrite", Password: "ReadWrite1x"}))
	}
	if err != nil {
		t.Errorf("%s takes no push: %v", datacenter, err)
		return "", false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = append(p.all, what)
	return what, true
}

func isThere(t *testing.T, h *lab.Harbor, what string) bool {
	repo, digest, _ := strings.Cut(what, "@")
	user, password := h.Admin()
	return answered(t, http.MethodGet, h.URL()+"/v2/"+repo+"/manifests/"+digest, user, password, "") == http.StatusOK
}

// everywhere waits until all is at all Harbors that hold it.
func (p *pushed) everywhere(t *testing.T, f *testFleet) {
	t.Helper()
	for dc, h := range f.harbors {
		for _, what := range p.all {
			if project, _, _ := strings.Cut(what, "/"); !holds(p.homes[project], dc) {
				continue
			}
			trial.Until(t, func() error {
				if !isThere(t, h, what) {
					return fmt.Errorf("%s is not at %s", what, dc)
				}
				return nil
			})
		}
	}
}

// kept are the objects of replication of a Harbor, by kind.
func kept(t *testing.T, f *testFleet, replace ...string) map[string]int {
	t.Helper()
	all := map[string]int{}
	p := f.open(t, Options{}, replace...)
	have, err := p.harbors["dc1"].read(t.Context(), "dc1", nil)
	if err != nil {
		t.Fatal(err)
	}
	for k, e := range have.entries {
		if rb, ok := e.object.(*robot); !ok || rb.name == syncRobot || rb.description == marked(groupsOwn) {
			all[k.Kind]++
		}
	}
	return all
}

// move applies the fleet file under a judge.
func move(t *testing.T, f *testFleet, replace ...string) *Plan {
	t.Helper()
	p := f.open(t, Options{}, replace...)
	p.settling = 200 * time.Millisecond
	for _, h := range p.harbors { // a judge takes its time
		h.timeout, h.patience = 5*time.Minute, 5*time.Minute
	}
	plan := f.plan(t, p)
	for _, r := range p.Apply(t.Context(), plan, nil) {
		if r.Outcome != Done {
			t.Errorf("%s: %s %s: %s", r.Key, r.Action, r.Outcome, r.Why)
		}
	}
	f.settled(t, replace...)
	return plan
}

// A fleet goes over to groups and back while all of its datacenters push: everything that
// was pushed comes everywhere on events alone, nobody is refused, and after no write is
// there a project that one Harbor does not replicate from and to each other.
func TestGroupsAndBackUnderLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("pushes go on through two moves")
	}
	f, j := newGroupable(t, []string{"dc1", "dc2", "dc3"}, "app: {}", "web: {}", "seldom: { replication: { pull: 1h } }")
	f.apply(t, Options{})
	j.expect(2 * 6 * 3) // both directions of six pairs, of three projects
	if got := kept(t, f); got[kindPolicy] != 12 || got[kindRegistry] != 6 || got[kindRobot] != 3 {
		t.Errorf("per project: %v", got)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var load sync.WaitGroup
	all := &pushed{}
	for dc := range f.harbors {
		load.Go(func() { all.push(ctx, t, f, dc, "app", "web", "seldom") })
	}
	plan := move(t, f, inGroups...)
	if n := plan.pruned(); n != 0 || plan.Count(Delete) != 3*(12+6+3) {
		t.Errorf("%d are pruned, and %d deleted", n, plan.Count(Delete))
	}
	if got := kept(t, f, inGroups...); got[kindPolicy] != 2*(2+1) || got[kindRegistry] != 2 || got[kindRobot] != 1 {
		t.Errorf("in groups: %v", got) // pulls of two ways and pushes of one, a peer
	}
	move(t, f)
	if got := kept(t, f); got[kindPolicy] != 12 || got[kindRegistry] != 6 || got[kindRobot] != 3 {
		t.Errorf("per project again: %v", got)
	}
	stop()
	load.Wait()
	for _, wrong := range j.verdict() {
		t.Error(wrong)
	}
	all.everywhere(t, f)
	t.Logf("%d artifacts and %d writes", len(all.all), j.writes)
}
