package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

func explainCommand() *cobra.Command {
	var admin adminFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "explain --config fleet.yaml REFERENCE",
		Short: "Say where the edge on this machine would take an image from, and why",
		Long: `Say where the edge that runs on this machine would take an image from now, and
why: what it holds, how old that is, and whom it would ask in which order. Nobody is
asked for it.

The edge is asked on its admin listener: edge.admin of the fleet file, or --admin.`,
		Example: `  breakwater explain --config /etc/breakwater/fleet.yaml cache-dockerhub/library/nginx:1.29
  breakwater explain --admin 127.0.0.1:9091 multi-dc-repo1/app@sha256:6f4ae4d2…`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := admin.ask(cmd.Context(), http.MethodGet, "/explain?ref="+url.QueryEscape(args[0]))
			if err != nil {
				return fmt.Errorf("explain: %w", err)
			}
			if asJSON {
				_, err := cmd.OutOrStdout().Write(body)
				return err
			}
			return printExplanation(cmd.OutOrStdout(), body)
		},
	}
	admin.register(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func printExplanation(out io.Writer, body []byte) error {
	var x struct {
		Reference, Project, Kind, Digest, Source, Answer string
		Held                                             bool
		Age                                              float64 `json:"age_seconds"`
		Route                                            []struct {
			Source, Repo, State, Says string
			Usual                     float64 `json:"usual_seconds"`
		}
	}
	if err := json.Unmarshal(body, &x); err != nil {
		return fmt.Errorf("explain: %w", err)
	}
	fmt.Fprintf(out, "%s\n\n%s\n\n", x.Reference, x.Answer)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "project\t%s (%s)\n", x.Project, x.Kind)
	if x.Digest != "" {
		where := "not in the store any more"
		if x.Held {
			where = "in the store"
		}
		fmt.Fprintf(w, "digest\t%s, %s\n", x.Digest, where)
		if x.Age > 0 {
			fmt.Fprintf(w, "said by\t%s, %s ago\n", x.Source, duration(x.Age))
		} else {
			fmt.Fprintf(w, "said by\t%s, before the last start\n", x.Source)
		}
	}
	fmt.Fprintln(w, "\nasked, in order\tstate\tusually within\tthere called")
	for _, s := range x.Route {
		usual := "not known yet"
		if s.Usual > 0 {
			usual = duration(s.Usual).String()
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", s.Source, s.State, usual, s.Repo)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, s := range x.Route {
		if s.Says != "" {
			fmt.Fprintf(out, "\n%s: %s\n", s.Source, s.Says)
		}
	}
	return nil
}

func duration(seconds float64) time.Duration {
	return time.Duration(seconds * float64(time.Second)).Round(time.Millisecond)
}
