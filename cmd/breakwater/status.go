package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"example.org/breakwater/cmd/internal/status"
	"example.org/breakwater/cmd/internal/steer"
	"example.org/breakwater/internal/fleet"
)

const watchEvery = 2 * time.Second

func statusCommand() *cobra.Command {
	var config, base string
	var watch bool
	var asJSON jsonFlag
	cmd := &cobra.Command{
		Use:   "status --config fleet.yaml",
		Short: "Say how the whole fleet is, and what is wrong, worst first",
		Long: `Say how the whole fleet is: what DNS answers, every edge with its Harbor, its store
and its peers, every name server; and then what is wrong, worst first, each with the
page of the runbooks that helps.

Every edge is asked at every address of datacenters.<name>.edge, every name server at
datacenters.<name>.gslb, all at once and one second each: whatever is down or cut off,
the answer is there within three. Edges are asked with the key of the fleet file
(edge.peers.key), which has to be had here; without it, it is shown what anybody may
ask, and said what is missing.

The exit status is 0 when the fleet is well, 1 when something is wrong, and 2 when
there are warnings alone. A drain is neither: it is shown, and the fleet is well.`,
		Example: `  breakwater status --config /etc/breakwater/fleet.yaml
  breakwater status --config /etc/breakwater/fleet.yaml --watch
  breakwater status --config /etc/breakwater/fleet.yaml --json | jq -r '.findings[].sentence'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := fleet.ReadFile(config)
			if err != nil {
				return err
			}
			asker := &status.Asker{Fleet: f, From: steer.Operator(), Base: base}
			return showStatus(cmd.Context(), cmd.OutOrStdout(), asker, watch, &asJSON)
		},
	}
	cmd.Flags().StringVar(&config, "config", "", "the fleet file")
	cmd.Flags().BoolVar(&watch, "watch", false, "ask and show again every 2 s, until Ctrl-C")
	asJSON.register(cmd, "print one JSON object; with --watch one a line")
	cmd.Flags().StringVar(&base, "runbooks", status.Runbooks, "where your runbooks are: the URL of their folder")
	cmd.MarkFlagRequired("config") //nolint:errcheck // the flag is there
	return cmd
}

// showStatus asks and shows, once or until ctx ends.
func showStatus(ctx context.Context, out io.Writer, asker *status.Asker, watch bool, asJSON *jsonFlag) error {
	paint, terminal := status.Plain, isTerminal(out)
	if terminal && os.Getenv("NO_COLOR") == "" {
		paint = status.Colours
	}
	for {
		f := asker.Ask(ctx)
		if ctx.Err() != nil { // what was cut short says nothing
			return nil
		}
		switch {
		case asJSON.on():
			if err := asJSON.print(out, f); err != nil {
				return err
			}
		default:
			if watch && terminal {
				fmt.Fprint(out, "\x1b[H\x1b[2J")
			}
			if err := f.Print(out, paint); err != nil {
				return err
			}
		}
		if !watch {
			return exitOf(f.Verdict)
		}
		timer := time.NewTimer(watchEvery)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return exitOf(f.Verdict)
		}
		if !asJSON.on() && !terminal {
			fmt.Fprintln(out)
		}
	}
}

func exitOf(s status.Severity) error {
	switch s {
	case status.Wrong:
		return exitFaults
	case status.Warning:
		return exitWarnings
	}
	return nil
}
