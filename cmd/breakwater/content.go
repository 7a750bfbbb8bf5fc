package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"example.org/breakwater/proxy/content"
)

func contentCommand() *cobra.Command {
	var admin adminFlags
	var asJSON jsonFlag
	var project, match, after string
	var limit int
	cmd := &cobra.Command{
		Use:   "content --config fleet.yaml [REPO]",
		Short: "Say which repositories and tags the edges know of, and what each tag is in each datacenter",
		Long: `Say which repositories the edges of the fleet know of or, of one, its tags: which digest
the clients of each datacenter get, whether its store has it, which datacenter is behind
the newest push or delete and by how much, and what its Harbor is yet to be given.

The edge on this machine asks the others for what they know. No Harbor and no upstream is
asked: what nobody has pulled or pushed through an edge is not listed.

The edge is asked on its admin listener: edge.admin of the fleet file, or --admin.
The exit code is 1 when a datacenter's edge cannot be asked; the others are listed.`,
		Example: `  breakwater content --config /etc/breakwater/fleet.yaml --project multi-dc-repo1
  breakwater content --config /etc/breakwater/fleet.yaml --match 1.2 multi-dc-repo1/app`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			q := url.Values{"project": {project}, "match": {match}, "after": {after}, "limit": {strconv.Itoa(limit)}}
			if len(args) == 1 {
				q.Set("repo", args[0])
			}
			body, err := admin.ask(cmd.Context(), http.MethodGet, "/content?"+q.Encode())
			var r content.Report
			if err == nil {
				err = json.Unmarshal(body, &r)
			}
			switch {
			case err != nil:
			case asJSON.on():
				err = asJSON.print(cmd.OutOrStdout(), body)
			default:
				err = printContent(cmd.OutOrStdout(), r, time.Now())
			}
			for _, d := range r.Datacenters {
				if d.Error != "" {
					err = errors.Join(err, fmt.Errorf("the edge of %s: %s", d.Datacenter, d.Error))
				}
			}
			if err != nil {
				return fmt.Errorf("content: %w", err)
			}
			return nil
		},
	}
	admin.register(cmd)
	cmd.Flags().StringVar(&project, "project", "", "the repositories of this project alone")
	cmd.Flags().StringVar(&match, "match", "", "those alone in whose names this is")
	cmd.Flags().StringVar(&after, "after", "", "those that come after this one")
	cmd.Flags().IntVar(&limit, "limit", 50, "rows, 200 at most")
	asJSON.register(cmd, "print one JSON object")
	return cmd
}

func printContent(out io.Writer, r content.Report, now time.Time) error {
	var names []string
	for _, d := range r.Datacenters {
		names = append(names, d.Datacenter)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if r.Repo != "" {
		fmt.Fprintf(w, "%s (%s)\n\n", r.Repo, r.Kind)
		fmt.Fprintf(w, "tag\tnewest push or delete\t%s\n", strings.Join(names, "\t"))
		for _, row := range r.Tags {
			newest := "none is known"
			if row.Version != nil {
				newest = fmt.Sprintf("%s, %v ago", row.Version.Datacenter, now.Sub(row.Version.At).Round(time.Second))
			}
			fmt.Fprintf(w, "%s\t%s", row.Tag, newest)
			for _, name := range names {
				fmt.Fprintf(w, "\t%s", contentCell(row.In[name]))
			}
			fmt.Fprintln(w)
		}
	} else {
		fmt.Fprintf(w, "repository\tkind\t%s\n", strings.Join(names, "\t"))
		for _, row := range r.Repos {
			fmt.Fprintf(w, "%s\t%s", row.Repo, row.Kind)
			for _, name := range names {
				fmt.Fprintf(w, "\t%d tags", row.Tags[name])
			}
			fmt.Fprintln(w)
		}
	}
	if len(r.Tags)+len(r.Repos) == 0 {
		fmt.Fprintln(w, "\nNothing is known that is asked for.")
	}
	if r.Next != "" {
		fmt.Fprintf(w, "\nThere is more: --after %s\n", r.Next)
	}
	return w.Flush()
}

// contentCell says what a tag is in one datacenter.
func contentCell(c content.Cell) string {
	if c.State == "" {
		return "not known"
	}
	text := fmt.Sprintf("%.19s", c.Digest)
	switch {
	case c.State == content.Behind:
		text = strings.TrimSpace(text + fmt.Sprintf(" behind by %v", duration(c.Behind).Round(time.Second)))
	case c.State == content.Deleted:
		text = "deleted"
	case c.State == content.Other:
		text += " differs"
	}
	if c.Held {
		text += ", held"
	}
	if c.Owed > 0 {
		text += fmt.Sprintf(", its Harbor lacks it for %v", duration(c.Owed))
	}
	return text
}
