package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

// spreadPlan says what is pushed in one datacenter and looked for in the others.
type spreadPlan struct {
	Times  int             // how many tags are pushed, and how often one is moved
	Movers int             // how many push at once, each with a tag of its own that it moves
	Rate   int             // new tags and moves a second, of each, at most
	Alone  int             // the same past the edges: how many, and how often
	Delays []time.Duration // between two datacenters, one way; one run each
	Least  time.Duration   // that an execution of a replication takes
	Most   time.Duration   // the same; it has two steps of half of it each, at most
	Dir    string          // where stores are kept; "": the system's temporary directory
	JSON   bool
}

func spreadCommand() *cobra.Command {
	p := spreadPlan{Times: 1000, Movers: 16, Rate: 3, Alone: 50, Delays: []time.Duration{0, 20 * time.Millisecond, 100 * time.Millisecond}, Least: time.Second, Most: 40 * time.Second}
	cmd := &cobra.Command{
		Use:   "spread",
		Short: "How soon what was pushed in one datacenter is pulled in the others",
		Long: `Three datacenters, each a Harbor stand-in and an edge; the Harbors replicate to each other as
busy ones do: by events, with override, both ways, each execution 1 to 40 s, in any order. Images are
pushed in the first, by new tags and by tags that move, and pulled in the two others.`,
		Example: `  go run ./bench spread
  go run ./bench spread --times 100 --delays 40ms`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if p.Times < 1 || p.Movers < 1 || p.Rate < 1 || p.Alone < 1 || len(p.Delays) == 0 {
				return errors.New("--times, --movers, --rate, --alone and --delays: want 1 or more of each")
			}
			r, err := runSpread(cmd.Context(), p, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if p.JSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(r)
			}
			return r.print(cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&p.Times, "times", p.Times, "how many new tags are pushed, and how often a tag is moved")
	flags.IntVar(&p.Movers, "movers", p.Movers, "how many push at once, each with a tag of its own that it moves")
	flags.IntVar(&p.Rate, "rate", p.Rate, "new tags and moves a second, of each, at most")
	flags.IntVar(&p.Alone, "alone", p.Alone, "the same past the edges, for what replication alone does")
	flags.DurationSliceVar(&p.Delays, "delays", p.Delays, "between two datacenters, one way")
	flags.StringVar(&p.Dir, "dir", "", "where stores are kept; default the system's temporary directory")
	flags.BoolVar(&p.JSON, "json", false, "print the result as one JSON object")
	return cmd
}

// runSpread runs the plan once for each delay, with other Harbors and edges each time.
func runSpread(ctx context.Context, p spreadPlan, progress io.Writer) (*spreadReport, error) {
	e := &environment{progress: progress}
	defer e.close()
	var err error
	if e.dir, err = os.MkdirTemp(p.Dir, "breakwater-bench-"); err != nil {
		return nil, err
	}
	if err := os.Mkdir(e.shared(), 0o755); err != nil {
		return nil, err
	}
	if _, err := writeKeys(e.shared()); err != nil {
		return nil, fmt.Errorf("make keys: %w", err)
	}
	for name, content := range map[string]string{"password": "Harbor12345", "peer-key": peerKey} {
		if err := os.WriteFile(filepath.Join(e.shared(), name), []byte(content), 0o600); err != nil {
			return nil, err
		}
	}
	e.say("build the edge")
	binary, err := buildEdge(ctx, e.dir)
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	all, own := busy()
	r := &spreadReport{Head: []string{head("machine", machine()), head("breakwater", strings.TrimSpace(firstLine(binary, "version"))+revision(binary)),
		head("date", begun.UTC().Format("2006-01-02 15:04 UTC")),
		head("work", fmt.Sprintf("%d new tags and %d moves of %d tags, %d at once, %d a second of each at most, and %d past the edges; a replication takes %s to %s", p.Times, p.Times, p.Movers, p.Movers, p.Rate, p.Alone, p.Least, p.Most))}}
	for i, delay := range p.Delays {
		e.say("%s one way", delay)
		if err := r.once(ctx, e, p, binary, i, delay); err != nil {
			return nil, err
		}
	}
	r.Head = append(r.Head, head("others", strangers(begun, all, own)))
	return r, nil
}

// once pushes and pulls through the edges and, in another project, past them.
func (r *spreadReport) once(ctx context.Context, e *environment, p spreadPlan, binary string, run int, delay time.Duration) error {
	f, err := startSpread(ctx, e, p, binary, run, delay)
	defer f.close()
	if err != nil {
		return err
	}
	client, err := newSpreadClient(ctx, f.harbors[0].URL())
	if err != nil {
		return err
	}
	defer client.http.CloseIdleConnections()
	edges := newStage(client, throughEdges, delay, f.edges, spreadProject+"/app")
	edges.others, edges.sampled = f.harborURLs(), p.Alone
	alone := newStage(client, pastEdges, delay, f.harborURLs(), aloneProject+"/app")
	edges.every, alone.every, alone.goesOn = time.Second/time.Duration(p.Rate), time.Second/2, true
	group, within := errgroup.WithContext(ctx)
	group.Go(func() error { return edges.run(within, p, p.Times, p.Movers) })
	group.Go(func() error { return alone.run(within, p, p.Alone, min(p.Alone, 2)) })
	if err := group.Wait(); err != nil {
		return err
	}
	for _, s := range []*stage{edges, alone} {
		if s.fault != "" {
			r.Faults = append(r.Faults, s.through+": "+s.fault)
		}
		for _, row := range s.rows() {
			e.say("%s", row)
			r.Rows = append(r.Rows, row)
		}
	}
	return nil
}
