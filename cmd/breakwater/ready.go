package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.org/breakwater/internal/daemon"
	"example.org/breakwater/internal/fleet"
)

// readyCommand asks a daemon of this machine for /readyz: for supervisors whose probe
// is a command, in an image that has no other.
func readyCommand(what string, of func(*fleet.Fleet) (string, error)) *cobra.Command {
	var config string
	var asJSON jsonFlag
	cmd := &cobra.Command{
		Use:   "ready --config fleet.yaml",
		Short: "Say whether the " + what + " on this machine should be sent clients, by the exit status",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := readFleet(cmd.InOrStdin(), config)
			if err != nil {
				return err
			}
			address, err := of(f)
			if err != nil {
				return err
			}
			return askReady(cmd, what, daemon.OnThisMachine(address), &asJSON)
		},
	}
	cmd.Flags().StringVar(&config, "config", "", "the fleet file; - reads standard input")
	asJSON.register(cmd, "print one JSON object: daemon, ready, says")
	cmd.MarkFlagRequired("config") //nolint:errcheck // the flag is there
	return cmd
}

func askReady(cmd *cobra.Command, what, address string, asJSON *jsonFlag) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/readyz", nil)
	if err != nil {
		return err
	}
	status, body, err := askDaemon(what, "metrics", req)
	switch {
	case err != nil:
		return err
	case asJSON.on():
		said := strings.TrimPrefix(strings.TrimPrefix(string(body), "ok"), "\n")
		err := asJSON.print(cmd.OutOrStdout(), map[string]any{"daemon": what, "ready": status == http.StatusOK, "says": strings.TrimSpace(said)})
		if err == nil && status != http.StatusOK {
			err = exitStatus(1)
		}
		return err
	case status != http.StatusOK:
		return fmt.Errorf("the %s is not ready: %s", what, strings.TrimSpace(string(body)))
	}
	_, err = fmt.Fprint(cmd.OutOrStdout(), "ready\n", strings.TrimPrefix(string(body), "ok\n"))
	return err
}
