package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"example.org/breakwater/proxy/traffic"
)

func trafficCommand() *cobra.Command {
	return askedCommand(&cobra.Command{
		Use:   "traffic --config fleet.yaml",
		Short: "Say what went through the edge on this machine: requests, hits, bytes by where they came from",
		Long: `Say what went through the edge that runs on this machine, of the last quarter of an hour
and since it was started: requests and what became of them, how much of what clients read
the store had, bytes to clients and from the local Harbor, other datacenters' edges and
upstreams, and what those upstreams said is left of their limits.

Bytes saved are those of content that clients were given, less those that other
datacenters and upstreams sent. --json has the points of the last six hours too.

The edge is asked on its admin listener: edge.admin of the fleet file, or --admin.`,
		Example: "  breakwater traffic --config /etc/breakwater/fleet.yaml",
	}, "/traffic", "print one JSON object", printTraffic)
}

func fillsCommand() *cobra.Command {
	return askedCommand(&cobra.Command{
		Use:   "fills --config fleet.yaml",
		Short: "Say which blobs come into the store of the edge on this machine now, from where and how fast",
		Long: `Say which blobs come into the store of the edge that runs on this machine now, the largest
first, 200 at most: how much of each is there, for which repository it comes, from where,
how fast, by how many requests at once and for how many readers.

The edge is asked on its admin listener: edge.admin of the fleet file, or --admin.`,
		Example: "  breakwater fills --config /etc/breakwater/fleet.yaml",
	}, "/fills", "print one JSON object", printFills)
}

// askedCommand makes a command that prints what the edge's admin listener answers.
func askedCommand(cmd *cobra.Command, path, what string, print func(io.Writer, []byte) error) *cobra.Command {
	var admin adminFlags
	var asJSON jsonFlag
	cmd.Args = cobra.NoArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		body, err := admin.ask(cmd.Context(), http.MethodGet, path)
		switch {
		case err != nil:
		case asJSON.on():
			err = asJSON.print(cmd.OutOrStdout(), body)
		default:
			err = print(cmd.OutOrStdout(), body)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", cmd.Name(), err)
		}
		return nil
	}
	admin.register(cmd)
	asJSON.register(cmd, what)
	return cmd
}

func printTraffic(out io.Writer, body []byte) error {
	var r traffic.Report
	if err := json.Unmarshal(body, &r); err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%s\tlast %v\tsince %s\n", r.Datacenter, duration(r.Seconds).Round(time.Second), r.Started.UTC().Format(time.RFC3339))
	line := func(what string, of func(traffic.Flow) string) {
		fmt.Fprintf(w, "%s\t%s\t%s\n", what, of(r.Recent), of(r.Start))
	}
	number := func(what string, of func(traffic.Flow) int64) {
		line(what, func(f traffic.Flow) string { return fmt.Sprint(of(f)) })
	}
	bytes := func(what string, of func(traffic.Flow) int64) {
		line(what, func(f traffic.Flow) string { return mebibytes(of(f)) })
	}
	number("requests of clients", func(f traffic.Flow) int64 { return f.Requests })
	line("content from the store", func(f traffic.Flow) string { return hitRatio(f) })
	number("failed (5xx)", func(f traffic.Flow) int64 { return f.Failed })
	number("refused (4xx)", func(f traffic.Flow) int64 { return f.Refused })
	number("requests of other edges", func(f traffic.Flow) int64 { return f.PeerRequests })
	number("sources that failed", func(f traffic.Flow) int64 { return f.SourceFailures })
	bytes("to clients", func(f traffic.Flow) int64 { return f.ToClients })
	bytes("to other edges", func(f traffic.Flow) int64 { return f.ToPeers })
	bytes("from the local Harbor", func(f traffic.Flow) int64 { return f.FromHarbor })
	bytes("from other edges", func(f traffic.Flow) int64 { return f.FromPeers })
	bytes("from upstreams", func(f traffic.Flow) int64 { return f.FromUpstreams })
	bytes("saved", func(f traffic.Flow) int64 { return f.Saved })
	fmt.Fprintf(w, "being answered\t%d\n", r.InFlight)
	fmt.Fprintln(w, "\nsource\tstate\tlast\tsince the start\tleft of its limit")
	for _, s := range r.Sources {
		left := "it has not said"
		if s.RateLeft != nil {
			left = fmt.Sprintf("%d pulls", *s.RateLeft)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", s.Name, sourceState(s), mebibytes(s.Recent), mebibytes(s.Bytes), left)
	}
	return w.Flush()
}

func hitRatio(f traffic.Flow) string {
	if f.Content == 0 {
		return "nothing was read"
	}
	return fmt.Sprintf("%.1f %% of %d", 100*float64(f.Hits)/float64(f.Content), f.Content)
}

func sourceState(s traffic.Source) string {
	switch {
	case !s.Up:
		return "down"
	case s.Refuses:
		return "refuses the edge's credentials"
	case s.Paused > 0:
		return fmt.Sprintf("paused for %v", duration(s.Paused).Round(time.Second))
	}
	return "up"
}

func printFills(out io.Writer, body []byte) error {
	var r traffic.FillsReport
	if err := json.Unmarshal(body, &r); err != nil {
		return err
	}
	if r.Count == 0 {
		_, err := fmt.Fprintf(out, "nothing comes into the store of %s\n", r.Datacenter)
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%s: %d under way, %s are there, %s to go\n\n", r.Datacenter, r.Count, mebibytes(r.Bytes), mebibytes(r.BytesToGo))
	fmt.Fprintln(w, "blob\tfor\tthere\ta second\tfrom\tat once\treaders\tfor so long")
	for _, f := range r.Fills {
		readers, from := fmt.Sprint(f.Readers), strings.Join(f.Sources, ", ")
		if f.Warming {
			readers = "warming"
		}
		if from == "" {
			from = "nobody has answered yet"
		}
		fmt.Fprintf(w, "%.19s\t%s\t%s\t%s\t%s\t%d\t%s\t%v\n", f.Digest, forWhom(f), there(f), mebibytes(int64(f.Rate)), from, f.Bodies, readers, duration(f.Seconds).Round(time.Second))
	}
	return w.Flush()
}

func forWhom(f traffic.Fill) string {
	if f.Repo != "" {
		return f.Repo
	}
	return f.Project
}

func there(f traffic.Fill) string {
	if f.Size < 0 {
		return mebibytes(f.Bytes)
	}
	return fmt.Sprintf("%3.0f %% of %s", 100*float64(f.Bytes)/float64(max(1, f.Size)), mebibytes(f.Size))
}
