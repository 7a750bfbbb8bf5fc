package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
)

func purgeCommand() *cobra.Command {
	var admin adminFlags
	var asJSON jsonFlag
	var wholeFleet bool
	cmd := &cobra.Command{
		Use:   "purge --config fleet.yaml DIGEST",
		Short: "Remove a blob or manifest from the store of the edge on this machine, or of all edges",
		Long: `Remove a blob or manifest from the store of the edge that runs on this machine
or, with --fleet, from those of all edges of the fleet. The next pull fetches it
again. What is being pulled now is pulled to its end, and not kept. Nothing is
removed from Harbor. Tags of caches that are frozen at the digest, or kept though
their upstream has deleted it, are let go.

The edge is asked on its admin listener: edge.admin of the fleet file, or --admin.
The exit code is 1 when an edge could not be asked; the others have purged.`,
		Example: `  breakwater purge --config /etc/breakwater/fleet.yaml sha256:6f4ae4d2…
  breakwater purge --config /etc/breakwater/fleet.yaml --fleet sha256:6f4ae4d2…`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			query := url.Values{"digest": {args[0]}}
			if wholeFleet {
				query.Set("fleet", "true")
			}
			body, err := admin.ask(cmd.Context(), http.MethodPost, "/purge?"+query.Encode())
			if err != nil {
				return fmt.Errorf("purge: %w", err)
			}
			return printPurged(cmd.OutOrStdout(), body, wholeFleet, &asJSON)
		},
	}
	admin.register(cmd)
	cmd.Flags().BoolVar(&wholeFleet, "fleet", false, "purge all edges of the fleet; this one asks the others")
	asJSON.register(cmd, "print one JSON object: digest, purged and, with --fleet, peers")
	return cmd
}

func printPurged(out io.Writer, body []byte, wholeFleet bool, asJSON *jsonFlag) error {
	var answer struct {
		Digest string
		Purged bool
		Peers  []struct {
			Datacenter, Error string
			Purged            bool
		}
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return fmt.Errorf("purge: %w", err)
	}
	says := func(was bool) string {
		if was {
			return "is removed from"
		}
		return "was not in"
	}
	var failed []string
	var text strings.Builder
	fmt.Fprintln(&text, answer.Digest, says(answer.Purged), "this edge's store")
	for _, p := range answer.Peers {
		if p.Error != "" {
			failed = append(failed, fmt.Sprintf("%s: %s", p.Datacenter, p.Error))
			continue
		}
		fmt.Fprintln(&text, answer.Digest, says(p.Purged), "the store of", p.Datacenter)
	}
	if asJSON.on() {
		text.Reset()
		if err := asJSON.print(&text, body); err != nil {
			return err
		}
	}
	if _, err := io.WriteString(out, text.String()); err != nil {
		return err
	}
	if wholeFleet && len(answer.Peers) == 0 {
		return errors.New("purge: this edge knows no other edges: edge.peers.key or the datacenters' edge addresses are missing in its fleet file")
	}
	if failed != nil {
		return fmt.Errorf("purge: these edges may still hold it: %s", strings.Join(failed, "; "))
	}
	return nil
}
