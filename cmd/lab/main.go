// Command lab runs a whole fleet on one machine: three datacenters, each with a
// Harbor (a stand-in for one), an edge before it and a name server, and a registry
// that plays Docker Hub. It needs no configuration, no network and no root.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"example.org/breakwater/cmd/internal/asjson"
	"example.org/breakwater/internal/daemon"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var o options
	var asJSON, tour bool
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "Run a fleet of three datacenters on this machine",
		Long: `Run a fleet on this machine: the datacenters par1, mad1 and drp1 (a backup), each
with a stand-in for Harbor, an edge and a name server on a loopback address of its
own, and a registry that plays Docker Hub. It prints where everything is and what to try,
then a line for each request that an edge served. Ctrl-C ends it and leaves
nothing behind. The commands below act on a lab that runs in another terminal.`,
		Example: `  go run ./cmd/lab
  go run ./cmd/lab --tour
  go run ./cmd/lab --prometheus
  go run ./cmd/lab --json | jq .
  go run ./cmd/lab break harbor par1
  go run ./cmd/lab heal`,
		Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		Version: "breakwater lab " + daemon.Version(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.port < 0 || o.port > 65000 {
				return fmt.Errorf("--port %d: want 0 (any free ports) or a port up to 65000", o.port)
			}
			if tour {
				return runTour(cmd.Context(), o, cmd.OutOrStdout(), asJSON)
			}
			lines := cmd.OutOrStdout()
			if asJSON {
				lines = cmd.ErrOrStderr()
			}
			return run(cmd.Context(), o, lines, func(r *report) error {
				if asJSON {
					return asjson.Print(cmd.OutOrStdout(), r)
				}
				return r.print(cmd.OutOrStdout())
			})
		},
	}
	cmd.SetVersionTemplate("{{.Version}}\n")
	cmd.Flags().IntVar(&o.port, "port", 5000, "the edges' port; the other listeners are at +53 and +80 to +95; 0: any free ports")
	cmd.Flags().BoolVar(&o.quiet, "quiet-harbors", false, "Harbors replicate and send webhooks at once; else as those do that have much to do: 1 to 15 s, and 1.2 s")
	cmd.Flags().BoolVar(&o.watch, "prometheus", false, "write a scrape file for all metrics listeners, and run this machine's prometheus with it and the rules of deploy/observability, until the lab ends")
	cmd.Flags().BoolVar(&tour, "tour", false, "play ten steps through, from a first pull to a datacenter that dies: each is shown and checked; then end")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object when ready, and nothing else on stdout")
	cmd.AddCommand(breakCommand(), partitionCommand(), slowCommand(), wipeCommand(), backupCommand(), restoreCommand(), healCommand(), statusCommand())
	callItself(cmd)
	return cmd
}

// run starts the fleet, shows where it is, and serves until ctx ends.
func run(ctx context.Context, o options, lines io.Writer, show func(*report) error) error {
	begun := time.Now()
	log := &held{w: lines} // what edges say of their start comes after where the console is
	defer log.release()
	l, err := start(ctx, o, log)
	defer l.close()
	if err != nil {
		return err
	}
	l.report.Seconds = time.Since(begun).Round(time.Millisecond).Seconds()
	if err := show(&l.report); err != nil {
		return err
	}
	log.release()
	return l.serve(func() {})
}
