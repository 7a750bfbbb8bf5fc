package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"example.org/breakwater/cmd/internal/progress"
	"example.org/breakwater/provision"
)

func provisionVerifyCommand() *cobra.Command {
	var o provision.VerifyOptions
	var config string
	var asJSON jsonFlag
	var lag bool
	cmd := &cobra.Command{
		Use:   "verify --config fleet.yaml",
		Short: "Prove that what apply made works",
		Long: `Every robot logs in, every registry is reached with the credentials that it holds, an
artifact is pushed into each replicated project at each datacenter and seen to come to
all others, and the last execution of each replication is looked at. The artifacts are
removed. Exit status 1 if anything does not work.

--lag tries nothing: it compares the tags of multi-dc projects between all Harbors, and
says for each direction how many one has that the other lacks, or has as another digest
from before. Exit status 1 where one of them is older than --patience (15m with --lag).
Replications that have not ended for longer than their schedule's interval are named too.`,
		Example: `  breakwater provision verify --config fleet.yaml
  breakwater provision verify --lag --project repo1 --config fleet.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			harbors := provisioning{config: config}
			p, err := harbors.open(cmd)
			if err != nil {
				return err
			}
			defer p.Close()
			defer harbors.bar.End()
			if lag {
				return printLag(cmd, p, o, &asJSON)
			}
			return verifyAll(cmd, p, o, harbors.bar, &asJSON)
		},
	}
	cmd.Flags().StringVar(&config, "config", "/etc/breakwater/fleet.yaml", "the fleet file; - reads standard input")
	cmd.Flags().BoolVar(&o.NoCanary, "no-canary", false, "push nothing: logins and executions alone")
	cmd.Flags().StringSliceVar(&o.Projects, "project", nil, "only the replications of this multi-dc project, as the fleet file names it (again for more)")
	cmd.Flags().DurationVar(&o.Patience, "patience", 0, "how long a replication may take; 0: 2m")
	cmd.Flags().BoolVar(&lag, "lag", false, "compare the tags of all Harbors, and try nothing")
	asJSON.register(cmd, "print a JSON array")
	return cmd
}

// verifyAll tries everything, and prints each check as it ends.
func verifyAll(cmd *cobra.Command, p *provision.Provisioner, o provision.VerifyOptions, bar *progress.Bar, asJSON *jsonFlag) error {
	out, colour := cmd.OutOrStdout(), painter(cmd.OutOrStdout())
	ended, lines := 0, out
	if asJSON.on() {
		lines = io.Discard
	}
	bar.To(0, 0, "reading the Harbors")
	o.Progress = func(c provision.Check) {
		ended++
		bar.Println(lines, checkLine(colour, c))
		bar.To(0, 0, provision.Counted(ended, "check")+", last "+c.Datacenter+": "+c.What)
	}
	checks, err := p.Verify(cmd.Context(), o)
	bar.End()
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	failed := 0
	for _, c := range checks {
		if !c.OK {
			failed++
		}
	}
	if asJSON.on() {
		err = asJSON.printIndented(out, checks)
	} else {
		_, err = fmt.Fprintf(out, "\n%s, %d failed.\n", provision.Counted(len(checks), "check"), failed)
	}
	if err == nil && failed > 0 {
		return exitStatus(1)
	}
	return err
}

func provisionRefillCommand() *cobra.Command {
	var o provision.RefillOptions
	var config string
	var asJSON jsonFlag
	cmd := &cobra.Command{
		Use:   "refill DATACENTER --from DATACENTER --config fleet.yaml",
		Short: "Fill a Harbor that was rebuilt or restored from another one",
		Long: `Have the Harbor of a datacenter take all multi-dc images that it lacks from another
datacenter's, with their tags, once: after it was rebuilt, or restored from a backup, and
"provision apply" has made its projects again. Edges bring back what was pushed through
them; this is for what is older. A tag that is there stays as it is. Harbor's own
replication does it, by policies that are removed in the end.`,
		Example: `  breakwater provision refill par1 --from mad1 --config fleet.yaml
  breakwater provision refill par1 --from mad1 --project repo1 --config fleet.yaml`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			harbors := provisioning{config: config}
			p, err := harbors.open(cmd)
			if err != nil {
				return err
			}
			defer p.Close()
			o.Datacenter = args[0]
			steps := stepsOf(cmd, &asJSON, harbors.bar, "filling "+o.Datacenter)
			o.Progress = steps.step
			if err := steps.ended(map[string]any{"datacenter": o.Datacenter, "from": o.From}, p.Refill(cmd.Context(), o)); err != nil {
				return fmt.Errorf("refill %s: %w", o.Datacenter, err)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&config, "config", "/etc/breakwater/fleet.yaml", "the fleet file; - reads standard input")
	cmd.Flags().StringVar(&o.From, "from", "", "the datacenter whose Harbor has it all")
	cmd.Flags().StringSliceVar(&o.Projects, "project", nil, "only this multi-dc project, as the fleet file names it (again for more)")
	asJSON.register(cmd, "print one JSON object at the end: datacenter, from, done, steps")
	cmd.MarkFlagRequired("from") //nolint:errcheck // the flag is there
	return cmd
}

func checkLine(colour paint, c provision.Check) string {
	text := colour.as("ok    ", "32")
	if !c.OK {
		text = colour.as("failed", "31")
	}
	text += " " + c.Datacenter + ": " + c.What
	if c.Seconds > 0 && c.OK {
		text += fmt.Sprintf(" (%.1f s)", c.Seconds)
	}
	if c.Detail != "" {
		text += ": " + c.Detail
	}
	return text
}

// lateAfter is when a Harbor should have what another one has: its scheduled pulls come that often
// where the fleet file does not say otherwise.
const lateAfter = 15 * time.Minute

// printLag shows what Harbors lack of each other's tags, the directions alone in which there is something.
func printLag(cmd *cobra.Command, p *provision.Provisioner, o provision.VerifyOptions, asJSON *jsonFlag) error {
	all, faults, err := p.Lag(cmd.Context(), o.Projects)
	if err != nil {
		return fmt.Errorf("verify --lag: %w", err)
	}
	out, late, shown := cmd.OutOrStdout(), 0, 0
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, l := range all {
		oldest := time.Duration(l.Oldest * float64(time.Second))
		if l.Missing+l.Differ == 0 {
			continue
		}
		if oldest > cmp.Or(o.Patience, lateAfter) {
			late++
		}
		if shown++; shown == 1 {
			fmt.Fprintln(w, "PROJECT\tFROM\tTO\tTAGS\tMISSING\tDIFFER\tOLDEST\tAS")
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%s\t%s\n", l.Project, l.From, l.To, l.Tags, l.Missing, l.Differ, oldest.Round(time.Second), strings.Join(l.Examples, " "))
	}
	if asJSON.on() {
		err = asJSON.printIndented(out, all)
	} else if err = w.Flush(); err == nil && shown == 0 && len(faults) == 0 {
		_, err = fmt.Fprintln(out, "All Harbors have the same tags.")
	}
	for _, f := range faults {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s is not compared: %s\n", f.Datacenter, f.Message)
	}
	if err == nil {
		faults, err = printQueued(cmd, p, faults)
	}
	switch {
	case err != nil:
		return err
	case len(faults) > 0:
		return exitStatus(3)
	case late > 0:
		return exitStatus(1)
	}
	return nil
}

// printQueued says on stderr, as what is queued is no tag that differs, which replications do not
// get to their end. It returns the faults with those of Harbors that do not say that alone.
func printQueued(cmd *cobra.Command, p *provision.Provisioner, faults []provision.Fault) ([]provision.Fault, error) {
	all, mute, err := p.Queued(cmd.Context())
	if err != nil {
		return faults, fmt.Errorf("verify --lag: %w", err)
	}
	out := cmd.ErrOrStderr()
	for _, q := range all {
		fmt.Fprintf(out, "%s: the replication %s may take %v, and its execution %d is queued since %s, or has run since then\n", q.Datacenter, q.Replication, q.Every, q.Execution, q.Since.Format(time.RFC3339))
	}
	for _, f := range mute {
		if !slices.ContainsFunc(faults, func(said provision.Fault) bool { return said.Datacenter == f.Datacenter }) {
			fmt.Fprintf(out, "%s does not say what is queued: %s\n", f.Datacenter, f.Message)
			faults = append(faults, f)
		}
	}
	return faults, nil
}
