package provision

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/replication"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/models"
)

// Queued is a replication of the fleet file's whose Harbor has not got to its end: it waits for
// the job service, or what it does hangs. Harbor says InProgress of both.
type Queued struct {
	Datacenter  string
	Replication string
	Execution   int64         // the oldest that has not ended
	Since       time.Time     // by Harbor's clock
	Every       time.Duration // how often it is due
}

// queuedAfter is how long an execution may take that no schedule starts, or one that apply does not write.
const queuedAfter = 15 * time.Minute

// Queued asks all Harbors for replications that have not ended for longer than their schedule's
// interval, the longest first. Faults are Harbors that cannot say. It reads
// /api/v2.0/replication/policies and the hundred oldest of /api/v2.0/replication/executions that are InProgress.
func (p *Provisioner) Queued(ctx context.Context) ([]Queued, []Fault, error) {
	return p.queuedAt(ctx, time.Now())
}

func (p *Provisioner) queuedAt(ctx context.Context, now time.Time) (all []Queued, faults []Fault, err error) {
	want := p.wanting.wants()
	var mu sync.Mutex
	faults = p.each(func(datacenter string, h *harbor) error {
		have := &having{datacenter: datacenter, entries: map[Key]*entry{}}
		if err := h.readPolicies(ctx, have); err != nil {
			return err
		}
		got, err := h.api.Replication.ListReplicationExecutions(ctx, replication.NewListReplicationExecutionsParams().WithStatus(ptr("InProgress")).WithSort(ptr("start_time")).WithPageSize(ptr(int64(pageSize))))
		if err != nil {
			return fmt.Errorf("list the executions of replications: %w", plain(err))
		}
		mu.Lock()
		defer mu.Unlock()
		for k, e := range have.entries {
			if want.objects[k] == nil {
				continue
			}
			if q, ok := queued(got.Payload, k, e, now); ok {
				all = append(all, q)
			}
		}
		return nil
	})
	slices.SortFunc(all, func(a, b Queued) int {
		return cmp.Or(a.Since.Compare(b.Since), strings.Compare(a.Datacenter+" "+a.Replication, b.Datacenter+" "+b.Replication))
	})
	return all, faults, ctx.Err()
}

// queued finds the oldest of the executions that have not ended, if it is the policy's and late.
func queued(running []*models.ReplicationExecution, k Key, e *entry, now time.Time) (Queued, bool) {
	every := cmp.Or(interval(e.object.(*policy).cron), queuedAfter)
	for _, x := range running {
		since := time.Time(x.StartTime)
		if x.PolicyID == e.id && x.Status == "InProgress" && now.Sub(since) > every {
			return Queued{k.Datacenter, k.Name, x.ID, since.UTC(), every}, true
		}
	}
	return Queued{}, false
}
