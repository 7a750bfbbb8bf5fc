package provision

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/replication"
	"golang.org/x/sync/errgroup"
)

// Check is one thing that was tried.
type Check struct {
	Datacenter string  `json:"datacenter"`
	What       string  `json:"what"`
	OK         bool    `json:"ok"`
	Detail     string  `json:"detail,omitempty"`  // why not
	Seconds    float64 `json:"seconds,omitempty"` // of a replication: from the push to its presence
}

// VerifyOptions say what to try.
type VerifyOptions struct {
	NoCanary bool          // nothing is pushed: logins and executions alone
	Projects []string      // multi-dc projects whose replications are tried, as the fleet file names them; none: all
	Patience time.Duration // for a replication; 0: 2 minutes
	Progress func(Check)   // called for each check as it ends, one at a time
}

const canaryRepo = "breakwater-canary"

// verifier gathers checks.
type verifier struct {
	*Provisioner
	o    VerifyOptions
	want *wanted
	have map[string]*having

	after successors // the wanted replications between datacenters

	mu     sync.Mutex
	checks []Check
	runs   map[Key]func() error // scheduled pulls, each of which runs once
}

// Verify proves that what apply made works: robots log in, registries can be reached
// with the credentials that they hold, an artifact crosses every replication, and the
// last execution of each replication did not fail.
func (p *Provisioner) Verify(ctx context.Context, o VerifyOptions) ([]Check, error) {
	for _, name := range o.Projects {
		if p.options.Fleet.Projects.MultiDC.Items[name] == nil {
			return nil, fmt.Errorf("the fleet file has no multi-dc project %q", name)
		}
	}
	v := &verifier{Provisioner: p, o: o, runs: map[Key]func() error{}}
	v.o.Patience = cmp.Or(o.Patience, 2*time.Minute)
	have, faults := p.readAll(ctx)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	v.have, v.want = have, p.wanting.wants()
	v.after = v.want.successors()
	for _, f := range faults {
		v.say(Check{Datacenter: f.Datacenter, What: "reach Harbor", Detail: f.Message})
	}
	p.each(func(name string, h *harbor) error {
		if have[name] != nil {
			v.verifyOne(ctx, name, h)
		}
		return nil
	})
	if !o.NoCanary {
		v.canaries(ctx)
	}
	slices.SortStableFunc(v.checks, func(a, b Check) int {
		return cmp.Or(strings.Compare(a.Datacenter, b.Datacenter), strings.Compare(a.What, b.What))
	})
	return v.checks, ctx.Err()
}

func (v *verifier) say(c Check) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.checks = append(v.checks, c)
	if v.o.Progress != nil {
		v.o.Progress(c)
	}
}

// verifyOne tries what one Harbor alone can prove.
func (v *verifier) verifyOne(ctx context.Context, datacenter string, h *harbor) {
	have := v.have[datacenter]
	if err := h.prove(ctx, have, v.want); err != nil {
		v.say(Check{Datacenter: datacenter, What: "prove secrets", Detail: plain(err).Error()})
	}
	g, all := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for _, k := range slices.SortedFunc(maps.Keys(v.want.objects), Key.compare) {
		if k.Datacenter != datacenter {
			continue
		}
		e := have.get(k.Kind, k.Name)
		_, secret := v.want.secrets[k]
		switch {
		case e == nil:
			detail := "it is not there; apply makes it"
			if k.Kind == kindConfiguration {
				detail = "this account may not see it"
			}
			v.say(Check{Datacenter: datacenter, What: k.Kind + " " + k.Name, Detail: detail})
		case (k.Kind == kindRobot || k.Kind == kindRegistry) && secret:
			detail := e.whyNot
			if e.secret == differs {
				detail = "its secret is not the fleet file's; apply writes it"
			}
			v.say(Check{Datacenter: datacenter, What: k.Kind + " " + k.Name + " logs in", OK: e.secret == proven, Detail: detail})
		case k.Kind == kindPolicy:
			g.Go(func() error {
				v.say(h.lastExecution(all, k, e.id))
				return nil
			})
		}
	}
	g.Wait() //nolint:errcheck // none returns one
	v.coverage(ctx, datacenter, h)
}

// coverage says which projects a Harbor does not show to the robot as which others
// replicate in groups: their pulls skip those and say Succeed.
func (v *verifier) coverage(ctx context.Context, datacenter string, h *harbor) {
	k, rb := v.wanting.groupsRobot(datacenter)
	have, want := v.have[datacenter].get(k.Kind, k.Name), v.want.objects[k]
	if have == nil || want == nil {
		return
	}
	c := Check{Datacenter: datacenter, What: k.Kind + " " + rb.name + " covers the projects that are replicated as it"}
	seen, err := h.projectsOf(ctx, v.have[datacenter].prefix+k.Name, v.want.secrets[k])
	lost := want.(*robot).lost(have.object.(*robot))
	for _, g := range want.(*robot).grants {
		if err == nil && !slices.Contains(seen, g.namespace) && !slices.Contains(lost, g.namespace) {
			lost = append(lost, g.namespace)
		}
	}
	switch slices.Sort(lost); {
	case err != nil:
		c.Detail = "list them as it: " + plain(err).Error()
	case len(lost) > 0:
		c.Detail = few(lost) + ": others pull nothing of it, and their executions say Succeed; apply grants the robot what it lacks"
	default:
		c.OK = true
	}
	v.say(c)
}

// lastExecution says how a replication ended last.
func (h *harbor) lastExecution(ctx context.Context, k Key, id int64) Check {
	c := Check{Datacenter: k.Datacenter, What: k.Kind + " " + k.Name + " ran", OK: true}
	got, err := h.api.Replication.ListReplicationExecutions(ctx, replication.NewListReplicationExecutionsParams().WithPolicyID(&id).WithSort(ptr("-start_time")).WithPageSize(ptr(int64(10))))
	if err != nil {
		c.OK, c.Detail = false, plain(err).Error()
		return c
	}
	if len(got.Payload) == 0 {
		c.What, c.Detail = k.Kind+" "+k.Name, "it has not run yet"
	}
	for _, e := range got.Payload {
		if e.Status == "InProgress" || skipped(e) {
			continue
		}
		if e.Status == "Failed" {
			c.OK = false
			c.Detail = fmt.Sprintf("its last execution, %d at %s, failed: %s", e.ID, time.Time(e.StartTime).UTC().Format(time.RFC3339), cmp.Or(strings.TrimSpace(e.StatusText), fmt.Sprintf("%d of %s", e.Failed, Counted(e.Total, "task"))))
		}
		break
	}
	return c
}
