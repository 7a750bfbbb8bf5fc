package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.org/breakwater/internal/fleet"
)

func purgeCommand() *cobra.Command {
	var admin adminFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "purge --config fleet.yaml DIGEST",
		Short: "Remove a blob or manifest from the store of the edge on this machine",
		Long: `Remove a blob or manifest from the store of the edge that runs on this machine.
The next pull fetches it again. What is being pulled now is pulled to its end,
and not kept. Nothing is removed from Harbor.

The edge is asked on its admin listener: edge.admin of the fleet file, or --admin.`,
		Example: `  breakwater purge --config /etc/breakwater/fleet.yaml sha256:6f4ae4d2…`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := admin.ask(cmd.Context(), http.MethodPost, "/purge?digest="+url.QueryEscape(args[0]))
			if err != nil {
				return fmt.Errorf("purge: %w", err)
			}
			if asJSON {
				_, err := cmd.OutOrStdout().Write(body)
				return err
			}
			var answer struct {
				Digest string
				Purged bool
			}
			if err := json.Unmarshal(body, &answer); err != nil {
				return fmt.Errorf("purge: %w", err)
			}
			says := "was not there"
			if answer.Purged {
				says = "is removed from this edge"
			}
			fmt.Fprintln(cmd.OutOrStdout(), answer.Digest, says)
			return nil
		},
	}
	admin.register(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object: digest, purged")
	return cmd
}

// adminFlags say where the edge's admin listener is.
type adminFlags struct{ config, address string }

func (a *adminFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.config, "config", "", "the fleet file")
	cmd.Flags().StringVar(&a.address, "admin", "", "the address of the edge's admin listener, instead of the fleet file's")
	cmd.MarkFlagsOneRequired("config", "admin")
}

// ask sends a request to the admin listener, and returns the body of its answer.
func (a *adminFlags) ask(ctx context.Context, method, path string) ([]byte, error) {
	address := a.address
	if address == "" {
		f, err := fleet.ReadFile(a.config)
		if err != nil {
			return nil, err
		}
		address = f.Edge.Admin
	}
	if host, port, err := net.SplitHostPort(address); err == nil && host == "" {
		address = net.JoinHostPort("127.0.0.1", port)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+address+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("no edge answers on %s; is it running on this machine? %w", address, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the edge says: %s", strings.TrimSpace(string(body)))
	}
	return body, nil
}
