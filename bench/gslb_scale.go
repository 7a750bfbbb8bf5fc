package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
)

// scalePlan says which fleet is played through, and for how long.
type scalePlan struct {
	Seed        uint64
	Days        int
	Datacenters int
	Clients     int     // networks of clients, /24
	Failures    float64 // times as many as usual
	Sizes       []int   // fleets whose cost is told
	Dir         string  // where the topology is kept; "": the system's temporary directory
	JSON        bool
}

const maxClients = 4 << 20 // from 16.0.0.0 on, all below 127.0.0.0

func scaleCommand() *cobra.Command {
	p := scalePlan{Seed: 1, Days: 365, Datacenters: 200, Clients: 1_000_000, Failures: 1, Sizes: []int{10, 50, 200}}
	cmd := &cobra.Command{
		Use:   "gslb-scale",
		Short: "A year of a large fleet of name servers, played through: what they answer while things fail",
		Long: `Name servers of this repository, one in each datacenter, without sockets and with a clock of the
bench's: their probes, votes and decisions are the real code's. Datacenters, links and whole name
servers fail at random; each answer is compared with what would have been right. When it is
interrupted, it tells of the days that were played.`,
		Example: `  go run ./bench gslb-scale
  go run ./bench gslb-scale --datacenters 20 --clients 100000 --days 30 --failures 10`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := runScale(cmd.Context(), p, cmd.ErrOrStderr())
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
	flags.Uint64Var(&p.Seed, "seed", p.Seed, "of all chance: the same one gives the same year")
	flags.IntVar(&p.Days, "days", p.Days, "that are played through")
	flags.IntVar(&p.Datacenters, "datacenters", p.Datacenters, "each with a name server; one in twenty is a backup")
	flags.IntVar(&p.Clients, "clients", p.Clients, "networks of clients (/24)")
	flags.Float64Var(&p.Failures, "failures", p.Failures, "times as many as usual")
	flags.IntSliceVar(&p.Sizes, "sizes", p.Sizes, "fleets, in datacenters, whose traffic and rebuild are told")
	flags.StringVar(&p.Dir, "dir", "", "where the topology is kept; default the system's temporary directory")
	flags.BoolVar(&p.JSON, "json", false, "print the result as one JSON object")
	return cmd
}

func (p *scalePlan) check() error {
	for _, n := range append([]int{p.Datacenters}, p.Sizes...) {
		if n < 2 || n > 256 {
			return fmt.Errorf("--datacenters, --sizes: %d; want 2 to 256, as many name servers as one hears", n)
		}
	}
	switch {
	case p.Days < 1 || p.Days > 3660:
		return fmt.Errorf("--days %d: want 1 to 3660", p.Days)
	case p.Clients < 100 || p.Clients > maxClients:
		return fmt.Errorf("--clients %d: want 100 to %d", p.Clients, maxClients)
	case !(p.Failures >= 0 && p.Failures <= 10_000):
		return fmt.Errorf("--failures %g: want 0 to 10000", p.Failures)
	}
	return nil
}

// runScale plays the plan through, and measures what fleets of several sizes cost.
func runScale(ctx context.Context, p scalePlan, progress io.Writer) (*scaleResult, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	begun := time.Now()
	all, own := busy()
	r := &scaleResult{Machine: []string{head("machine", machine())}, Plan: p}
	probe, err := measureProbe()
	if err != nil {
		return nil, err
	}
	for _, n := range p.Sizes {
		fmt.Fprintf(progress, "what a fleet of %d datacenters costs\n", n)
		row, err := measureSize(p, n, probe)
		if err != nil {
			return nil, err
		}
		r.Costs = append(r.Costs, row)
	}
	w, err := newScaleWorld(p, p.Datacenters)
	if err != nil {
		return nil, err
	}
	s := newScaleSim(w, p)
	s.run(ctx, progress)
	s.report(r)
	_, ownNow := busy()
	r.Machine = append(r.Machine, head("date", begun.UTC().Format("2006-01-02 15:04 UTC")),
		head("took", fmt.Sprintf("%.0f s, %.0f s of processor time", time.Since(begun).Seconds(), (ownNow-own).Seconds())),
		head("others", strangers(begun, all, own)))
	return r, nil
}
