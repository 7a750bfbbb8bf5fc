package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.org/breakwater/internal/fleet"
)

// readyCommand asks a daemon of this machine for /readyz: for supervisors whose probe
// is a command, in an image that has no other.
func readyCommand(what string, of func(*fleet.Fleet) (string, error)) *cobra.Command {
	var config string
	cmd := &cobra.Command{
		Use:   "ready --config fleet.yaml",
		Short: "Say whether the " + what + " on this machine should be sent clients, by the exit status",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := fleet.ReadFile(config)
			if err != nil {
				return err
			}
			address, err := of(f)
			if err != nil {
				return err
			}
			return askReady(cmd, what, onThisMachine(address))
		},
	}
	cmd.Flags().StringVar(&config, "config", "", "the fleet file")
	cmd.MarkFlagRequired("config") //nolint:errcheck // the flag is there
	return cmd
}

func askReady(cmd *cobra.Command, what, address string) error {
	client := http.Client{Timeout: 5 * time.Second}
	resp, err := client.Get("http://" + address + "/readyz")
	if err != nil {
		return fmt.Errorf("no %s answers on %s: %w", what, address, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the %s is not ready: %s", what, strings.TrimSpace(string(body)))
	}
	_, err = fmt.Fprint(cmd.OutOrStdout(), "ready\n", strings.TrimPrefix(string(body), "ok\n"))
	return err
}

// onThisMachine is where a listener of all addresses is asked.
func onThisMachine(address string) string {
	if host, port, err := net.SplitHostPort(address); err == nil && (host == "" || net.ParseIP(host).IsUnspecified()) {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return address
}
