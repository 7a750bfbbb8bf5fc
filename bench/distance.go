package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// distancePlan says how far, how often and how much.
type distancePlan struct {
	Rounds int
	Peers  []string        // nil: all
	Work   []string        // nil: all
	Trips  []time.Duration // there and back
	Rate   int64           // bytes a second of each connection, in the fills that have a cap
	Push   int64           // bytes that are pushed, and pulled warm
	Fill   int64           // bytes that are fetched from afar
	Before string          // another breakwater; "": none
	Dir    string          // where content and stores are kept; "": the system's temporary directory
	JSON   bool
}

// distancePeers are those that fetch over a link, and are asked over one.
var distancePeers = []string{"edge", "before", "distribution", "nginx-cache", "direct"}

func distanceCommand() *cobra.Command {
	p := distancePlan{Rounds: 5, Trips: []time.Duration{0, 20 * time.Millisecond, 100 * time.Millisecond}, Push: 64 * mib, Fill: 128 * mib}
	rate, fill := int64(100), p.Fill/mib
	cmd := &cobra.Command{
		Use:   "distance",
		Short: "Pushes, fills and pulls over links that are late, by HTTP/1.1 and HTTP/2",
		Long: `A relay delays what it carries by half of --trips in each direction, and loses nothing. Pushes and
warm pulls are between a client and an edge that is far away, fills between an edge and a Harbor that
is. Both ends of the link speak TLS.`,
		Example: `  go run ./bench distance --rounds 3
  go run ./bench distance --work push --trips 0,40ms --before /tmp/breakwater-of-before`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p.Rate, p.Fill = rate*1e6, fill*mib
			if err := p.check(); err != nil {
				return err
			}
			r, err := runDistance(cmd.Context(), p, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if p.JSON {
				return writeJSON(cmd.OutOrStdout(), r)
			}
			return r.print(cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&p.Rounds, "rounds", p.Rounds, "how often each line is measured")
	flags.StringSliceVar(&p.Work, "work", nil, "which work: "+strings.Join(distanceWorks, ", ")+"; default all")
	flags.DurationSliceVar(&p.Trips, "trips", p.Trips, "how long the link takes there and back")
	flags.Int64Var(&rate, "rate", rate, "MB/s of each connection, in "+cappedWork)
	flags.Int64Var(&fill, "fill", fill, "MiB of the blob that is fetched from afar")
	flags.StringSliceVar(&p.Peers, "peers", nil, "which peers; default all")
	flags.StringVar(&p.Before, "before", "", "another breakwater's binary, as of the commit before: the peer before")
	flags.StringVar(&p.Dir, "dir", "", "where content and stores are kept; default the system's temporary directory")
	flags.BoolVar(&p.JSON, "json", false, "print the result as one JSON object")
	return cmd
}

func (p *distancePlan) check() error {
	if p.Rounds < 1 || p.Rate < 1e6 || p.Fill < mib || len(p.Trips) == 0 {
		return errors.New("--rounds, --rate, --fill and --trips: want 1 or more of each")
	}
	for _, trip := range p.Trips {
		if trip < 0 || trip > 10*time.Second {
			return fmt.Errorf("--trips %s: want 0 to 10s", trip)
		}
	}
	for _, name := range p.Peers {
		if !slices.Contains(distancePeers, name) {
			return fmt.Errorf("--peers: there is no peer %q", name)
		}
	}
	for _, name := range p.Work {
		if !slices.Contains(distanceWorks, name) {
			return fmt.Errorf("--work: there is no work %q", name)
		}
	}
	return nil
}

func runDistance(ctx context.Context, p distancePlan, progress io.Writer) (*distanceReport, error) {
	begun := time.Now()
	all, own := busy()
	peers := distancePeers
	if len(p.Peers) > 0 {
		peers = append([]string{"direct"}, p.Peers...) // whom the others are compared with
	}
	env, err := prepare(ctx, plan{Peers: peers, Before: p.Before, Dir: p.Dir, Warm: p.Push, Cold: p.Fill, Slow: 1, Settle: 200 * time.Millisecond}, progress)
	defer env.close()
	if err != nil {
		return nil, err
	}
	d := &distance{env: env, plan: p}
	defer d.close()
	if err := d.start(ctx); err != nil {
		return nil, err
	}
	r := newDistanceReport(d)
	for _, work := range distanceWorks {
		if len(p.Work) > 0 && !slices.Contains(p.Work, work) {
			continue
		}
		if err := d.work(ctx, work, r); err != nil {
			return nil, err
		}
	}
	r.compare()
	r.Head = append(r.Head, head("others", strangers(begun, all, own)))
	return r, nil
}
