// Command lab runs a whole fleet on one machine: three datacenters, each with a
// Harbor (a stand-in for one), an edge before it and a name server, and a registry
// that plays Docker Hub. It needs no configuration, no network and no root.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"example.org/breakwater/internal/daemon"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var port int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "Run a fleet of three datacenters on this machine",
		Long: `Run a fleet on this machine: the datacenters par1, mad1 and drp1 (a backup), each
with a stand-in for Harbor, an edge and a name server on a loopback address of its
own, and a registry that plays Docker Hub. It prints where everything is and what to try,
then a line for each request that an edge served. Ctrl-C ends it and leaves
nothing behind.`,
		Example: `  go run ./cmd/lab
  go run ./cmd/lab --json | jq .`,
		Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		Version: "breakwater lab " + daemon.Version(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if port < 0 || port > 65000 {
				return fmt.Errorf("--port %d: want 0 (any free ports) or a port up to 65000", port)
			}
			lines := cmd.OutOrStdout()
			if asJSON {
				lines = cmd.ErrOrStderr()
			}
			return run(cmd.Context(), port, lines, func(r *report) error {
				if asJSON {
					return json.NewEncoder(cmd.OutOrStdout()).Encode(r)
				}
				return r.print(cmd.OutOrStdout())
			})
		},
	}
	cmd.SetVersionTemplate("{{.Version}}\n")
	cmd.Flags().IntVar(&port, "port", 5000, "the edges' port; the other listeners are at +53 and +80 to +93; 0: any free ports")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object when ready, and nothing else on stdout")
	return cmd
}

// run starts the fleet, shows where it is, and serves until ctx ends.
func run(ctx context.Context, port int, lines io.Writer, show func(*report) error) error {
	begun := time.Now()
	l, err := start(ctx, port, lines)
	defer l.close()
	if err != nil {
		return err
	}
	l.report.Seconds = time.Since(begun).Round(time.Millisecond).Seconds()
	if err := show(&l.report); err != nil {
		return err
	}
	return l.serve(ctx)
}
