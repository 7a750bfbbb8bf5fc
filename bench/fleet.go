package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"github.com/spf13/cobra"
)

// fleetPlan says which fleet is measured.
type fleetPlan struct {
	Datacenters int
	Projects    int           // of multi-dc
	Tags        int           // that one edge hears of
	Pushes      int           // that are measured
	Missing     int           // different tags that nobody has
	Asks        int           // for each of them
	Window      time.Duration // after a push, in which what it causes is counted
	Policies    int           // the most that are planned for all Harbors together: a fleet of more is planned with fewer projects
	Dir         string        // where edges keep their state; "": the system's temporary directory
	JSON        bool
}

func fleetCommand() *cobra.Command {
	p := fleetPlan{Datacenters: 50, Projects: 500, Tags: 1_000_000, Pushes: 9, Missing: 100, Asks: 20, Window: 30 * time.Second, Policies: 250_000}
	cmd := &cobra.Command{
		Use:   "fleet",
		Short: "What a large fleet costs: messages, memory, questions, and objects of its Harbors",
		Long: `Edges of this repository, one in each datacenter, over a network of the bench's own that hands a
request to the other edge, or to a Harbor that is worked out, and counts it. Nothing but the plan
of the Harbors' objects uses sockets.`,
		Example: `  go run ./bench fleet
  go run ./bench fleet --datacenters 10 --projects 50 --tags 10000`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := runFleet(cmd.Context(), p, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if p.JSON {
				return writeJSON(cmd.OutOrStdout(), r)
			}
			r.writeText(cmd.OutOrStdout())
			return nil
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&p.Datacenters, "datacenters", p.Datacenters, "each with an edge and a Harbor")
	flags.IntVar(&p.Projects, "projects", p.Projects, "of multi-dc, in all datacenters")
	flags.IntVar(&p.Tags, "tags", p.Tags, "of which one edge is told")
	flags.IntVar(&p.Pushes, "pushes", p.Pushes, "that are measured")
	flags.IntVar(&p.Missing, "missing", p.Missing, "different tags that nobody has")
	flags.IntVar(&p.Asks, "asks", p.Asks, "for each of them")
	flags.DurationVar(&p.Window, "window", p.Window, "after a push, in which what it causes is counted")
	flags.IntVar(&p.Policies, "policies", p.Policies, "the most replications that are planned, of all Harbors together: a fleet of more is planned with fewer projects")
	flags.StringVar(&p.Dir, "dir", "", "where edges keep their state; default the system's temporary directory")
	flags.BoolVar(&p.JSON, "json", false, "print the result as one JSON object")
	return cmd
}

// fleetSpare are the projects that only one measurement uses each, beside those of pushes.
const fleetSpare = 3

func (p *fleetPlan) check() error {
	switch {
	case p.Datacenters < 4 || p.Datacenters > 200:
		return fmt.Errorf("--datacenters %d: want 4 to 200", p.Datacenters)
	case p.Pushes < 1 || p.Pushes > 1000:
		return fmt.Errorf("--pushes %d: want 1 to 1000", p.Pushes)
	case p.Projects < p.Pushes+fleetSpare || p.Projects > 10_000:
		return fmt.Errorf("--projects %d: want %d to 10000, one for each push and %d more", p.Projects, p.Pushes+fleetSpare, fleetSpare)
	case p.Tags < 1 || p.Tags > 10_000_000:
		return fmt.Errorf("--tags %d: want 1 to 10000000", p.Tags)
	case p.Missing < 1 || p.Missing > 1000:
		return fmt.Errorf("--missing %d: want 1 to 1000", p.Missing)
	case p.Asks < 2 || p.Asks > 1000:
		return fmt.Errorf("--asks %d: want 2 to 1000", p.Asks)
	case p.Window < time.Second || p.Window > 5*time.Minute:
		return fmt.Errorf("--window %v: want 1s to 5m: tokens and what is remembered end then", p.Window)
	case p.Policies < 1:
		return fmt.Errorf("--policies %d: want 1 or more", p.Policies)
	}
	return nil
}

// ofThis is the commit that this program was built from, "" where it does not say.
func ofThis() string {
	self, err := os.Executable()
	if err != nil {
		return ""
	}
	return revision(self)
}

// runFleet measures the plan's fleet, one part after the other: each has the machine alone.
func runFleet(ctx context.Context, p fleetPlan, progress io.Writer) (*fleetResult, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	begun := time.Now()
	all, own := busy()
	dir, err := os.MkdirTemp(p.Dir, "breakwater-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary directory
	r := &fleetResult{Machine: []string{head("machine", machine()), head("breakwater", runtime.Version()+ofThis())}, Plan: p}
	for _, part := range []func(context.Context, fleetPlan, string, io.Writer, *fleetResult) error{measureMessages, measureLedger, measureObjects} {
		if err := part(ctx, p, dir, progress, r); err != nil {
			return nil, err
		}
	}
	_, ownNow := busy()
	r.Machine = append(r.Machine, head("date", begun.UTC().Format("2006-01-02 15:04 UTC")),
		head("took", fmt.Sprintf("%.0f s, %.0f s of processor time", time.Since(begun).Seconds(), (ownNow-own).Seconds())),
		head("others", strangers(begun, all, own)))
	return r, nil
}
