package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"example.org/breakwater/cmd/internal/status"
	"example.org/breakwater/cmd/internal/steer"
	"example.org/breakwater/internal/fleet"
)

// fleetDrain are the flags for edges that are not on this machine.
type fleetDrain struct {
	fleet, yes bool
	asJSON     jsonFlag
	reason     string
}

func (d *fleetDrain) register(cmd *cobra.Command, drains bool) {
	cmd.Flags().BoolVar(&d.fleet, "fleet", false, "ask the edges of the datacenters that are named, or of all: every replica, from anywhere")
	d.asJSON.register(cmd, "print one JSON object; with --fleet a list of what each edge answered")
	if drains {
		cmd.Flags().StringVar(&d.reason, "reason", "", "why, for those who look at the status; with --fleet")
		cmd.Flags().BoolVar(&d.yes, "yes", false, "also where no edge is left that serves; with --fleet")
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if d.fleet {
			return nil
		}
		if len(args) > 0 {
			return errors.New("datacenters are named with --fleet; without it, it is the edge on this machine")
		}
		for _, name := range []string{"reason", "yes"} {
			if cmd.Flags().Changed(name) {
				return fmt.Errorf("--%s is for --fleet; without it, it is the edge on this machine, and nothing was done", name)
			}
		}
		return nil
	}
}

// run asks the edges, and shows what each answered.
func (d *fleetDrain) run(cmd *cobra.Command, config string, names []string, release bool) error {
	if config == "" {
		return errors.New("--fleet needs --config: the fleet file says where the edges are")
	}
	f, err := fleet.ReadFile(config)
	if err != nil {
		return err
	}
	asker := &status.Asker{Fleet: f, From: steer.Operator()}
	all, err := asker.Drain(cmd.Context(), names, release, d.reason, d.yes)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if d.asJSON.on() {
		if err := d.asJSON.print(out, all); err != nil {
			return err
		}
		out = io.Discard
	}
	return status.PrintDrained(out, all)
}

// say says what the edge on this machine says of itself by now.
func (d *fleetDrain) say(cmd *cobra.Command, serving bool, sentence string) error {
	if d.asJSON.on() {
		return d.asJSON.print(cmd.OutOrStdout(), map[string]bool{"serving": serving})
	}
	_, err := fmt.Fprintln(cmd.OutOrStdout(), sentence)
	return err
}

func edgeDrainCommand() *cobra.Command {
	var admin adminFlags
	var others fleetDrain
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "drain --config fleet.yaml [--fleet [DATACENTER…]]",
		Short: "Let the edge on this machine say that it leaves, so that clients are sent elsewhere; or those of the fleet",
		Long: `Let the health of the edge on this machine say that it leaves: name servers answer
with other datacenters, load balancers take it out. It goes on serving whoever comes
all the same, until it is stopped; "breakwater edge release" or a restart takes the
drain back.

With --wait the command returns when clients have had that long to go: the TTL of the
name and a few seconds. Before a stop of the process, that is all that it takes to lose
no pull.

With --fleet it is not the edge on this machine, but all edges of the datacenters that
are named, every replica, asked at datacenters.<name>.edge with a key that is derived
from edge.peers.key. "breakwater status" shows who said so, and why. Where no edge would
be left that serves, that is said, and nothing is done without --yes. The exit status is
1 when one of them could not be told.`,
		Example: `  breakwater edge drain --config /etc/breakwater/fleet.yaml --wait 40s
  breakwater edge drain --config /etc/breakwater/fleet.yaml --fleet par1 --reason "new switches"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if others.fleet {
				if err := others.run(cmd, admin.config, args, false); err != nil {
					return fmt.Errorf("drain: %w", err)
				}
				return waitFor(cmd, wait)
			}
			if _, err := admin.ask(cmd.Context(), http.MethodPost, "/drain"); err != nil {
				return fmt.Errorf("drain: %w", err)
			}
			if err := others.say(cmd, false, "This edge says that it leaves, and serves until it is stopped."); err != nil {
				return err
			}
			return waitFor(cmd, wait)
		},
	}
	admin.register(cmd)
	others.register(cmd, true)
	cmd.Flags().DurationVar(&wait, "wait", 0, "how long to wait for clients to go")
	return cmd
}

// waitFor gives clients so long to go.
func waitFor(cmd *cobra.Command, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-cmd.Context().Done():
		return errors.New("drain: the wait was cut short; the edge still says that it leaves")
	}
}

func edgeReleaseCommand() *cobra.Command {
	var admin adminFlags
	var others fleetDrain
	cmd := &cobra.Command{
		Use:   "release --config fleet.yaml [--fleet [DATACENTER…]]",
		Short: "Take a drain of the edge on this machine back; or those of the fleet",
		RunE: func(cmd *cobra.Command, args []string) error {
			if others.fleet {
				if err := others.run(cmd, admin.config, args, true); err != nil {
					return fmt.Errorf("release: %w", err)
				}
				return nil
			}
			if _, err := admin.ask(cmd.Context(), http.MethodDelete, "/drain"); err != nil {
				return fmt.Errorf("release: %w", err)
			}
			return others.say(cmd, true, "This edge says that it serves.")
		},
	}
	admin.register(cmd)
	others.register(cmd, false)
	return cmd
}
