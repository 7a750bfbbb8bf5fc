package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.org/breakwater/internal/fleet"
)

func purgeCommand() *cobra.Command {
	var admin adminFlags
	var asJSON, wholeFleet bool
	cmd := &cobra.Command{
		Use:   "purge --config fleet.yaml DIGEST",
		Short: "Remove a blob or manifest from the store of the edge on this machine, or of all edges",
		Long: `Remove a blob or manifest from the store of the edge that runs on this machine
or, with --fleet, from those of all edges of the fleet. The next pull fetches it
again. What is being pulled now is pulled to its end, and not kept. Nothing is
removed from Harbor.

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
			return printPurged(cmd.OutOrStdout(), body, wholeFleet, asJSON)
		},
	}
	admin.register(cmd)
	cmd.Flags().BoolVar(&wholeFleet, "fleet", false, "purge all edges of the fleet; this one asks the others")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object: digest, purged and, with --fleet, peers")
	return cmd
}

func printPurged(out io.Writer, body []byte, wholeFleet, asJSON bool) error {
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
	if asJSON {
		text.Reset()
		text.Write(body)
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

// adminFlags say where the admin listener is, of the edge or of another daemon.
type adminFlags struct {
	config, address string
	what            string                             // whose; "": the edge's
	of              func(*fleet.Fleet) (string, error) // where the fleet file says it; nil: edge.admin
}

func (a *adminFlags) register(cmd *cobra.Command) {
	if a.what == "" {
		a.what, a.of = "edge", func(f *fleet.Fleet) (string, error) { return f.Edge.Admin, nil }
	}
	cmd.Flags().StringVar(&a.config, "config", "", "the fleet file")
	cmd.Flags().StringVar(&a.address, "admin", "", "the address of the "+a.what+"'s admin listener, instead of the fleet file's")
	cmd.MarkFlagsOneRequired("config", "admin")
}

// ask sends a request to the admin listener, and returns the body of its answer.
func (a *adminFlags) ask(ctx context.Context, method, path string) ([]byte, error) {
	return a.send(ctx, method, path, nil)
}

// send is ask with a body.
func (a *adminFlags) send(ctx context.Context, method, path string, content io.Reader) ([]byte, error) {
	address := a.address
	if address == "" {
		f, err := fleet.ReadFile(a.config)
		if err != nil {
			return nil, err
		}
		if address, err = a.of(f); err != nil {
			return nil, err
		}
	}
	address = onThisMachine(address)
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+address+path, content)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("no %s answers on %s; is it running on this machine? %w", a.what, address, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the %s says: %s", a.what, strings.TrimSpace(string(body)))
	}
	return body, nil
}
