package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"example.org/breakwater/proxy/explain"
)

func explainCommand() *cobra.Command {
	var admin adminFlags
	var asJSON jsonFlag
	cmd := &cobra.Command{
		Use:   "explain --config fleet.yaml REFERENCE",
		Short: "Say where the edge on this machine would take an image from, and why",
		Long: `Say where the edge that runs on this machine would take an image from now, and
why: what it holds, how old that is, which push or delete is the newest that it knows
of, and whom it would ask in which order. Nobody is asked for it.

REFERENCE is an image as clients of the fleet write it, or by its name at a registry
that the fleet has a cache of, as nodes have it that use the edge for a mirror.

The edge is asked on its admin listener: edge.admin of the fleet file, or --admin.`,
		Example: `  breakwater explain --config /etc/breakwater/fleet.yaml cache-dockerhub/library/nginx:1.29
  breakwater explain --config /etc/breakwater/fleet.yaml docker.io/library/nginx:1.29
  breakwater explain --admin 127.0.0.1:9091 multi-dc-repo1/app@sha256:6f4ae4d2…`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := admin.ask(cmd.Context(), http.MethodGet, "/explain?ref="+url.QueryEscape(args[0]))
			if err != nil {
				return fmt.Errorf("explain: %w", err)
			}
			if asJSON.on() {
				return asJSON.print(cmd.OutOrStdout(), body)
			}
			return printExplanation(cmd.OutOrStdout(), body)
		},
	}
	admin.register(cmd)
	asJSON.register(cmd, "print one JSON object")
	return cmd
}

func printExplanation(out io.Writer, body []byte) error {
	var x explain.Explanation
	if err := json.Unmarshal(body, &x); err != nil {
		return fmt.Errorf("explain: %w", err)
	}
	fmt.Fprintf(out, "%s\n\n%s\n", x.Reference, x.Answer)
	for _, note := range x.Notes {
		fmt.Fprintln(out, "note:", note)
	}
	if x.Project == "" {
		return nil
	}
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "project\t%s (%s)\n", x.Project, x.Kind)
	if x.Digest != "" {
		where := "not in the store"
		if x.Held {
			where = "in the store"
		}
		fmt.Fprintf(w, "digest\t%s, %s\nknown\t%s\n", x.Digest, where, howKnown(x))
	}
	if x.Version != nil {
		fmt.Fprintf(w, "newest\t%s\n", newest(x.Version, time.Now()))
	}
	if len(x.Homes) > 0 {
		fmt.Fprintf(w, "homes\t%s\n", strings.Join(x.Homes, ", "))
	}
	if x.Touch != nil {
		fmt.Fprintf(w, "pulls\t%s\n", x.Touch.Says)
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

// howKnown says since when the digest is known, and by whom.
func howKnown(x explain.Explanation) string {
	switch x.Said {
	case explain.Pushed:
		return fmt.Sprintf("pushed through this edge %s ago, and %s took it", duration(x.Age), x.Source)
	case explain.Asked:
		return fmt.Sprintf("%s said so %s ago", x.Source, duration(x.Age))
	case explain.Heard:
		return fmt.Sprintf("acknowledged in %s, and nobody was asked here since", x.Version.Datacenter)
	}
	return fmt.Sprintf("%s said so before this edge was started", x.Source)
}

// newest says what the newest push or delete was that the edge knows of.
func newest(v *explain.Newest, now time.Time) string {
	what, where := "pushed", "in "+v.Datacenter
	if v.Here {
		where = "through this edge"
	}
	switch {
	case v.Deleted:
		what = "deleted"
	case v.Past:
		what, where = "pushed past the edges, and found", "in "+v.Datacenter
	}
	text := fmt.Sprintf("%s %s at %s, %s ago", what, where, v.At.UTC().Format(time.RFC3339), now.Sub(v.At).Round(time.Second))
	if late := v.Heard.Sub(v.At); late > time.Second {
		text += fmt.Sprintf("; this edge heard of it %s later", late.Round(time.Second))
	}
	return text
}

func duration(seconds float64) time.Duration {
	return time.Duration(seconds * float64(time.Second)).Round(time.Millisecond)
}
