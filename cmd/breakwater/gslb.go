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

func gslbCommand() *cobra.Command {
	var config, datacenter, siblings string
	var strict, takeOver bool
	cmd := &cobra.Command{
		Use:   "gslb --config fleet.yaml [--datacenter NAME]",
		Short: "Run the name server of one datacenter: the nearest healthy datacenter, over DNS",
		Long: `Run the name server of one datacenter. It is authoritative for the fleet's domain,
which the parent zone delegates to the name servers of all datacenters, and answers
each client with the nearest datacenter that serves; backups only when no primary
does. It asks the datacenters' edges for their health.

It listens where the fleet file says: resolvers on gslb.listen (UDP and TCP),
Prometheus on gslb.metrics, operators on gslb.admin and, where there is a gslb.key, the
fleet's other name servers on gslb.peers. The fleet file, the topology, the keys that
zones are signed with and the geographic database are read again when they change and at
SIGHUP; a broken one changes nothing.

With --take-over it may be started while another one runs on the same machine: it shares
the port for DNS once it can answer, and no query is lost when the other one is stopped
then (SIGTERM). It has the other listeners when that has ended.

The log is JSON on stderr. As it starts, it looks at what it needs and logs what is
wrong, without waiting for that; with --strict it waits, and does not start with a fault.`,
		Example: `  breakwater gslb --config /etc/breakwater/fleet.yaml --datacenter par1
  breakwater gslb explain --config /etc/breakwater/fleet.yaml --client 203.0.113.7
  breakwater gslb drain --config /etc/breakwater/fleet.yaml par1 --for 1h --reason "new switches"`,
		Args: cobra.NoArgs,
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
			looked, err := lookAround(cmd.Context(), config, datacenter, preflight.GSLB, log, strict)
			if err != nil {
				return err
			}
			node, err := wire.NewGSLB(cmd.Context(), wire.GSLBFile{Fleet: config, Datacenter: datacenter, Siblings: siblings, TakeOver: takeOver, Lacks: looked.Lacks, Log: log, Level: level, Journal: journal})
			if err != nil {
				lookedFor(cmd.Context(), looked, time.Second)
				return fmt.Errorf("start gslb: %w", err)
			}
			defer func() { err = errors.Join(err, node.Close()) }()
			for _, s := range node.Servers {
				log.Info("listening", "listener", s.Name, "address", s.Listener.Addr().String())
			}
			return node.Run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&config, "config", "", "the fleet file")
	cmd.Flags().StringVar(&datacenter, "datacenter", "", "the datacenter in the fleet file that this is the name server of; it may be left out where there is one")
	cmd.Flags().StringVar(&siblings, "siblings", "", "DNS names or addresses of all name servers of this datacenter, this one too, where several are behind one address: what is said to one of them with --fleet is said to all")
	cmd.Flags().BoolVar(&takeOver, "take-over", false, "start beside the name server that runs here: both answer as soon as this one can, until the other is stopped")
	strictFlag(cmd, &strict)
	cmd.MarkFlagRequired("config") //nolint:errcheck // the flag is there
	cmd.AddCommand(gslbExplainCommand(), gslbLookupCommand(), gslbCheckCommand(), gslbKeygenCommand(), gslbDSCommand(), gslbStatusCommand(), gslbDrainCommand(), gslbForceCommand(), gslbReleaseCommand(), checkDelegationCommand(), delegationCommand(),
		readyCommand(daemon.NameServer, gslbSection(func(g *fleet.GSLB) string { return g.Metrics })))
	return cmd
}

// gslbAdmin are the flags that say where the name server's admin listener is.
func gslbAdmin() *adminFlags {
	return &adminFlags{what: daemon.NameServer, of: gslbSection(func(g *fleet.GSLB) string { return g.Admin })}
}

// gslbSection reads from a section that a fleet file may not have.
func gslbSection(read func(*fleet.GSLB) string) func(*fleet.Fleet) (string, error) {
	return func(f *fleet.Fleet) (string, error) {
		if f.GSLB == nil {
			return "", errors.New("the fleet file has no gslb section")
		}
		return read(f.GSLB), nil
	}
}
