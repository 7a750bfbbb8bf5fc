package main

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

func edgeDrainCommand() *cobra.Command {
	var admin adminFlags
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "drain --config fleet.yaml",
		Short: "Let the edge on this machine say that it leaves, so that clients are sent elsewhere",
		Long: `Let the health of the edge on this machine say that it leaves: name servers answer
with other datacenters, load balancers take it out. It goes on serving whoever comes
all the same, until it is stopped; "breakwater edge release" or a restart takes the
drain back.

With --wait the command returns when clients have had that long to go: the TTL of the
name and a few seconds. Before a stop of the process, that is all that it takes to lose
no pull.`,
		Example: `  breakwater edge drain --config /etc/breakwater/fleet.yaml --wait 40s`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := admin.ask(cmd.Context(), http.MethodPost, "/drain"); err != nil {
				return fmt.Errorf("drain: %w", err)
			}
			fmt.Fprintln(cmd.OutOrStdout(), "This edge says that it leaves, and serves until it is stopped.")
			timer := time.NewTimer(wait)
			defer timer.Stop()
			select {
			case <-timer.C:
				return nil
			case <-cmd.Context().Done():
				return errors.New("drain: the wait was cut short; the edge still says that it leaves")
			}
		},
	}
	admin.register(cmd)
	cmd.Flags().DurationVar(&wait, "wait", 0, "how long to wait for clients to go")
	return cmd
}

func edgeReleaseCommand() *cobra.Command {
	var admin adminFlags
	cmd := &cobra.Command{
		Use:   "release --config fleet.yaml",
		Short: "Take a drain of the edge on this machine back",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := admin.ask(cmd.Context(), http.MethodDelete, "/drain"); err != nil {
				return fmt.Errorf("release: %w", err)
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "This edge says that it serves.")
			return err
		},
	}
	admin.register(cmd)
	return cmd
}
