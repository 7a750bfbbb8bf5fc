package provision

import (
	"context"
	"errors"
	"fmt"
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

// crossing is a canary on its way from one datacenter to another.
type crossing struct {
	from, to, project, reference string
	pushed                       time.Time
	check                        Check
	err                          error
}

// canaries pushes an artifact into each replicated project at each datacenter, and
// sees it come to all others that hold the project: by events first, and once all are there by pulls, of which
// one may be of many projects.
func (v *verifier) canaries(ctx context.Context) {
	projects := v.canaryProjects()
	var mu sync.Mutex
	var crossings []*crossing
	v.inTurn(func(each func(func())) {
		for _, datacenter := range sortedKeys(v.harbors) {
			for _, project := range projects {
				if robot := v.syncRobot(datacenter, project); v.have[datacenter] != nil && v.have[datacenter].get(robot.Kind, robot.Name) != nil {
					each(func() {
						all := v.canary(ctx, datacenter, project)
						mu.Lock()
						defer mu.Unlock()
						crossings = append(crossings, all...)
					})
				}
			}
		}
	})
	v.inTurn(func(each func(func())) {
		for _, c := range crossings {
			each(func() { v.pulled(ctx, c) })
		}
	})
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

// inTurn does what it is told to, a few things at a time.
func (v *verifier) inTurn(tell func(each func(func()))) {
	var g errgroup.Group
	g.SetLimit(atOnce)
	tell(func(do func()) {
		g.Go(func() error {
			do()
			return nil
		})
	})
	g.Wait() //nolint:errcheck // none returns one
}

// canaryProjects are those whose replications are tried, and whose canaries go in the end.
func (v *verifier) canaryProjects() (all []string) {
	for _, name := range sortedKeys(v.wanting.fleet.Projects.MultiDC.Items) {
		if v.wanting.fleet.Replicated(name) && (len(v.o.Projects) == 0 || slices.Contains(v.o.Projects, name)) {
			all = append(all, v.wanting.fleet.Project(naming.MultiDC, name))
		}
	}
	return all
}

// syncRobot is the robot as which a project at a datacenter is replicated.
func (v *verifier) syncRobot(datacenter, project string) Key {
	if v.wanting.fleet.Grouped() {
		return Key{datacenter, kindRobot, v.wanting.fleet.Harbor.SyncRobot.Name}
	}
	return Key{datacenter, kindRobot, project + "+" + syncRobot}
}

// between is the replication of a project at a datacenter, from or to a peer: how it is
// called, whether it is wanted, and what there is.
func (v *verifier) between(datacenter, word, peer, project string) (k Key, wanted bool, have *entry) {
	if k, wanted = v.after[direction{datacenter, word, peer}][project]; wanted && v.have[datacenter] != nil {
		have = v.have[datacenter].get(k.Kind, k.Name)
	}
	return k, wanted, have
}

// canary pushes at one datacenter and waits at the others for what events bring.
func (v *verifier) canary(ctx context.Context, datacenter, project string) (all []*crossing) {
	what := "push to " + project
	before := map[string]int64{} // the last executions of the pushes, by peer
	for peer := range v.harbors {
		if _, _, rule := v.between(datacenter, wordTo, peer, project); rule != nil {
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
		return nil
	}
	pushed := time.Now()
	v.say(Check{Datacenter: datacenter, What: what, OK: true})
	var waits sync.WaitGroup
	name, _ := v.wanting.fleet.MultiDC(project)
	homes := v.wanting.fleet.Homes(name)
	for _, peer := range sortedKeys(v.harbors) {
		if peer == datacenter || v.have[peer] == nil || !holds(homes, peer) {
			continue
		}
		c := &crossing{from: datacenter, to: peer, project: project, reference: reference, pushed: pushed}
		all = append(all, c)
		c.check = Check{Datacenter: datacenter, What: fmt.Sprintf("%s comes to %s", project, peer)}
		waits.Go(func() {
			defer v.watch("waiting for %s: what was pushed into %s at %s is to come there, within %v", peer, project, datacenter, v.o.Patience)()
			if _, wanted, rule := v.between(datacenter, wordTo, peer, project); wanted {
				c.err = v.arrives(ctx, c, rule, before[peer])
				c.check.Seconds = time.Since(pushed).Seconds()
			}
		})
	}
	waits.Wait()
	return all
}

// contentAlone reports whether the project is replicated without its tags, so that a
// canary has to be pushed by its digest, and comes by it.
func (v *verifier) contentAlone(project string) bool {
	_, m := v.wanting.fleet.MultiDC(project)
	return m != nil && m.Replication.Tags == fleet.TagsEdges
}

// arrives waits for the canary at the peer, by an event.
func (v *verifier) arrives(ctx context.Context, c *crossing, rule *entry, before int64) error {
	if rule == nil {
		return errors.New("the push on events is not there; apply makes it")
	}
	ctx, cancel := context.WithTimeout(ctx, v.o.Patience)
	defer cancel()
	// It may come by way of a third datacenter: that this one pushed is seen by its execution.
	if err := v.harbors[c.from].executed(ctx, rule.id, before); err != nil {
		return fmt.Errorf("the push on events does not run: %w", err)
	}
	if err := v.waitFor(ctx, c.to, c.project, c.reference); err != nil {
		return fmt.Errorf("the push on events does not bring it: %w", err)
	}
	return nil
}

// pulled has the peer's scheduled pull run, too, and says how the canary came.
func (v *verifier) pulled(ctx context.Context, c *crossing) {
	if c.err == nil {
		ctx, cancel := context.WithTimeout(ctx, v.o.Patience)
		defer cancel()
		done := v.watch("waiting for %s: it is to pull %s from %s, within %v", c.to, c.project, c.from, v.o.Patience)
		c.err = v.pull(ctx, c)
		done()
	}
	if c.check.Seconds == 0 {
		c.check.Seconds = time.Since(c.pushed).Seconds()
	}
	if c.check.OK = c.err == nil; c.err != nil {
		c.check.Detail = c.err.Error()
	}
	v.say(c.check)
}

func (v *verifier) pull(ctx context.Context, c *crossing) error {
	k, _, rule := v.between(c.to, wordFrom, c.from, c.project)
	if rule == nil {
		return errors.New("the scheduled pull is not there; apply makes it")
	}
	v.mu.Lock()
	run := v.runs[k]
	if run == nil { // of all its projects, whose canaries are there
		run = sync.OnceValue(func() error { return v.harbors[c.to].runPolicy(ctx, rule.id) })
		v.runs[k] = run
	}
	v.mu.Unlock()
	if err := run(); err != nil {
		return fmt.Errorf("the scheduled pull: %w", err)
	}
	return v.waitFor(ctx, c.to, c.project, c.reference)
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
	robot := v.syncRobot(datacenter, project)
	auth := &authn.Basic{Username: v.have[datacenter].prefix + robot.Name, Password: v.want.secrets[robot]}
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
