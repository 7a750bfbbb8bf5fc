package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"example.org/breakwater/cmd/internal/steer"
	"example.org/breakwater/gslb"
)

func gslbStatusCommand() *cobra.Command {
	admin := gslbAdmin()
	var asJSON jsonFlag
	var wholeFleet bool
	cmd := &cobra.Command{
		Use: "status --config fleet.yaml", Short: "Say what the name server on this machine answers, or all of them, and what it knows", Args: cobra.NoArgs,
		Long: `Say what the name server on this machine answers now, what it knows of the
datacenters, and what operators said and whether it holds. With --fleet, what all name
servers say, side by side, and where they differ: the one on this machine asks the
others; where none runs, the command asks all of them itself with gslb.key.

The exit status is 0 when all is well. It is 1 when something is not: no datacenter
serves a name, somebody unhealthy is answered, a datacenter is down that nobody has
drained, an override does not hold, or a name server cannot be asked or differs.`,
		Example: `  breakwater gslb status --config /etc/breakwater/fleet.yaml
  breakwater gslb status --config /etc/breakwater/fleet.yaml --fleet`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if wholeFleet {
				return fleetStatus(cmd, admin, &asJSON)
			}
			body, err := admin.ask(cmd.Context(), http.MethodGet, "/status")
			if err != nil {
				return fmt.Errorf("status: %w", err)
			}
			var r gslb.Report
			if err := json.Unmarshal(body, &r); err != nil {
				return fmt.Errorf("status: %w", err)
			}
			if asJSON.on() {
				err = asJSON.print(cmd.OutOrStdout(), body)
			} else {
				err = printStatus(cmd.OutOrStdout(), r)
			}
			if err == nil && len(r.Wrong) > 0 {
				err = exitStatus(1)
			}
			return err
		},
	}
	admin.register(cmd)
	asJSON.register(cmd, "print one JSON object")
	cmd.Flags().BoolVar(&wholeFleet, "fleet", false, "what all name servers of the fleet say")
	return cmd
}

func printStatus(out io.Writer, r gslb.Report) error {
	if !r.Answering {
		fmt.Fprintln(out, "Nothing is answered yet: the first round of probes is not in.")
	}
	for _, a := range r.Answers {
		fmt.Fprintln(out, a.Sentence)
	}
	for _, wrong := range r.Wrong {
		if r.Answering && !slices.ContainsFunc(r.Answers, func(a gslb.Answered) bool { return a.Sentence == wrong }) {
			fmt.Fprintln(out, wrong)
		}
	}
	fmt.Fprintf(out, "\nThe name server of %s, version %s, knows:\n\n", r.Node, r.Version)
	var rows [][]string
	for _, a := range r.Answers {
		for _, s := range a.Shares {
			rows = append(rows, []string{a.Name, s.Datacenter, s.Tier, fmt.Sprintf("%d of %d", s.Regions, a.Regions), fmt.Sprintf("%d of %d", s.Networks, a.Networks)})
		}
	}
	if err := table(out, "NAME\tANSWERED\tAS\tREGIONS\tNETWORKS", rows); err != nil {
		return err
	}
	rows = nil
	heads := "DATACENTER\tPROBES SAY\tFOR\tWHY"
	for _, name := range slices.Sorted(maps.Keys(r.Datacenters)) {
		d, own := r.Datacenters[name], r.Probes[name]
		row := []string{name, d.State(), time.Since(d.Since).Round(time.Second).String(), d.Why}
		if own.Up != d.Up && !own.Since.IsZero() { // the others outvote it, or it is ill or cut off
			heads = "DATACENTER\tPROBES SAY\tFOR\tWHY\tBUT ITS OWN SAY"
			row = append(row, strings.TrimSuffix(own.State()+": "+own.Why, ": "))
		}
		rows = append(rows, row)
	}
	if err := table(out, heads, rows); err != nil {
		return err
	}
	rows = nil
	for _, o := range r.Overrides {
		until := "taken back"
		if !o.Until.IsZero() {
			until = o.Until.Local().Format(time.DateTime)
		}
		rows = append(rows, []string{o.Datacenter, string(o.Mode), cmp.Or(strings.TrimSuffix(o.Name, "."), "all"), until, cmp.Or(o.By, "-"), cmp.Or(o.Reason, "-"), holds(o)})
	}
	if err := table(out, "DATACENTER\tOPERATORS SAY\tFOR NAME\tUNTIL\tBY\tREASON\tHOLDS", rows); err != nil {
		return err
	}
	return printTalkers(out, r.Talkers)
}

// printTalkers says who asks most, and what it gets. A name server of another version says
// nothing of it.
func printTalkers(out io.Writer, top gslb.Talkers) error {
	share := func(t gslb.Talker) string {
		return fmt.Sprintf("%d (%d%%)", t.Queries, 100*t.Queries/max(1, top.Queries))
	}
	var rows [][]string
	for _, t := range top.Networks {
		rows = append(rows, []string{t.Network.String(), share(t)})
	}
	if len(rows) > 0 {
		fmt.Fprintf(out, "Who asks most, of about %d queries since %s:\n\n", top.Queries, top.Since.Local().Format(time.TimeOnly))
	}
	if err := table(out, "NETWORK\tQUERIES", rows); err != nil {
		return err
	}
	rows = nil
	for _, t := range top.Answers {
		rows = append(rows, []string{t.Network.String(), cmp.Or(t.Datacenter, "-"), cmp.Or(t.Tier, "-"), t.Rcode, cmp.Or(t.Limited, "-"), share(t)})
	}
	return table(out, "NETWORK\tANSWERED\tAS\tRCODE\tRATE LIMIT\tQUERIES", rows)
}

// holds says whether an override does, and from when on its datacenter may stop.
func holds(o gslb.Held) string {
	switch {
	case !o.Holds:
		return "no: " + o.Why
	case o.SafeAt.IsZero():
		return "yes"
	case o.SafeAt.After(time.Now()):
		return "yes, safe to stop at " + o.SafeAt.Local().Format(time.DateTime)
	}
	return "yes, safe to stop"
}

// table prints rows below their heads, where there are any, and a line behind them.
func table(out io.Writer, heads string, rows [][]string) error {
	if len(rows) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, heads)
	for _, row := range rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	fmt.Fprintln(w)
	return w.Flush()
}

func fleetStatus(cmd *cobra.Command, admin *adminFlags, asJSON *jsonFlag) error {
	body, err := askFleet(cmd.Context(), admin, func() ([]byte, error) {
		return admin.ask(cmd.Context(), http.MethodGet, "/fleet/status")
	}, func(f *steer.Fleet) ([]byte, error) { return json.Marshal(f.Reports(cmd.Context())) })
	if err != nil {
		return fmt.Errorf("status: %w", err)
	}
	var seen []steer.Seen
	if err := json.Unmarshal(body, &seen); err != nil {
		return fmt.Errorf("status: %w", err)
	}
	differ := steer.Differences(seen)
	wrong := wrongs(seen)
	out := cmd.OutOrStdout()
	if asJSON.on() {
		err = asJSON.print(out, struct {
			Nodes       []steer.Seen `json:"nodes"`
			Differences []string     `json:"differences"`
		}{seen, differ})
	} else {
		err = printSeen(out, seen, differ, wrong)
	}
	if err == nil && len(differ)+len(wrong) > 0 {
		err = exitStatus(1)
	}
	return err
}

// wrongs are what is wrong, each with the name servers that say so.
func wrongs(seen []steer.Seen) (all []string) {
	by := map[string][]string{}
	for _, s := range seen {
		if s.Report == nil {
			continue
		}
		for _, wrong := range s.Report.Wrong {
			if by[wrong] == nil {
				all = append(all, wrong)
			}
			by[wrong] = append(by[wrong], s.Node)
		}
	}
	for i, wrong := range all {
		all[i] = fmt.Sprintf("%s (%s)", wrong, strings.Join(by[wrong], ", "))
	}
	return all
}

func printSeen(out io.Writer, seen []steer.Seen, differ, wrong []string) error {
	switch {
	case len(differ)+len(wrong) == 0:
		fmt.Fprintln(out, "All name servers answer, and alike.")
	case len(differ) > 0:
		fmt.Fprintln(out, "The name servers do not all say the same:")
		for _, d := range differ {
			fmt.Fprintln(out, "  "+d)
		}
	}
	if len(wrong) > 0 {
		fmt.Fprintln(out, "What is wrong:")
		for _, w := range wrong {
			fmt.Fprintln(out, "  "+w)
		}
	}
	fmt.Fprintln(out)
	heads := []string{"WHAT"}
	for _, s := range seen {
		heads = append(heads, s.Node)
	}
	var rows [][]string
	for _, f := range steer.Facts(seen) {
		row := []string{f.What}
		for i, says := range f.Says {
			if seen[i].Report == nil {
				says = "?"
			}
			row = append(row, cmp.Or(says, "-"))
		}
		rows = append(rows, row)
	}
	return table(out, strings.Join(heads, "\t"), rows)
}
