package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/lab"
	"example.org/breakwater/provision"
)

// objectsRow is what one way of replicating has in Harbors, and what it costs to plan that for
// Harbors that are empty. Objects are the most that one Harbor has.
type objectsRow struct {
	How        string  `json:"how"`
	Projects   int     `json:"projects"` // that were planned
	Registries int     `json:"registries"`
	Policies   int     `json:"replications"`
	Robots     int     `json:"robots"`
	Pulls      int     `json:"pulls_per_hour"` // scheduled, of the fleet
	Objects    int     `json:"objects"`        // of the fleet, all kinds
	Opening    float64 `json:"desired_state_seconds"`
	Planning   float64 `json:"plan_seconds"`
	Peak       float64 `json:"peak_heap_bytes"`
}

// fleetSecret is every secret of the file: nobody but the bench's own Harbors sees it.
const fleetSecret = "Robot5ecretRobot5ecretRobot5ecret"

// pullsAnHour are those of one scheduled replication, as the fleet file has them by default.
const pullsAnHour = 4

// measureObjects plans the fleet for empty Harbors, once for each way.
func measureObjects(ctx context.Context, p fleetPlan, dir string, progress io.Writer, r *fleetResult) error {
	fmt.Fprintf(progress, "start %d Harbors\n", p.Datacenters)
	var harbors strings.Builder
	for i := range p.Datacenters {
		h, err := lab.StartHarbor(lab.HarborConfig{AdminPassword: fleetSecret})
		if err != nil {
			return err
		}
		defer h.Close() //nolint:errcheck // it is gone either way
		fmt.Fprintf(&harbors, "  dc%02d: { harbor: %q, edge: \"https://edge.dc%02d.example.net\" }\n", i, h.URL(), i)
	}
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte(fleetSecret), 0o600); err != nil {
		return err
	}
	each := 2 * p.Datacenters * (p.Datacenters - 1) // replications of a project, in all Harbors
	few := min(p.Projects, max(1, p.Policies/each))
	for _, way := range []objectsRow{
		{How: "per-project", Projects: few},
		{How: "grouped", Projects: p.Projects},
		{How: "grouped, copies 3", Projects: p.Projects},
	} {
		fmt.Fprintf(progress, "plan %d projects, %s\n", way.Projects, way.How)
		if err := way.plan(ctx, objectsFleet(way, harbors.String(), secret)); err != nil {
			return fmt.Errorf("%s: %w", way.How, err)
		}
		r.Objects = append(r.Objects, way)
	}
	return nil
}

// objectsFleet is a fleet file.
func objectsFleet(way objectsRow, harbors, secret string) string {
	var text strings.Builder
	fmt.Fprintf(&text, "domain: harbor.example.org\ndatacenters:\n%s", harbors)
	fmt.Fprintf(&text, "harbor: { username: admin, password: \"file:%[1]s\", sync_robot: { secret: \"file:%[1]s\" } }\nedge: { plain_http: true, robot: { secret: \"file:%[1]s\" }, peers: { key: \"file:%[1]s\" } }\nprojects:\n  multi-dc:\n", secret)
	how, copies, _ := strings.Cut(way.How, ", copies ")
	fmt.Fprintf(&text, "    replication: %s\n", how)
	if copies != "" {
		fmt.Fprintf(&text, "    copies: %s\n", copies)
	}
	fmt.Fprintf(&text, "    defaults: { robots: { readonly: \"file:%[1]s\", readwrite: \"file:%[1]s\", sync: \"file:%[1]s\" }, replication: { tags: edges, push: event } }\n", secret)
	for i := range way.Projects {
		fmt.Fprintf(&text, "    p%04d: {}\n", i)
	}
	return text.String()
}

// plan has provision plan the file, and counts.
func (o *objectsRow) plan(ctx context.Context, text string) error {
	f, err := fleet.Load("fleet.yaml", []byte(text))
	if err != nil {
		return err
	}
	before, peak := heapNow(), watchHeap()
	begun := time.Now()
	p, err := provision.Open(ctx, provision.Options{Fleet: f})
	if err != nil {
		peak()
		return err
	}
	defer p.Close()
	o.Opening = time.Since(begun).Seconds()
	begun = time.Now()
	plan, err := p.Plan(ctx)
	o.Planning = time.Since(begun).Seconds()
	o.Peak = float64(peak() - before)
	if err == nil && len(plan.Faults) > 0 {
		err = errors.New(plan.Faults[0].String())
	}
	if err != nil {
		return err
	}
	o.count(plan)
	return nil
}

func (o *objectsRow) count(plan *provision.Plan) {
	o.Objects = plan.Objects
	kinds := map[string]map[string]int{} // by datacenter and kind
	for _, c := range plan.Changes {
		if kinds[c.Datacenter] == nil {
			kinds[c.Datacenter] = map[string]int{}
		}
		kinds[c.Datacenter][c.Kind]++
		if c.Kind == "replication" && strings.Contains(c.Name, " from ") {
			o.Pulls += pullsAnHour
		}
	}
	for _, of := range kinds {
		o.Registries, o.Policies, o.Robots = max(o.Registries, of["registry"]), max(o.Policies, of["replication"]), max(o.Robots, of["robot"])
	}
}

// watchHeap watches how much memory is in use until what it returns is called, which says
// the most that was.
func watchHeap() (most func() int64) {
	end, ended := make(chan struct{}), make(chan int64)
	go func() {
		var m runtime.MemStats
		top, tick := uint64(0), time.NewTicker(50*time.Millisecond)
		defer tick.Stop()
		for {
			runtime.ReadMemStats(&m)
			top = max(top, m.HeapAlloc)
			select {
			case <-tick.C:
			case <-end:
				ended <- int64(top)
				return
			}
		}
	}()
	return func() int64 {
		close(end)
		return <-ended
	}
}
