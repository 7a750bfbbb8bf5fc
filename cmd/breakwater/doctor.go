package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"example.org/breakwater/cmd/internal/preflight"
	"example.org/breakwater/cmd/internal/progress"
	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/provision"
)

// The statuses of what looks at a machine or a fleet: doctor, check with --datacenter, status.
const (
	exitFaults   exitStatus = 1
	exitWarnings exitStatus = 2
)

// preflightFlags are those of the commands that look at a machine.
type preflightFlags struct {
	datacenter string
	parts      []string
	skip       []string
}

func (p *preflightFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&p.datacenter, "datacenter", "", "the datacenter in the fleet file that this machine is in")
	cmd.Flags().StringSliceVar(&p.parts, "for", nil, "what runs on this machine: edge, gslb, provision; default: all that the fleet file has")
	cmd.Flags().StringSliceVar(&p.skip, "skip", nil, "leave out what is known: ids of findings, or what they begin with, as store or peer.refused")
}

func (p *preflightFlags) config(f *fleet.Fleet) (preflight.Config, error) {
	cfg := preflight.Config{Fleet: f, Datacenter: p.datacenter, Skip: p.skip}
	for _, name := range p.parts {
		part := preflight.Part(name)
		if !slices.Contains(preflight.Parts, part) {
			return cfg, fmt.Errorf("--for %s: want edge, gslb or provision", name)
		}
		cfg.For = append(cfg.For, part)
	}
	return cfg, nil
}

func doctorCommand() *cobra.Command {
	var flags preflightFlags
	var config string
	var roots []string
	var asJSON jsonFlag
	var warningsOK bool
	cmd := &cobra.Command{
		Use:   "doctor --config fleet.yaml --datacenter NAME",
		Short: "Try everything that this machine's edge, name server and provision need",
		Long: `Try everything that the edge, the name server and provision of this machine need, for
real and in one run: secrets, files, the certificate, the store's disk, ports, clocks,
Harbor with the edge's robot and the administrator, the other datacenters' edges,
upstreams, the delegation. Nothing is changed. Run it as the user that the daemons run
as. What is not configured is not in the table.

The exit status is 0 when all is well, 1 with a fault, 2 with warnings only.`,
		Example: `  breakwater doctor --config /etc/breakwater/fleet.yaml --datacenter par1
  breakwater doctor --config fleet.yaml --datacenter par1 --for edge,gslb --json | jq '.[] | select(.result == "fault")'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := fleet.ReadFile(config)
			var faults fleet.Faults
			if errors.As(err, &faults) {
				return printPreflight(cmd.OutOrStdout(), findings(faults), &asJSON)
			}
			if err != nil {
				return err
			}
			cfg, err := flags.config(f)
			if err != nil {
				return err
			}
			for _, text := range roots {
				root, err := parseRoot(text)
				if err != nil {
					return err
				}
				cfg.Roots = append(cfg.Roots, root)
			}
			bar := progress.Show(cmd.ErrOrStderr())
			defer bar.End()
			if bar.Live() {
				cfg.Progress = func(running []string) { bar.To(0, 0, "trying "+strings.Join(running, ", ")) }
			}
			found, err := preflight.Run(cmd.Context(), cfg)
			bar.End()
			if err != nil {
				return fmt.Errorf("doctor: %w", err)
			}
			err = printPreflight(cmd.OutOrStdout(), found, &asJSON)
			if warningsOK && errors.Is(err, exitWarnings) {
				return nil
			}
			return err
		},
	}
	flags.register(cmd)
	cmd.Flags().StringVar(&config, "config", "", "the fleet file")
	cmd.Flags().StringSliceVar(&roots, "root", nil, "where the delegation's chain begins, as of gslb check-delegation; default: the root servers")
	asJSON.register(cmd, "print one JSON list of findings: id, check, result, subject, what, do")
	cmd.Flags().BoolVar(&warningsOK, "warnings-ok", false, "exit with status 0 when there are warnings only")
	for _, name := range []string{"config", "datacenter"} {
		cmd.MarkFlagRequired(name) //nolint:errcheck // the flag is there
	}
	return cmd
}

// findings are the faults of a fleet file, with which nothing can be tried.
func findings(faults fleet.Faults) (all []preflight.Finding) {
	for _, f := range faults {
		all = append(all, preflight.Finding{ID: "fleet.fault", Check: "fleet file", Result: preflight.Bad, Subject: f.Field, What: f.String(), Do: "mend the line, and see breakwater check"})
	}
	return all
}

// printPreflight prints what was found; its error is the exit status.
func printPreflight(w io.Writer, found []preflight.Finding, asJSON *jsonFlag) error {
	var err error
	if asJSON.on() {
		err = asJSON.printIndented(w, append([]preflight.Finding{}, found...))
	} else {
		err = printTable(w, found)
	}
	switch worst := preflight.Worst(found); {
	case err != nil:
		return err
	case worst == preflight.Bad:
		return exitFaults
	case worst == preflight.Warning:
		return exitWarnings
	}
	return nil
}

func printTable(w io.Writer, found []preflight.Finding) error {
	var table strings.Builder
	t := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "CHECK\tRESULT\tWHAT\tWHAT TO DO")
	faults, warnings := 0, 0
	for _, f := range found {
		check, result, what, do := f.Check, string(f.Result), wrap(f.What), wrap(f.Do)
		for i := range max(1, len(what), len(do)) {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", check, result, line(what, i), line(do, i))
			check, result = "", ""
		}
		switch f.Result {
		case preflight.Bad:
			faults++
		case preflight.Warning:
			warnings++
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for row := range strings.Lines(table.String()) {
		if _, err := fmt.Fprintln(w, strings.TrimRight(row, " \n")); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "\n%s, %s.\n", provision.Counted(faults, "fault"), provision.Counted(warnings, "warning"))
	return err
}

// column is how wide a text of the table becomes.
const column = 64

// wrap breaks a text between its words.
func wrap(text string) (lines []string) {
	for _, word := range strings.Fields(text) {
		if last := len(lines) - 1; last >= 0 && len(lines[last])+1+len(word) <= column {
			lines[last] += " " + word
			continue
		}
		lines = append(lines, word)
	}
	return lines
}

func line(lines []string, i int) string {
	if i >= len(lines) {
		return ""
	}
	return lines[i]
}
