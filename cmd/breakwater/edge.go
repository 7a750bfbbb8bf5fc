package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"example.org/breakwater/cmd/internal/preflight"
	"example.org/breakwater/cmd/internal/wire"
	"example.org/breakwater/internal/daemon"
	"example.org/breakwater/internal/fleet"
)

func edgeCommand() *cobra.Command {
	var config, datacenter string
	var drain time.Duration
	var strict bool
	cmd := &cobra.Command{
		Use:   "edge --config fleet.yaml [--datacenter NAME]",
		Short: "Run the edge of one datacenter, in front of its Harbor",
		Long: `Run the edge of one datacenter: a pull-through proxy on the name that clients
use, in front of that datacenter's Harbor (or of any registry).

Reads of cache-*, repl-* and multi-dc-* projects are answered from the edge's
own store; everything else, pushes and the portal among it, is passed to Harbor.
It listens where the fleet file says: clients on edge.listen, Prometheus on
edge.metrics, operators on edge.admin.

The fleet file, and the files that it refers to, are read again when they change
and at SIGHUP; a broken one changes nothing. What needs a restart is said.

The log is JSON on stderr, a line a request. As it starts, it looks at what it needs
(Harbor, its robot, the certificate, the disk) and logs what is wrong, without waiting
for that; with --strict it waits, and does not start with a fault. SIGTERM or Ctrl-C drains: health
says so for the time of --drain, so that clients are sent elsewhere, then the
requests in flight are finished and the process ends.`,
		Example: `  breakwater edge --config /etc/breakwater/fleet.yaml --datacenter par1`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := keptFile(cmd, config); err != nil {
				return err
			}
			if datacenter, err = ownDatacenter(cmd, config, datacenter); err != nil {
				return err
			}
			level := new(slog.LevelVar)
			journal := daemon.NewJournal(os.Stderr)
			defer func() { err = errors.Join(err, journal.Close()) }()
			log := journal.Logger(level)
			looked, err := lookAround(cmd.Context(), config, datacenter, preflight.Edge, log, strict)
			if err != nil {
				return err
			}
			edge, err := wire.NewEdge(cmd.Context(), wire.EdgeConfig{File: config, Datacenter: datacenter, Version: daemon.Version(), Lacks: looked.Lacks, Log: log, Level: level, Journal: journal})
			if err != nil {
				lookedFor(cmd.Context(), looked, time.Second)
				return fmt.Errorf("start edge: %w", err)
			}
			defer func() { err = errors.Join(err, edge.Close()) }()
			edge.Daemon.Leave = drain
			for _, s := range edge.Servers {
				log.Info("listening", "listener", s.Name, "address", s.Listener.Addr().String(), "tls", s.TLS != nil)
			}
			return edge.Run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&config, "config", "", "the fleet file")
	cmd.Flags().StringVar(&datacenter, "datacenter", "", "the datacenter in the fleet file that this is the edge of; it may be left out where there is one")
	cmd.Flags().DurationVar(&drain, "drain", 3*time.Second, "how long to go on serving after health says that this edge is leaving")
	strictFlag(cmd, &strict)
	cmd.MarkFlagRequired("config") //nolint:errcheck // the flag is there
	cmd.AddCommand(edgeDrainCommand(), edgeReleaseCommand(), readyCommand(daemon.Edge, func(f *fleet.Fleet) (string, error) { return f.Edge.Metrics, nil }))
	return cmd
}
