package main

import (
	"cmp"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"example.org/breakwater/provision"
)

// lateAfter is when a Harbor should have what another one has: its scheduled pulls come that often
// where the fleet file does not say otherwise.
const lateAfter = 15 * time.Minute

// printLag shows what Harbors lack of each other's tags, the directions alone in which there is something.
func printLag(cmd *cobra.Command, p *provision.Provisioner, o provision.VerifyOptions, asJSON bool) error {
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
	if asJSON {
		err = writeIndented(out, all)
	} else if err = w.Flush(); err == nil && shown == 0 && len(faults) == 0 {
		_, err = fmt.Fprintln(out, "All Harbors have the same tags.")
	}
	for _, f := range faults {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s is not compared: %s\n", f.Datacenter, f.Message)
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
