package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"example.org/breakwater/provision"
)

// keepRecord keeps what a plan or an apply was, where that is wanted: in the file of --record, which
// is to be written, or in that of the fleet file, which this machine may not have. It returns why the
// run failed, if it did, too.
func (o *provisioning) keepRecord(cmd *cobra.Command, plan *provision.Plan, results []provision.Result, applied bool, failed error) error {
	file := o.record
	if file == "" {
		file = o.fleet.Edge.Changes
	}
	if file == "" {
		return failed
	}
	before, _ := readRecord(file) //nolint:errcheck // what is not there, or cannot be read any more, is replaced
	run := provision.Run{Began: o.begun.UTC(), Seconds: time.Since(o.begun).Seconds(), Datacenters: o.datacenters, Plan: plan, Results: results}
	var status exitStatus
	if failed != nil && !errors.As(failed, &status) {
		run.Error = failed.Error()
	}
	err := writeWhole(file, 0o644, before.With(run, applied)) // edges read it, as somebody else
	if err != nil && o.record == "" {
		fmt.Fprintf(cmd.ErrOrStderr(), "This run is not kept for the console: %v\n", err)
		return failed
	}
	return errors.Join(failed, err)
}

// readRecord reads the record in a file.
func readRecord(file string) (provision.Record, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return provision.Record{}, err
	}
	r, err := provision.ReadRecord(text)
	if err != nil {
		return r, fmt.Errorf("%s: %w", file, err)
	}
	return r, nil
}

// writeWhole writes a value as JSON into a file, which holds the old one or the new one, never a
// part.
func writeWhole(file string, mode fs.FileMode, value any) error {
	var text bytes.Buffer
	if err := writeIndented(&text, value); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".breakwater-") // for its owner alone
	if err != nil {
		return err
	}
	_, err = f.Write(text.Bytes())
	err = errors.Join(err, f.Chmod(mode), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

func provisionLastCommand() *cobra.Command {
	var config, file string
	var asJSON jsonFlag
	cmd := &cobra.Command{
		Use:   "last --config fleet.yaml",
		Short: "Say what the last plan and the last apply were",
		Long: `Say what the last plan and the last apply were, as they left it in the file that the fleet
file names (edge.changes), or --record. No Harbor is asked. The console shows the same.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				f, err := readFleet(cmd.InOrStdin(), config)
				if err != nil {
					return err
				}
				if file = f.Edge.Changes; file == "" {
					return fmt.Errorf("%s names no file in which runs are kept: write edge.changes, or --record here", config)
				}
			}
			r, err := readRecord(file)
			if errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%s is not there: neither plan nor apply has run with it on this machine", file)
			}
			switch {
			case err != nil:
				return err
			case asJSON.on():
				return asJSON.printIndented(cmd.OutOrStdout(), r.Last)
			}
			return printRecord(cmd, r)
		},
	}
	cmd.Flags().StringVar(&config, "config", "/etc/breakwater/fleet.yaml", "the fleet file; - reads standard input")
	cmd.Flags().StringVar(&file, "record", "", "the file, whatever the fleet file says")
	asJSON.register(cmd, "print one JSON object")
	return cmd
}

// printRecord prints both runs, the last plan first.
func printRecord(cmd *cobra.Command, r provision.Record) error {
	out := cmd.OutOrStdout()
	for _, run := range []struct {
		what string
		*provision.Run
	}{{"plan", r.Plan}, {"apply", r.Apply}} {
		if run.Run == nil {
			fmt.Fprintf(out, "No %s is kept.\n", run.what)
			continue
		}
		fmt.Fprintf(out, "%s, %s, took %.1f s\n", run.what, run.Began.Local().Format(time.DateTime), run.Seconds)
		if err := printPlan(out, run.Plan); err != nil {
			return err
		}
		if err := printResults(out, run.Plan, run.Results); err != nil {
			return err
		}
		if run.Error != "" {
			fmt.Fprintf(out, "It failed: %s\n", run.Error)
		}
		fmt.Fprintln(out)
	}
	return nil
}
