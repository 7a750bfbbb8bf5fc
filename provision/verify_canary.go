package provision

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/replication"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/repository"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/models"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sync/errgroup"

	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/naming"
)

// canaries pushes an artifact into each replicated project at each datacenter, and
// sees it come to all others.
func (v *verifier) canaries(ctx context.Context) {
	var g errgroup.Group
	g.SetLimit(atOnce)
	projects := v.canaryProjects()
	for _, k := range slices.SortedFunc(maps.Keys(v.want.objects), Key.compare) {
		rb, ok := v.want.objects[k].(*robot)
		if !ok || rb.name != "sync" || !slices.Contains(projects, rb.project) || v.have[k.Datacenter] == nil || v.have[k.Datacenter].get(k.Kind, k.Name) == nil {
			continue
		}
		g.Go(func() error {
			v.canary(ctx, k.Datacenter, rb.project)
			return nil
		})
	}
	g.Wait()                        //nolint:errcheck // none returns one
	ctx, cancel := v.finishing(ctx) // what was pushed goes
	defer cancel()
	for _, project := range projects {
		v.each(func(_ string, h *harbor) error {
			_, err := h.api.Repository.DeleteRepository(ctx, repository.NewDeleteRepositoryParams().WithProjectName(project).WithRepositoryName(canaryRepo))
			if err != nil && !isCode(err, 404) {
				return err
			}
			return nil
		})
	}
}

// canaryProjects are those whose replications are tried, and whose canaries go in the end.
func (v *verifier) canaryProjects() (all []string) {
	for _, o := range v.want.objects {
		rb, ok := o.(*robot)
		if !ok || rb.name != "sync" || slices.Contains(all, rb.project) {
			continue
		}
		if len(v.o.Projects) == 0 || slices.Contains(v.o.Projects, strings.TrimPrefix(rb.project, naming.MultiDC)) {
			all = append(all, rb.project)
		}
	}
	return all
}

// canary pushes at one datacenter and waits at the others.
func (v *verifier) canary(ctx context.Context, datacenter, project string) {
	what := "push to " + project
	before := map[string]int64{} // the last executions of the pushes, by peer
	for peer := range v.harbors {
		if rule := v.have[datacenter].get(kindPolicy, project+" to "+peer); rule != nil {
			before[peer], _ = v.harbors[datacenter].lastID(ctx, rule.id) //nolint:errcheck // it is asked again
		}
	}
	reference := fmt.Sprintf(":from-%s-%d", datacenter, time.Now().UnixNano())
	img, err := random.Image(64, 1)
	if err == nil && v.contentAlone(project) { // a push by tag would set nothing off
		var digest v1.Hash
		digest, err = img.Digest()
		reference = "@" + digest.String()
	}
	if err == nil {
		within, cancel := context.WithTimeoutCause(ctx, v.o.Patience, fmt.Errorf("it takes no push within %v", v.o.Patience))
		defer cancel()
		done := v.watch("waiting for %s: it takes the push of a canary into %s, for up to %v", datacenter, project, v.o.Patience)
		err = v.registryOf(datacenter, project, reference, func(ref name.Reference, o ...remote.Option) error {
			return remote.Write(ref, img, append(o, remote.WithContext(within))...)
		})
		done()
		if err != nil && within.Err() != nil {
			err = context.Cause(within)
		}
	}
	if err != nil {
		v.say(Check{Datacenter: datacenter, What: what, Detail: err.Error()})
		return
	}
	pushed := time.Now()
	v.say(Check{Datacenter: datacenter, What: what, OK: true})
	var all sync.WaitGroup
	for peer, h := range v.harbors {
		if peer == datacenter || v.have[peer] == nil {
			continue
		}
		all.Go(func() {
			c := Check{Datacenter: datacenter, What: fmt.Sprintf("%s comes to %s", project, peer)}
			defer v.watch("waiting for %s: what was pushed into %s at %s is to come there, within %v", peer, project, datacenter, v.o.Patience)()
			err := v.arrives(ctx, datacenter, peer, h, project, reference, before[peer])
			c.Seconds = time.Since(pushed).Seconds()
			if c.OK = err == nil; err != nil {
				c.Detail = err.Error()
			}
			v.say(c)
		})
	}
	all.Wait()
}

// contentAlone reports whether the project is replicated without its tags, so that a
// canary has to be pushed by its digest, and comes by it.
func (v *verifier) contentAlone(project string) bool {
	m := v.wanting.fleet.Projects.MultiDC.Items[strings.TrimPrefix(project, naming.MultiDC)]
	return m != nil && m.Replication.Tags == fleet.TagsEdges
}

// arrives waits for the canary at the peer: by an event where there is such a replication,
// and by the peer's scheduled pull, which is told to run, too.
func (v *verifier) arrives(ctx context.Context, datacenter, peer string, h *harbor, project, reference string, before int64) error {
	ctx, cancel := context.WithTimeout(ctx, v.o.Patience)
	defer cancel()
	if push := (Key{datacenter, kindPolicy, project + " to " + peer}); v.want.objects[push] != nil {
		rule := v.have[datacenter].get(push.Kind, push.Name)
		if rule == nil {
			return errors.New("the push on events is not there; apply makes it")
		}
		// It may come by way of a third datacenter: that this one pushed is seen by its execution.
		if err := v.harbors[datacenter].executed(ctx, rule.id, before); err != nil {
			return fmt.Errorf("the push on events does not run: %w", err)
		}
		if err := v.waitFor(ctx, peer, project, reference); err != nil {
			return fmt.Errorf("the push on events does not bring it: %w", err)
		}
	}
	rule := v.have[peer].get(kindPolicy, project+" from "+datacenter)
	if rule == nil {
		return errors.New("the scheduled pull is not there; apply makes it")
	}
	if err := h.runPolicy(ctx, rule.id); err != nil {
		return fmt.Errorf("the scheduled pull: %w", err)
	}
	return v.waitFor(ctx, peer, project, reference)
}

// lastID is the id of a replication's last execution; 0: there was none.
func (h *harbor) lastID(ctx context.Context, policy int64) (id int64, err error) {
	got, err := h.api.Replication.ListReplicationExecutions(ctx, replication.NewListReplicationExecutionsParams().WithPolicyID(&policy).WithSort(ptr("-id")).WithPageSize(ptr(int64(10))))
	if err != nil {
		return 0, plain(err)
	}
	for _, e := range got.Payload {
		id = max(id, e.ID)
	}
	return id, nil
}

// executed waits for an execution of the policy behind the given one.
func (h *harbor) executed(ctx context.Context, policy, before int64) error {
	for {
		id, err := h.lastID(ctx, policy)
		if err == nil && id > before {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(errors.New("it has no execution, is it enabled"), err)
		case <-time.After(pollEvery):
		}
	}
}

// waitFor waits until the canary is there.
func (v *verifier) waitFor(ctx context.Context, datacenter, project, reference string) error {
	for {
		err := v.registryOf(datacenter, project, reference, func(ref name.Reference, o ...remote.Option) error {
			_, err := remote.Head(ref, append(o, remote.WithContext(ctx))...)
			return err
		})
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it is not there after %v", v.o.Patience)
		case <-time.After(pollEvery):
		}
	}
}

// registryOf does something with the canary at a datacenter's Harbor, as its sync robot.
// The reference is as :v1 or @sha256:….
func (v *verifier) registryOf(datacenter, project, reference string, do func(name.Reference, ...remote.Option) error) error {
	h := v.harbors[datacenter]
	scheme, host, _ := strings.Cut(h.base, "://")
	var options []name.Option
	if scheme == "http" {
		options = append(options, name.Insecure)
	}
	ref, err := name.ParseReference(path.Join(host, project, canaryRepo)+reference, options...)
	if err != nil {
		return err
	}
	robot := project + "+sync"
	auth := &authn.Basic{Username: v.have[datacenter].prefix + robot, Password: v.want.secrets[Key{datacenter, kindRobot, robot}]}
	return do(ref, remote.WithAuth(auth), remote.WithTransport(h.host))
}

// skipped reports whether an execution did nothing because the one before still ran.
func skipped(e *models.ReplicationExecution) bool {
	return e.Status == "Failed" && strings.Contains(e.StatusText, "active replication still in progress")
}

// errSkipped is why a run is begun again: one that began before may not have seen all.
var errSkipped = errors.New("it runs already")

// runPolicy runs a replication now, and waits for it, after one that runs already.
func (h *harbor) runPolicy(ctx context.Context, id int64) error {
	for {
		err := h.runOnce(ctx, id)
		if !errors.Is(err, errSkipped) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pollEvery):
		}
	}
}

func (h *harbor) runOnce(ctx context.Context, id int64) error {
	made, err := h.api.Replication.StartReplication(ctx, replication.NewStartReplicationParams().WithExecution(&models.StartReplicationExecution{PolicyID: id}))
	if err != nil {
		return plain(err)
	}
	execution, err := strconv.ParseInt(path.Base(made.Location), 10, 64)
	if err != nil {
		return fmt.Errorf("this Harbor does not say what it started: %q", made.Location)
	}
	for {
		got, err := h.api.Replication.GetReplicationExecution(ctx, replication.NewGetReplicationExecutionParams().WithID(execution))
		if err != nil {
			return plain(err)
		}
		switch {
		case got.Payload.Status == "Succeed":
			return nil
		case skipped(got.Payload):
			return errSkipped
		case got.Payload.Status == "InProgress":
		default:
			return fmt.Errorf("execution %d: %s: %s", execution, got.Payload.Status, strings.TrimSpace(got.Payload.StatusText))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("execution %d still runs", execution)
		case <-time.After(pollEvery):
		}
	}
}
